"""Measuring a finished trial again: its network rebuilt, its best weights read."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial

from nnstudy.data import Data, Part
from nnstudy.errors import UserError
from nnstudy.search.endings import facts_of
from nnstudy.search.keeping import fetch_checkpoint
from nnstudy.search.opening import load_planned_data
from nnstudy.search.rebuilding import best_repeat, load_planned_study, rebuild
from nnstudy.search.results import best_trial
from nnstudy.search.settings import Settings
from nnstudy.search.stored import StoredStage, require_stages
from nnstudy.search.test_looks import record_look, test_looks
from nnstudy.tracking import Tracker

PartName = Literal["validation", "selection", "test"]


@dataclass(frozen=True)
class Evaluation:
    """How a trial's best network does on a part of the data.

    Attributes:
        study: Name of the study.
        stage: Name of the trial's stage.
        trial: Number of the trial.
        part: What it was measured on.
        examples: How many examples that part has.
        epoch: Epoch of the weights, or None.
        repeat: Of which training they are where the trial was trained several times, in words
            (``fold 2``): of the best one, and on data as that one had them. Else None.
        checkpoint: Where the weights are kept.
        scores: ``loss``, ``accuracy`` for classes, and the recipe's metrics.
        test_looks: How often the study's test part was looked at, this time included.
    """

    study: str
    stage: str
    trial: int
    part: PartName
    examples: int
    epoch: float | None
    repeat: str | None
    checkpoint: str
    scores: dict[str, float]
    test_looks: int


def evaluate_trial(
    storage: RDBStorage,
    name: str,
    *,
    stage: str | None = None,
    number: int | None = None,
    part: PartName = "validation",
    settings: Settings | None = None,
    tracking_uri: str | None = None,
    artifacts: str | None = None,
    data_directory: Path | None = None,
    kept_code: bool = False,
    warn: Callable[[str], None] = lambda text: None,
) -> Evaluation:
    """Measures a finished trial's best network on a part of the data.

    A look at the test part is recorded with the study first, and only when nothing else is
    left that could fail.

    Args:
        storage: Optuna's storage.
        name: Name of the study.
        stage: A stage; default: the last one that has such a trial.
        number: Number of the trial; default: the best one.
        part: What to measure on.
        settings: Device, and where checkpoints are that have been moved.
        tracking_uri: URI of MLflow, for checkpoints that are kept there.
        artifacts: Root of its artifacts.
        data_directory: Where data files are.
        kept_code: Whether to run the code that MLflow keeps, and not the study file.
        warn: Told what should be known of, in words.

    Raises:
        UserError: If there is no such trial, or what is needed cannot be had any more.
    """
    settings = settings or Settings()
    stages = require_stages(storage, name)
    chosen, trial = choose_trial(stages, name, stage, number)
    plan = chosen.plan
    kept_in = Tracker(tracking_uri, artifacts) if kept_code else None
    study, _ = load_planned_study(plan, warn, kept_in=kept_in)
    data = load_planned_data(study, plan, directory=data_directory)
    with tempfile.TemporaryDirectory() as scratch:
        trained = rebuild(
            study,
            plan,
            data,
            trial,
            settings,
            lambda place: fetch_checkpoint(Tracker(tracking_uri, artifacts), place, Path(scratch)),
        )
    look = {"trial": trial.number}
    examples = _open(trained.data, part, lambda: record_look(storage, chosen.optuna_study, look))
    scores = trained.measure(examples, data, settings.device)
    best = best_repeat(trial)
    return Evaluation(
        study=name,
        stage=plan.stage,
        trial=trial.number,
        part=part,
        examples=len(examples),
        epoch=best["best_epoch"] if best else facts_of(trial).get("best_epoch"),
        repeat=f"{plan.repeat_kind} {facts_of(trial)['best_repeat']}" if best else None,
        checkpoint=facts_of(trial)["checkpoint"],
        scores=scores,
        test_looks=sum(len(test_looks(stage.optuna_study)) for stage in stages),
    )


def choose_trial(
    stages: list[StoredStage], name: str, stage: str | None, number: int | None
) -> tuple[StoredStage, FrozenTrial]:
    """Returns a finished trial, with its stage.

    Args:
        stages: The stored stages.
        name: Of the study.
        stage: A stage; None: the last one of the search that has such a trial.
        number: Of the trial; None: the best one.

    Raises:
        UserError: If there is none.
    """
    # A confirmation's trials are the best ones again: meant only where they are asked for.
    wanted = [
        found
        for found in stages
        if stage == found.plan.stage or (stage is None and found.plan.kind == "search")
    ]
    if not wanted:
        names = ", ".join(found.plan.stage for found in stages)
        raise UserError(f"study {name!r} has no stage {stage!r}; it has: {names}")
    for found in reversed(wanted):
        if number is None:
            trial = best_trial(found.optuna_study)
        else:
            trials = found.optuna_study.get_trials(deepcopy=False)
            trial = trials[number] if 0 <= number < len(trials) else None
        if trial is not None:
            if not trial.state.is_finished():
                raise UserError(f"trial {number} of {found.plan.name!r} is not finished")
            return found, trial
    if number is None:
        raise UserError(f"study {name!r} has no complete trial yet; see nnstudy status {name}")
    raise UserError(f"study {name!r} has no trial {number}; see nnstudy status {name}")


def _open(data: Data, part: PartName, record: Callable[[], None]) -> Part:
    if part == "test":
        return data.open_test(record)
    chosen = data.validation if part == "validation" else data.selection
    if len(chosen) == 0:
        raise UserError(f"the {part} part of {data.name} is empty")
    return chosen
