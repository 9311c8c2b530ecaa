"""Which arm improves fastest, by seconds of training and not by epochs.

Source: M. Nielsen, "Neural Networks and Deep Learning", chapter 3, "Mini-batch size": with other
hyper-parameters at acceptable values, plot the validation accuracy against real elapsed time, and
choose whichever size improves it most rapidly. What counts as that is decided here: the least time
to a score that half of the sizes come to. The best score of all would be no such target: in as many
epochs small minibatches are trained for more seconds, so that others had no time to come to it.
"""

from __future__ import annotations

import math
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from nnstudy.search.endings import ATTRIBUTE
from nnstudy.search.plan import Plan
from nnstudy.training import Record

FACT = "timing"


@dataclass(frozen=True)
class Arm:
    """A size, and what came of it.

    Attributes:
        trial: Number of its trial.
        size: The size.
        rates: The values that go with it.
        is_scaled: Whether they are in proportion to the size, and not the reference's.
        curve: Seconds of training and score of each validation.
        best: Its best score.
        seconds: Seconds after which it had ended.
        reached: Seconds after which a validation first showed the target; None: none did.
        meanwhile: Its best score by the time that the quickest arm had ended; None: it had none.
        params: All parameters of the trial.
    """

    trial: int
    size: float
    rates: dict[str, float]
    is_scaled: bool
    curve: list[tuple[float, float]]
    best: float
    seconds: float
    reached: float | None
    meanwhile: float | None
    params: dict[str, Any]


@dataclass(frozen=True)
class Comparison:
    """What came of a stage that compares sizes by time.

    Attributes:
        name: The parameter whose values are sizes.
        metric: What is optimised.
        direction: ``minimize`` or ``maximize``.
        arms: Those that were completed, by size, the one that is not scaled first.
        incomplete: How many were not.
        target: The score that has to be reached: half of the sizes at least come to it.
        meanwhile: Seconds after which the quickest arm had ended.
        chosen: The arm that reached the target first.
        doubts: Why seconds may not compare, in words.
    """

    name: str
    metric: str
    direction: str
    arms: list[Arm]
    incomplete: int
    target: float
    meanwhile: float
    chosen: Arm
    doubts: list[str]

    @property
    def sizes(self) -> int:
        """How many sizes were completed."""
        return len({arm.size for arm in self.arms})

    @property
    def reaching(self) -> int:
        """How many of them come to the target."""
        return len({arm.size for arm in self.arms if arm.reached is not None})

    @property
    def best(self) -> Arm:
        """The arm with the best score, however long it took."""
        sign = _sign(self.direction)
        return max(self.arms, key=lambda arm: sign * arm.best)


def timing_facts(history: Sequence[Record], metric: str) -> dict[str, Any]:
    """Returns what is kept of a trial for a comparison by time, JSON-ready."""
    curve = [
        [round(record.seconds, 4), record.values[metric]]
        for record in history
        if math.isfinite(record.values.get(metric, math.nan))
    ]
    return {"host": socket.gethostname(), "curve": curve}


def compared(plan: Plan, trials: Sequence[FrozenTrial]) -> Comparison | None:
    """Returns what came of a stage's trials; None where none was completed, or none is compared."""
    finished = [trial for trial in trials if trial.state.is_finished()]
    complete = [
        trial
        for trial in finished
        if trial.state is TrialState.COMPLETE and _facts(trial).get(FACT, {}).get("curve")
    ]
    if not plan.scaled or not complete:
        return None
    sign = _sign(plan.direction)
    curves = {trial.number: _curve(trial) for trial in complete}
    bests: dict[float, float] = {}
    for trial in complete:
        size = trial.params[plan.only[0]]
        best = max(sign * score for _, score in curves[trial.number])
        bests[size] = max(best, bests.get(size, -math.inf))
    target = sign * sorted(bests.values(), reverse=True)[len(bests) // 2]
    quickest = min(_seconds(trial) for trial in complete)
    arms = [_arm(plan, trial, curves[trial.number], sign, target, quickest) for trial in complete]
    arms.sort(key=lambda arm: (arm.size, arm.is_scaled, arm.trial))
    return Comparison(
        name=plan.only[0],
        metric=plan.metric,
        direction=plan.direction,
        arms=arms,
        incomplete=len(finished) - len(complete),
        target=target,
        meanwhile=quickest,
        chosen=min(arms, key=lambda arm: math.inf if arm.reached is None else arm.reached),
        doubts=_doubts(complete),
    )


def concluded(plan: Plan, trials: Sequence[FrozenTrial]) -> Comparison | None:
    """Returns what came of a stage all of whose arms have ended, else None."""
    ended = sum(trial.state.is_finished() for trial in trials)
    return compared(plan, trials) if ended >= plan.trials else None


def _arm(
    plan: Plan,
    trial: FrozenTrial,
    curve: list[tuple[float, float]],
    sign: float,
    target: float,
    quickest: float,
) -> Arm:
    early = [sign * score for seconds, score in curve if seconds <= quickest]
    return Arm(
        trial=trial.number,
        size=trial.params[plan.only[0]],
        rates={name: trial.params[name] for name in plan.scaled},
        is_scaled=any(trial.params[name] != plan.relative_to[name] for name in plan.scaled),
        curve=curve,
        best=sign * max(sign * score for _, score in curve),
        seconds=_seconds(trial),
        reached=next((s for s, score in curve if sign * score >= sign * target), None),
        meanwhile=sign * max(early) if early else None,
        params=dict(trial.params),
    )


def _doubts(trials: Sequence[FrozenTrial]) -> list[str]:
    doubts = []
    if _overlap(trials):
        doubts.append("several trials ran at once")
    hosts = {_facts(trial)[FACT]["host"] for trial in trials}
    if len(hosts) > 1:
        doubts.append(f"they ran on {len(hosts)} machines")
    if len({_facts(trial)["threads"] for trial in trials}) > 1:
        doubts.append("not all had as many threads")
    return doubts


def _overlap(trials: Sequence[FrozenTrial]) -> bool:
    spans = sorted(
        (trial.datetime_start, trial.datetime_complete)
        for trial in trials
        if trial.datetime_start and trial.datetime_complete
    )
    return any(start < ended for (_, ended), (start, _) in pairwise(spans))


def _facts(trial: FrozenTrial) -> Mapping[str, Any]:
    facts: Mapping[str, Any] = trial.user_attrs.get(ATTRIBUTE, {})
    return facts


def _seconds(trial: FrozenTrial) -> float:
    return float(_facts(trial)["seconds"])


def _curve(trial: FrozenTrial) -> list[tuple[float, float]]:
    return [(float(seconds), float(score)) for seconds, score in _facts(trial)[FACT]["curve"]]


def _sign(direction: str) -> float:
    return 1.0 if direction == "maximize" else -1.0
