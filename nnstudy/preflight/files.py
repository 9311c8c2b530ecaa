"""What is kept of a pre-flight: the report for machines and people, and a picture."""

from __future__ import annotations

import json
from pathlib import Path

from nnstudy.data import Data
from nnstudy.errors import UserError
from nnstudy.preflight.candidate import Candidate
from nnstudy.preflight.pictures import examples_figure
from nnstudy.preflight.report import Report
from nnstudy.study import Study
from nnstudy.study.building import Conditions


def write_files(
    report: Report, directory: Path, study: Study, data: Data, conditions: Conditions
) -> None:
    """Writes ``report.json``, ``report.md`` and ``examples.png`` into a directory.

    The examples are augmented by the first sampled recipe that augments.

    Args:
        report: What was found.
        directory: Made if need be.
        study: The study.
        data: Its data.
        conditions: What all trials have in common.
    """
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "report.json").write_text(json.dumps(report.to_dict(), indent=2))
    (directory / "report.md").write_text(report.to_markdown())
    augmentation = None
    for point in report.points:
        try:
            recipe = Candidate(study, data, conditions, point).recipe()
        except UserError:  # a loop of the user's own
            break
        augmentation = augmentation or recipe.augmentation
    examples_figure(data, augmentation).savefig(directory / "examples.png", dpi=100)
