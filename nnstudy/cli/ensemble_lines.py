"""What came of an ensemble, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnstudy.cli import words

if TYPE_CHECKING:
    from nnstudy.engines import EnsembleResult


def ensemble_lines(result: EnsembleResult) -> list[str]:
    """Returns the result in lines, a headline first."""
    from nnstudy.ensembles.words import (
        conclusion,
        cost_rows,
        member_rows,
        remarks,
        rows,
        sentence_of,
        way_rows,
    )

    made = result.ensemble
    lines = [f"{result.study}: {conclusion(made)}"]
    for table in (rows(made), way_rows(made), cost_rows(made), member_rows(made)):
        lines += [f"  {line}" for line in words.columns(table).splitlines()]
    lines += remarks(made)
    if result.test is not None:
        lines.append(sentence_of(result.test, made))
        times = "once" if result.test_looks == 1 else f"{result.test_looks} times in all"
        lines.append(f"the test part was looked at {times}; each look is recorded with the study")
    if result.published is not None:
        model = result.published.model
        version = f", version {model.version} of {result.study}" if model.version else ""
        lines.append(f"model:      {model.uri}{version}")
    if result.exported is not None:
        lines.append(f"exported:   {result.exported}")
    return [*lines, f"ensemble:   {result.file}", f"MLflow:     {result.tracking}"]
