"""Numbers, durations and tables as people read them."""

from __future__ import annotations

import math
import shutil
import statistics
import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any


def duration(seconds: float) -> str:
    """Returns a time in two units at most: ``40 ms``, ``3.7 s``, ``5 min 20 s``, ``2 h 5 min``."""
    if seconds < 0.95:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest and minutes < 10 else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{hours / 24:.1f} days"


def score(value: float | None) -> str:
    """Returns a score with four digits that count."""
    if value is None:
        return "-"
    if not math.isfinite(value) or abs(value) >= 1e5 or 0 < abs(value) < 1e-3:
        return f"{value:.4g}"
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.6g}"


def validated(loss: float | None, accuracy: float | None) -> str:
    """Returns ``loss 0.0412, 98.0% right`` of what a validation found."""
    shown = [] if loss is None else [f"loss {score(loss)}"]
    shown += [] if accuracy is None else [f"{accuracy:.1%} right"]
    return ", ".join(shown) or "-"


def founded(epoch: float | None, scores: Sequence[float]) -> str:
    """Returns what a trial's value rests on: `` at epoch 3``, ``, mean of 5 (deviation 0.012)``.

    Args:
        epoch: Its best one.
        scores: Of its trainings, where there are several.
    """
    if len(scores) > 1:
        return f", mean of {len(scores)} (deviation {statistics.stdev(scores):.2g})"
    return f" at epoch {epoch:g}" if epoch is not None else ""


def times(folds: int, seeds: int) -> str:
    """Returns how often each trial is trained: ``5 folds``; empty where it is once."""
    counts = [f"{number} {name}" for number, name in ((folds, "folds"), (seeds, "seeds"))]
    return next((text for text in counts if not text.startswith("1 ")), "")


def parameters(params: Mapping[str, Any], most: int | None = None) -> str:
    """Returns ``lr=0.05, units=64``, of the first few if there are more than ``most``."""
    shown = [f"{name}={parameter(value)}" for name, value in list(params.items())[:most]]
    return ", ".join(shown + ["..."] * (most is not None and len(params) > most))


def parameter(value: Any) -> str:
    """Returns a parameter's value, a fraction with four digits that count."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def counted(counts: Mapping[str, int]) -> str:
    """Returns ``3 complete, 1 pruned``, without what there is none of."""
    return ", ".join(f"{number} {name}" for name, number in counts.items() if number)


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Returns rows as aligned columns; the first row is the heading."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def hanging(text: str, margin: int) -> str:
    """Breaks lines where a terminal would, under the place where the text began.

    Args:
        text: Shown at the end of a line that has ``margin`` characters already.
        margin: Blanks before each further line.
    """
    lines = text.splitlines()
    if sys.stdout.isatty():
        width = max(40, shutil.get_terminal_size().columns - margin)
        lines = [
            part
            for line in lines
            for part in textwrap.wrap(line, width, break_long_words=False, break_on_hyphens=False)
        ]
    return ("\n" + " " * margin).join(lines)


def flat(stages: Mapping[str, int]) -> str:
    """Says which stages ended early because their last trials had improved nothing."""
    told = " and ".join(f"{trials} in stage {stage}" for stage, trials in stages.items())
    return f"nothing more is to be expected: the last trials ({told}) improved nothing"
