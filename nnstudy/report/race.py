"""What came of a race of samplers, from Optuna's storage alone."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from nnstudy.errors import UserError
from nnstudy.report.best_so_far import (
    LEVEL,
    Band,
    band_by_seconds,
    band_by_trials,
    best_so_far,
    mean_interval,
)
from nnstudy.report.superiority import (
    holm,
    superiority,
    superiority_interval,
    superiority_p_value,
)
from nnstudy.search.endings import ATTRIBUTE
from nnstudy.search.stored import StoredStage, require_stages


@dataclass(frozen=True)
class Contender:
    """What came of the searches of one sampler.

    Attributes:
        sampler: Its name.
        options: Its options.
        finals: Best value of each search at the end of the budget, by seed; None where no trial
            was completed.
        mean: Their mean; None where one is missing, as are its ends.
        low: Lower end of its 95 % interval.
        high: Upper end.
        seconds: Time that each search's trials took together.
        best: Best so far of each search, after each trial; None before the first completed.
        elapsed: Seconds after which each search had ended each trial.
        by_trials: Mean best so far against trials.
        by_seconds: The same against seconds.
    """

    sampler: str
    options: dict[str, Any]
    finals: list[float | None]
    mean: float | None
    low: float | None
    high: float | None
    seconds: list[float]
    best: list[list[float | None]]
    elapsed: list[list[float]]
    by_trials: Band
    by_seconds: Band


@dataclass(frozen=True)
class Duel:
    """How two samplers compare at the end of the budget.

    Attributes:
        first: The one that is ahead, if one is.
        second: The other.
        probability: That a search by the first ends better than one by the second, ties half.
        low: Lower end of its 95 % interval.
        high: Upper end.
        p_value: Of a permutation test of no difference, corrected for the number of duels.
        decided: Whether the two can be told apart at 5 %.
    """

    first: str
    second: str
    probability: float
    low: float
    high: float
    p_value: float
    decided: bool

    def __str__(self) -> str:
        interval = f"{self.probability:.2f} ({self.low:.2f} to {self.high:.2f})"
        if self.decided:
            return f"{self.first} beats {self.second} with probability {interval}"
        return (
            f"{self.first} and {self.second} cannot be told apart: {self.first} is better with"
            f" probability {interval}"
        )


@dataclass(frozen=True)
class RaceResult:
    """What came of a race.

    Attributes:
        name: Of the race.
        metric: What was optimised.
        direction: ``minimize`` or ``maximize``.
        trials: Budget of each search.
        epochs: Largest number of epochs of a trial.
        pruner: Name and options.
        seeds: Searches of each sampler.
        contenders: The samplers, as named.
        duels: Each pair of them.
    """

    name: str
    metric: str
    direction: str
    trials: int
    epochs: float
    pruner: dict[str, Any]
    seeds: int
    contenders: list[Contender]
    duels: list[Duel]

    def to_dict(self) -> dict[str, Any]:
        """Returns the result as JSON-ready values."""
        return asdict(self)

    def to_markdown(self) -> str:
        """Returns the result for people: a table, and a line for each pair."""
        lines = [
            f"Race **{self.name}**: {self.seeds} searches each, {self.trials} trials of up to"
            f" {self.epochs:g} epochs, {self.direction} {self.metric}.",
            "",
            "| sampler | mean of the best | 95 % interval | seconds |",
            "| --- | --- | --- | --- |",
            *(
                f"| {c.sampler} | {_shown(c.mean)} | {_shown(c.low)} to {_shown(c.high)}"
                f" | {median(c.seconds):.3g} |"
                for c in self.contenders
            ),
            "",
            *(f"- {duel}" for duel in self.duels),
        ]
        return "\n".join(lines)


def search_name(sampler: str, seed: int) -> str:
    """Returns the name of the stage that holds a sampler's search from a seed."""
    return f"{sampler}-{seed}"


