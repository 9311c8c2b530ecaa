from __future__ import annotations

import json
import math
from typing import Any

import optuna
import pytest
from optuna import pruners
from optuna.trial import FrozenTrial, TrialState

from nnstudy.errors import UserError
from nnstudy.search.pruners import PRUNERS, PrunerSpec, describe_pruner, make_pruner


def pruned_at(pruner: optuna.pruners.BasePruner, losses: list[list[float]]) -> list[int | None]:
    """Runs trials with given curves; returns the step at which each was pruned."""
    study = optuna.create_study(study_name="s", pruner=pruner)
    stops: list[int | None] = []
    for curve in losses:
        trial = study.ask()
        stop = None
        for step, loss in enumerate(curve, start=1):
            trial.report(loss, step)
            if trial.should_prune():
                stop = step
                break
        if stop:
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, curve[-1])
        stops.append(stop)
    return stops


GOOD, BAD = [0.5, 0.4, 0.3, 0.2], [0.9, 0.92, 0.95, 0.99]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("median", {"n_startup_trials": 2}),
        ("percentile", {"n_startup_trials": 2}),
        ("threshold", {"upper": 0.8}),
        ("patient", {"patience": 1, "wrapped_options": {"n_startup_trials": 2}}),
        ("successive-halving", {}),
        ("hyperband", {}),
    ],
)
def test_pruner_stops_a_bad_trial_and_lets_a_good_one_end(
    name: str, options: dict[str, Any]
) -> None:
    stops = pruned_at(make_pruner(PrunerSpec(name, options), steps=4), [GOOD] * 5 + [BAD] * 4)
    assert stops[:5] == [None] * 5
    assert any(stops[5:])


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_patient_stops_a_best_so_far_that_stays_where_it_is(direction: Any) -> None:
    sign = 1 if direction == "minimize" else -1
    pruner = make_pruner(
        PrunerSpec(
            "patient",
            {
                "patience": 2,
                "wrapped": "threshold",
                "wrapped_options": {"upper": 0.5} if sign > 0 else {"lower": -0.5},
            },
        ),
        steps=9,
    )
    study = optuna.create_study(direction=direction, pruner=pruner)

    def stopped_at(values: list[float]) -> int | None:
        trial = study.ask()
        for step, value in enumerate(values, 1):
            trial.report(sign * value, step)
            if trial.should_prune():
                return step
        return None

    assert stopped_at([0.9, 0.8, 0.8, 0.8, 0.8]) == 5
    assert stopped_at([0.9, 0.8, 0.7, 0.7, 0.6, 0.6, 0.5]) is None
    assert stopped_at([0.4, 0.4, 0.4, 0.4, 0.4]) is None
    assert stopped_at([math.nan, 0.9, math.nan, math.nan, math.nan]) == 5


def test_none_stops_nothing() -> None:
    assert pruned_at(make_pruner("none", steps=4), [GOOD] * 6 + [BAD]) == [None] * 7


@pytest.mark.parametrize("name", PRUNERS)
def test_pruner_survives_json(name: str) -> None:
    options = {"upper": 1.0} if name == "threshold" else {}
    spec = PrunerSpec(name, options)
    assert PrunerSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    assert isinstance(make_pruner(spec, steps=9), pruners.BasePruner)


@pytest.mark.parametrize(("steps", "brackets"), [(1, 1), (3, 2), (9, 3), (30, 4)])
def test_hyperband_has_its_brackets_before_its_first_decision(steps: int, brackets: int) -> None:
    """floor(log3(steps)) + 1: Li et al. 2018, Algorithm 1, with a first rung of one step."""
    pruner = make_pruner("hyperband", steps=steps)
    assert isinstance(pruner, pruners.HyperbandPruner)
    assert len(pruner._pruners) == brackets


def test_fresh_hyperband_agrees_with_one_that_has_decided() -> None:
    fresh, used = make_pruner("hyperband", steps=27), make_pruner("hyperband", steps=27)
    pruned_at(used, [GOOD, BAD])
    assert isinstance(fresh, pruners.HyperbandPruner)
    assert isinstance(used, pruners.HyperbandPruner)
    study = optuna.create_study(study_name="s")
    trials = [_numbered(number) for number in range(20)]
    assert [fresh._get_bracket_id(study, trial) for trial in trials] == [
        used._get_bracket_id(study, trial) for trial in trials
    ]
    assert len({fresh._get_bracket_id(study, trial) for trial in trials}) > 1


def test_users_own_pruner_is_taken_as_it_is() -> None:
    own = pruners.NopPruner()
    assert make_pruner(own, steps=3) is own
    assert describe_pruner(own) == {"class": "optuna.pruners._nop.NopPruner"}
    assert describe_pruner("median") == {"name": "median", "options": {}}


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("hyperbnad", {}, "Did you mean hyperband.*median, percentile"),
        ("median", {"warmup": 1}, "no option 'warmup'.*n_warmup_steps"),
        ("median", {"n_warmup_steps": "soon"}, "n_warmup_steps .* must be int, got 'soon'"),
        ("median", {"n_warmup_steps": -1}, "does not accept"),
        ("percentile", {"percentile": 101.0}, "does not accept"),
        ("threshold", {}, "does not accept"),
        ("none", {"x": 1}, "Its options: none"),
        ("successive-halving", {"min_resource": "auto"}, "must be int"),
        ("hyperband", {"max_resource": 9}, "no option 'max_resource'"),
        ("hyperband", {"min_resource": 11}, "between 1 and the 10 steps"),
        ("hyperband", {"reduction_factor": 1}, "does not accept"),
        ("patient", {"wrapped": "medain"}, "Did you mean median"),
        ("patient", {"wrapped_options": {"x": 1}}, "no option 'x'"),
        ("patient", {"wrapped_options": 3}, "must be dict"),
    ],
)
def test_wrong_name_or_option_is_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_pruner(PrunerSpec(name, options), steps=10)


def _numbered(number: int) -> FrozenTrial:
    trial = optuna.trial.create_trial(value=0.0)
    trial.number = number
    return trial
