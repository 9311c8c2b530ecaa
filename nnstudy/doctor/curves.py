"""The curves that MLflow has of finished trials beside what Optuna was told."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator

from optuna.trial import FrozenTrial

from nnstudy.doctor.finding import Finding
from nnstudy.doctor.snapshot import Sides, StageSnapshot, facts
from nnstudy.doctor.undelivered import redelivery
from nnstudy.tracking.buffer import valid_key


def compare_curves(snapshot: StageSnapshot, sides: Sides) -> Iterator[Finding]:
    """Yields the steps that curves of finished trials lack, or have twice.

    Looked at are the curves of the metric and of ``epoch``, which are written with every other
    value of a step. Steps are counted from 1 without a gap; the last one must be as far as
    Optuna's reports and the trial's facts say.
    """
    for trial in snapshot.finished if snapshot.runs is not None else ():
        for run in snapshot.runs_of(trial)[:1]:
            if "epochs" in facts(trial):
                history = sides.mlflow.client.get_metric_history
                epochs = [(p.step, p.value) for p in history(run.info.run_id, "epoch")]
                metric = valid_key(snapshot.plan.metric)
                scores = [(p.step, p.value) for p in history(run.info.run_id, metric)]
                yield from _compare(snapshot, sides, trial, epochs, scores)


def _compare(
    snapshot: StageSnapshot,
    sides: Sides,
    trial: FrozenTrial,
    epochs: list[tuple[int, float]],
    scores: list[tuple[int, float]],
) -> Iterator[Finding]:
    stage = snapshot.plan.stage
    reported = {step for step, value in trial.intermediate_values.items() if value == value}
    there = {step for step, _ in epochs} & {step for step, _ in scores}
    wanted = set(range(1, max(reported | {step for step, _ in [*epochs, *scores]}, default=0) + 1))
    fix, repair = redelivery(snapshot, sides, trial.number)
    if missing := wanted - there:
        text = f"its curve lacks step{_steps(missing)}"
        yield Finding("curve", stage, trial.number, text, fix, repair)
    else:
        told = max((value for _, value in epochs), default=0.0)
        # The trial's own curve has no part of a fold or seed that did not come to its end.
        several = snapshot.plan.repeats > 1
        last = float(facts(trial)["best_epoch" if several else "epochs"] or 0)
        if told < last and not math.isclose(told, last):
            text = f"its curve ends at epoch {told:g} of {last:g}"
            yield Finding("curve", stage, trial.number, text, fix, repair)
    counted = Counter(step for step, _ in epochs) | Counter(step for step, _ in scores)
    if doubles := {step for step, number in counted.items() if number > 1}:
        yield Finding(
            "curve",
            stage,
            trial.number,
            f"its curve has more than one value at step{_steps(doubles)}, and MLflow cannot"
            " remove single values",
        )


def _steps(steps: Iterable[int]) -> str:
    """Returns ``s 2-4, 7``."""
    ordered = sorted(steps)
    ranges: list[list[int]] = []
    for step in ordered:
        if ranges and step == ranges[-1][-1] + 1:
            ranges[-1][1:] = [step]
        else:
            ranges.append([step])
    return ("s " if len(ordered) > 1 else " ") + ", ".join("-".join(map(str, r)) for r in ranges)
