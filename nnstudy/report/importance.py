"""Which hyperparameters mattered in a stored study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial

from nnstudy.errors import UserError
from nnstudy.search.importance import (
    EvaluatorName,
    Interaction,
    StageImportance,
    evidence_of,
    interaction,
    is_drawn_evenly,
    stage_importance,
)
from nnstudy.search.importance.keeping import figures
from nnstudy.search.importance.words import as_markdown, interaction_words, strongest
from nnstudy.search.plan import Plan
from nnstudy.search.stored import require_stages


@dataclass(frozen=True)
class StageReport:
    """What mattered in a stage.

    Attributes:
        importance: Of each parameter.
        interaction: Of the two strongest, or None where it cannot be told.
        files: What was written.
    """

    importance: StageImportance
    interaction: Interaction | None
    files: list[Path] = field(default_factory=list)


def study_importance(
    storage: RDBStorage,
    study: str,
    *,
    stage: str | None = None,
    evaluator: EvaluatorName = "ped-anova",
    output: Path | None = None,
) -> list[StageReport]:
    """Tells which parameters mattered in the stages of a study.

    Args:
        storage: Where the study is stored.
        study: Its name.
        stage: One stage; None takes all.
        evaluator: What measures importance.
        output: A folder for tables and pictures, one for each stage in it; it is made where
            there is none. None writes nothing.

    Raises:
        UserError: If the study or the stage is not stored, nothing can be said of any stage, or
            the folder cannot be written.
    """
    # Trials of a confirmation are the same few points again.
    stages = [one for one in require_stages(storage, study) if one.plan.kind == "search"]
    names = [stored.plan.stage for stored in stages]
    if stage is not None and stage not in names:
        raise UserError(f"study {study!r} has no stage {stage!r}; it has: {', '.join(names)}")
    chosen = [
        (stored.plan, stored.optuna_study.get_trials(deepcopy=False))
        for stored in stages
        if stage in (None, stored.plan.stage)
    ]
    found = [stage_importance(plan, trials, evaluator) for plan, trials in chosen]
    if not any(one.groups for one in found):
        reasons = "\n".join(f"  {one.stage}: {'; '.join(one.warnings)}" for one in found)
        raise UserError(
            f"which parameters matter in study {study!r} cannot be told yet:\n{reasons}"
        )
    reports = []
    for (plan, trials), one in zip(chosen, found, strict=True):
        pair = _pair(plan, trials, one)
        files = _written(output / plan.stage, plan, trials, one, pair) if output else []
        reports.append(StageReport(one, pair, files))
    return reports


def _pair(plan: Plan, trials: Sequence[FrozenTrial], found: StageImportance) -> Interaction | None:
    names = strongest(found)[:2]
    if len(names) < 2:
        return None
    evidence = evidence_of(trials, plan.direction, is_even=is_drawn_evenly(plan))
    return interaction(evidence, names[0], names[1])


def _written(
    folder: Path,
    plan: Plan,
    trials: Sequence[FrozenTrial],
    found: StageImportance,
    pair: Interaction | None,
) -> list[Path]:
    if not found.groups:
        return []
    note = interaction_words(pair) if pair else ""
    table = folder / "importance.md"
    files = [table]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        table.write_text(as_markdown(found) + (f"\n{note}\n" if note else ""))
        for name, figure in figures(plan, trials, found, note):
            files.append(folder / name)
            figure.savefig(files[-1], dpi=120)
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror or error}") from error
    return files