def race_result(storage: RDBStorage, name: str, samplers: Sequence[str], seeds: int) -> RaceResult:
    """Returns what came of a finished race.

    Args:
        storage: Optuna's storage.
        name: Of the race.
        samplers: Those to compare, two at least.
        seeds: How many searches of each to compare, two at least.

    Raises:
        UserError: If the race is not stored, or lacks one of the searches.
    """
    stored = {stage.plan.stage: stage for stage in require_stages(storage, name)}
    wanted = {n: [search_name(n, seed) for seed in range(seeds)] for n in samplers}
    for stage in itertools.chain.from_iterable(wanted.values()):
        if stage not in stored:
            raise UserError(f"the race {name!r} has no search {stage!r}")
    arms = {sampler: [stored[stage] for stage in stages] for sampler, stages in wanted.items()}
    plan = arms[samplers[0]][0].plan
    trials = max(stage.plan.trials for chosen in arms.values() for stage in chosen)
    maximize = plan.direction == "maximize"
    contenders = [_contender(n, chosen, trials, maximize=maximize) for n, chosen in arms.items()]
    return RaceResult(
        name,
        plan.metric,
        plan.direction,
        trials,
        plan.epochs,
        plan.pruner,
        seeds,
        contenders,
        _duels(contenders, maximize=maximize),
    )


def _contender(
    sampler: str, stages: Sequence[StoredStage], trials: int, *, maximize: bool
) -> Contender:
    searches = [_finished(stage) for stage in stages]
    curves = [best_so_far([_value(t) for t in search], maximize=maximize) for search in searches]
    elapsed = [elapsed_seconds(search) for search in searches]
    finals = [curve[-1] for curve in curves]
    mean = low = high = None
    if all(map(math.isfinite, finals)):
        mean, low, high = (float(end) for end in mean_interval(finals))
    return Contender(
        sampler,
        stages[0].plan.sampler.get("options", {}),
        [_known(value) for value in finals],
        mean,
        low,
        high,
        seconds=[times[-1] for times in elapsed],
        best=[[_known(value) for value in curve] for curve in curves],
        elapsed=elapsed,
        by_trials=band_by_trials(curves, trials),
        by_seconds=band_by_seconds(curves, elapsed),
    )


def _finished(stage: StoredStage) -> list[FrozenTrial]:
    trials = stage.optuna_study.get_trials(deepcopy=False)
    finished = [trial for trial in trials if trial.state.is_finished()]
    if not finished:
        raise UserError(f"the search {stage.plan.name!r} has no finished trial")
    return finished


def _value(trial: FrozenTrial) -> float | None:
    """Returns what a trial adds to a search: one that was pruned only costs."""
    return trial.value if trial.state is TrialState.COMPLETE else None


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def elapsed_seconds(trials: Sequence[FrozenTrial]) -> list[float]:
    """Returns the time that a search had taken when each trial had ended.

    It is the sum of its trials' times from being asked for to being told, so that the time
    between an interruption and its resumption does not count. A trial that was taken over in
    between counts with the time that it has trained.
    """
    total, elapsed = 0.0, []
    for trial in trials:
        facts = trial.user_attrs.get(ATTRIBUTE, {})
        duration = trial.duration
        if duration is None or facts.get("token", 1) > 1:
            total += float(facts.get("seconds", 0.0))
        else:
            total += duration.total_seconds()
        elapsed.append(total)
    return elapsed


def _duels(contenders: Sequence[Contender], *, maximize: bool) -> list[Duel]:
    ranked = {c.sampler: [_rank(v, maximize=maximize) for v in c.finals] for c in contenders}
    pairs = []
    for first, second in itertools.combinations(ranked, 2):
        ahead = superiority(ranked[first], ranked[second]) >= 0.5
        pairs.append((first, second) if ahead else (second, first))
    corrected = holm([superiority_p_value(ranked[a], ranked[b]) for a, b in pairs])
    duels = []
    for (a, b), p_value in zip(pairs, corrected, strict=True):
        probability = superiority(ranked[a], ranked[b])
        low, high = superiority_interval(probability, len(ranked[a]), len(ranked[b]))
        duels.append(Duel(a, b, probability, low, high, p_value, p_value < 1 - LEVEL))
    return duels


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _rank(value: float | None, *, maximize: bool) -> float:
    """Returns a value of which larger is better; a search that has none loses."""
    if value is None:
        return -math.inf
    return value if maximize else -value
