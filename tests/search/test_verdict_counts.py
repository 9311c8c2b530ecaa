"""Verdicts counted over a stage, and the parameter that explains them."""

from __future__ import annotations

from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from nnstudy.search.verdict_counts import Separation, separation, verdict_counts

RATE = FloatDistribution(1e-5, 10, log=True)
SHARE = FloatDistribution(0, 1)


def trial(
    verdicts: list[str], *, state: TrialState = TrialState.PRUNED, **params: Any
) -> FrozenTrial:
    spaces: dict[str, Any] = {"lr": RATE, "dropout": SHARE}
    spaces["optimizer"] = CategoricalDistribution(["sgd", "adam", "rmsprop"])
    kept = [{"name": name, "evidence": "", "advice": "", "figures": {}} for name in verdicts]
    return create_trial(
        state=state,
        params=params,
        distributions={name: spaces[name] for name in params},
        user_attrs={"nnstudy": {"verdicts": kept}},
    )


def stage(*trials: FrozenTrial) -> list[FrozenTrial]:
    study = optuna.create_study()
    study.add_trials(trials)
    return study.get_trials()


def rates(name: str, having: list[float], others: list[float]) -> list[FrozenTrial]:
    trials = [trial([name], lr=rate) for rate in having]
    return stage(*trials, *(trial(["plateau"], lr=rate) for rate in others))


def test_a_verdict_is_counted_with_the_threshold_that_explains_it() -> None:
    trials = rates(
        "diverged", [0.9, 1.5, 3.0, 7.0], [0.5, 0.3, 0.1, 0.01, 0.001, 2e-4, 0.02, 0.4, 0.2]
    )
    diverged, plateau = verdict_counts(trials)
    assert str(diverged) == "diverged: 4 of 13 trials (31%), all that have lr above 0.7"
    assert diverged.trials == [0, 1, 2, 3]
    assert plateau.separation == Separation("lr", "below", 0.7)


def test_trials_that_overlap_are_counted_and_not_explained() -> None:
    trials = rates("diverged", [0.9, 1.5, 3.0, 0.2], [0.5, 0.3, 0.1, 0.01, 0.001])
    assert str(verdict_counts(trials)[0]) == "diverged: 4 of 9 trials (44%)"


def test_few_trials_explain_nothing() -> None:
    assert verdict_counts(rates("diverged", [1.0], [0.1] * 10))[0].separation is None
    assert verdict_counts(rates("diverged", [1.0, 2.0], [0.1, 0.2]))[0].separation is None
    assert verdict_counts(rates("diverged", [1.0, 2.0, 3.0], []))[0].separation is None
    enough = verdict_counts(rates("diverged", [1.0, 2.0, 3.0], [0.1, 0.2, 0.3, 0.4, 0.5]))
    assert enough[0].separation == Separation("lr", "above", 0.7)


def test_more_parameters_need_more_trials() -> None:
    def one(verdict: str, lr: float, dropout: float) -> FrozenTrial:
        return trial([verdict], lr=lr, dropout=dropout)

    def mixed(others: int) -> list[FrozenTrial]:
        having = [one("diverged", lr, 0.5) for lr in (1.0, 2.0)]
        return stage(*having, *(one("plateau", 0.1, share / others) for share in range(others)))

    assert verdict_counts(mixed(7))[0].separation is None  # 4 ways, 36 choices
    assert verdict_counts(mixed(8))[0].separation is None
    found = verdict_counts(mixed(12))[0].separation
    assert found is not None
    assert found.parameter == "lr"


def test_names_explain_as_thresholds_do() -> None:
    trials = stage(
        *(trial(["dead units"], optimizer=name) for name in ("sgd", "rmsprop", "sgd", "sgd")),
        *(trial(["plateau"], optimizer="adam") for _ in range(8)),
    )
    dead = verdict_counts(trials)[0]
    assert dead.separation == Separation("optimizer", "in", ["rmsprop", "sgd"])
    assert str(dead).endswith("all that have optimizer rmsprop or sgd")


def test_a_parameter_that_not_all_trials_have_explains_nothing() -> None:
    trials = stage(
        *(trial(["diverged"], lr=1.0 + n) for n in range(4)),
        *(trial(["plateau"], dropout=0.5) for _ in range(8)),
    )
    assert verdict_counts(trials)[0].separation is None


def test_trials_without_verdicts_are_left_out_of_the_count() -> None:
    trials = stage(
        trial(["diverged"], lr=1.0),
        trial([], state=TrialState.FAIL, lr=1.0),
        create_trial(state=TrialState.PRUNED),
        create_trial(state=TrialState.WAITING),
    )
    [count] = verdict_counts(trials)
    assert (count.trials, count.judged) == ([0], 1)
    assert verdict_counts([]) == []


@pytest.mark.parametrize("log", [True, False])
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_threshold_lies_between_and_is_found_just_where_there_is_one(
    log: bool, data: st.DataObject
) -> None:
    name = "lr" if log else "dropout"
    values = st.floats(1e-5, 1, allow_subnormal=False)
    having = data.draw(st.lists(values, min_size=4, max_size=6))
    others = data.draw(st.lists(values, min_size=4, max_size=6))
    found = separation(
        [trial(["x"], **{name: value}) for value in having],
        [trial(["y"], **{name: value}) for value in others],
    )
    assert (found is not None) == (max(having) < min(others) or max(others) < min(having))
    if found is not None:
        below, above = (having, others) if found.side == "below" else (others, having)
        assert max(below) <= found.value <= min(above)
