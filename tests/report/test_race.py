from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import optuna
import pytest
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from nnstudy.errors import UserError
from nnstudy.report.race import RaceResult, elapsed_seconds, race_result
from nnstudy.report.race_picture import race_figure
from nnstudy.search.plan import Plan
from nnstudy.search.storage import open_storage

START = datetime(2030, 1, 1)


def trial(value: float | None, begin: float, end: float, **facts: Any) -> FrozenTrial:
    """A finished trial; one without a value was pruned."""
    made = create_trial(
        state=TrialState.PRUNED if value is None else TrialState.COMPLETE,
        value=value,
        user_attrs={"nnstudy": facts},
        intermediate_values={0: 0.99} if value is None else {},
    )
    made.datetime_start = START + timedelta(seconds=begin)
    made.datetime_complete = START + timedelta(seconds=end)
    return made


def store(
    storage: RDBStorage,
    sampler: str,
    seed: int,
    values: list[float | None],
    direction: str = "maximize",
) -> None:
    name = f"{sampler}-{seed}"
    study = optuna.create_study(study_name=f"race/{name}", storage=storage, direction=direction)
    Plan(
        study="race",
        stage=name,
        position=0,
        reference="mine",
        trials=3,
        epochs=10,
        sampler={"name": sampler, "options": {}},
        pruner={"name": "none", "options": {}},
        seed=0,
        metric="accuracy/valid",
        direction=direction,
        validate_every=None,
        split={},
        subset={},
        data={"name": "digits", "digest": "", "examples": {}},
        space={"version": 1, "parameters": {}},
        race=True,
    ).save(study)
    study.add_trials([trial(value, 2 * i, 2 * i + 1) for i, value in enumerate(values)])


def finished(storage: RDBStorage, searches: dict[str, list[list[float | None]]]) -> RaceResult:
    for sampler, all_values in searches.items():
        for seed, values in enumerate(all_values):
            store(storage, sampler, seed, values)
    return race_result(storage, "race", list(searches), len(next(iter(searches.values()))))


def test_a_sampler_that_always_wins_beats_the_other(sqlite_url: str) -> None:
    lucky = [[0.5, 0.9, 0.7 + seed / 100] for seed in range(5)]
    poor = [[0.5, 0.6, 0.8], [0.1, 0.2, 0.3], [None, 0.5, 0.4], [0.4, None, None], [0.2, 0.2, 0.2]]
    result = finished(open_storage(sqlite_url), {"random": poor, "tpe": lucky})
    (duel,) = result.duels
    assert (duel.first, duel.second, duel.probability, duel.decided) == ("tpe", "random", 1, True)
    assert duel.p_value == pytest.approx(2 / 252)
    assert str(duel).startswith("tpe beats random with probability 1.00 (0.6")
    random, tpe = result.contenders
    assert random.finals == [0.8, 0.3, 0.5, 0.4, 0.2]
    assert random.mean == pytest.approx(0.44)
    assert random.best[2] == [None, 0.5, 0.5]
    assert random.by_trials.x == [2, 3]
    assert tpe.by_trials.x == [1, 2, 3]
    assert tpe.by_trials.mean == pytest.approx([0.5, 0.9, 0.9])
    assert tpe.seconds == [3] * 5
    assert tpe.by_seconds.x == [1, 2, 3]


def test_equal_searches_cannot_be_told_apart(sqlite_url: str) -> None:
    same: list[list[float | None]] = [[0.5, 0.7, 0.6]] * 2
    result = finished(open_storage(sqlite_url), {"random": same, "tpe": same})
    assert result.duels[0].probability == 0.5
    assert not result.duels[0].decided
    assert "random and tpe cannot be told apart" in str(result.duels[0])


def test_where_small_is_good_the_smaller_wins(sqlite_url: str) -> None:
    storage = open_storage(sqlite_url)
    for seed in range(2):
        store(storage, "random", seed, [0.9, 0.8, 0.85], "minimize")
        store(storage, "tpe", seed, [0.9, 0.3, 0.4], "minimize")
    result = race_result(storage, "race", ["random", "tpe"], 2)
    assert (result.duels[0].first, result.duels[0].probability) == ("tpe", 1)
    assert result.contenders[1].finals == [0.3, 0.3]


def test_a_search_without_a_complete_trial_loses_and_has_no_mean(sqlite_url: str) -> None:
    result = finished(
        open_storage(sqlite_url),
        {"random": [[None, None, None], [0.1, 0.1, 0.1]], "tpe": [[0.2, 0.2, 0.2]] * 2},
    )
    assert result.contenders[0].finals == [None, 0.1]
    assert result.contenders[0].mean is None
    assert result.duels[0].probability == 1
    assert "| random | - | - to - |" in result.to_markdown()
    race_figure(result)


def test_the_result_is_plain_json_and_the_picture_has_both_panels(sqlite_url: str) -> None:
    result = finished(
        open_storage(sqlite_url),
        {"random": [[0.1, 0.2, 0.3]] * 2, "tpe": [[0.2, 0.2, 0.2]] * 2},
    )
    fields = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert [contender["sampler"] for contender in fields["contenders"]] == ["random", "tpe"]
    left, right = race_figure(result).axes
    assert (left.get_xlabel(), right.get_xlabel()) == ("trials", "seconds of a search")
    assert left.get_ylabel() == "best accuracy/valid so far"


def test_a_search_that_is_missing_is_named(sqlite_url: str) -> None:
    storage = open_storage(sqlite_url)
    store(storage, "random", 0, [0.5])
    with pytest.raises(UserError, match="has no search 'tpe-0'"):
        race_result(storage, "race", ["random", "tpe"], 1)


def test_time_between_trials_and_between_two_workers_does_not_count() -> None:
    trials = [
        trial(0.5, 0, 2),
        trial(0.5, 100, 103),  # the race was resumed in between
        trial(0.5, 103, 500, token=2, seconds=4.0),  # and again, within a trial
    ]
    assert elapsed_seconds(trials) == [2, 5, 9]
