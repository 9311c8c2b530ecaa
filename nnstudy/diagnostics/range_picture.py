"""A picture of range tests: the loss against the rate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from nnstudy.diagnostics.range_interval import Suggestion, smoothed
from nnstudy.diagnostics.range_test import RangeTest
from nnstudy.errors import UserError

_COLOUR, _BAND = "#2b6cb0", "#dfe8f2"


def draw_range_tests(
    tests: Sequence[RangeTest],
    suggestion: Suggestion | None,
    path: Path,
    *,
    title: str = "",
    asked: tuple[float, float] | None = None,
) -> None:
    """Draws losses and smoothed losses against the rate, on a log axis, into a PNG.

    Args:
        tests: What was measured.
        suggestion: What is suggested: a band, and a line at the rate to start with.
        path: The file to write.
        title: Stands above.
        asked: The range that is searched today: a bar below the curves.
    """
    figure = Figure(figsize=(8, 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for number, test in enumerate(tests):
        curve, _ = smoothed(test)
        axes.plot(test.rates, test.losses, ".", ms=2, color=_COLOUR, alpha=0.25)
        label = f"smoothed loss, {len(tests)} tests" if number == 0 else None
        axes.plot(test.rates, curve, color=_COLOUR, lw=1.2, alpha=0.8, label=label)
    before = float(np.mean([test.before for test in tests]))
    reference = float(np.mean([test.reference for test in tests]))
    axes.axhline(before, color="grey", lw=1, ls=":", label="before any step")
    if reference < before:
        axes.axhline(reference, color="grey", lw=1, ls="--", label="best answer without inputs")
    if suggestion:
        low, high, start = suggestion.low, suggestion.high, suggestion.start
        axes.axvspan(low, high, color=_BAND, zorder=0, label=f"to search: {low:g} to {high:g}")
        axes.axvline(start, color="black", lw=1, label=f"steepest: {start:.2g}")
    if asked:
        axes.plot(
            asked,
            [0.03, 0.03],
            "|-",
            transform=axes.get_xaxis_transform(),
            color="#c05621",
            ms=10,
            label=f"the recipe's range: {asked[0]:g} to {asked[1]:g}",
        )
    least = min(float(smoothed(test)[0].min()) for test in tests)
    margin = 0.15 * max(before - least, 0.05 * abs(before))
    # An explosion is off the top: how far it goes tells nothing.
    axes.set(xscale="log", ylim=(least - 2 * margin, before + 3 * margin))
    axes.set(xlabel="learning rate", ylabel="loss of a minibatch", title=title)
    axes.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)


def require_writable(path: Path) -> None:
    """Says before the work is done that a picture cannot be written.

    Raises:
        UserError: If it is no PNG, or its folder is not there.
    """
    if path.suffix.lower() != ".png":
        raise UserError(f"the picture is a PNG, so {path} should end in .png")
    if not path.parent.is_dir():
        raise UserError(f"there is no folder {path.parent} for the picture {path.name}")
