"""The stage of a distillation: what is held, what is searched, and which stage it is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import optuna
import pytest
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial

from nnstudy.errors import UserError
from nnstudy.search.confirmation.members import training_seed
from nnstudy.search.distillation.lesson import (
    MIX,
    TEMPERATURE,
    Lesson,
    conclude,
    conclusion_of,
    distillation_plan,
    enqueue_hard,
    is_hard,
)
from nnstudy.search.plan import Plan
from nnstudy.search.space import Parameter, Space
from nnstudy.search.stored import StoredStage

SPACE = Space(
    {
        "lr": Parameter((FloatDistribution(1e-3, 1.0, log=True),)),
        "units": Parameter((IntDistribution(2, 16),)),
        "batch_size": Parameter((CategoricalDistribution([16, 32]),)),
        "dropout": Parameter((FloatDistribution(0.0, 0.5),), conditional=True),
    }
)
PARAMS = {"lr": 0.1, "units": 8, "batch_size": 32}
LESSON = Lesson("digest", "search", 4, "answers")


def plan(task: str = "classification", space: Space = SPACE, **fields: Any) -> Plan:
    return Plan(
        study="toy",
        stage="search",
        position=0,
        reference="toy",
        trials=9,
        epochs=5,
        sampler={"name": "tpe", "options": {}},
        pruner={"name": "median", "options": {}},
        seed=0,
        metric="accuracy/valid",
        direction="maximize",
        validate_every=None,
        split={},
        subset={},
        data={"task": task},
        space=space.to_dict(),
        **fields,
    )


def trial(**asked: tuple[Any, BaseDistribution]) -> FrozenTrial:
    """The trial whose configuration the students have; it was asked for more in a rare branch."""
    found = optuna.trial.create_trial(
        params={**PARAMS, **{name: value for name, (value, _) in asked.items()}},
        distributions={
            **{name: SPACE.parameters[name].distributions[0] for name in PARAMS},
            **{name: distribution for name, (_, distribution) in asked.items()},
        },
        value=0.9,
    )
    found.number = 4
    return found


def stored(*plans: Plan) -> list[StoredStage]:
    return [StoredStage(one, optuna.create_study()) for one in plans]


def planned(source: Plan, there: list[StoredStage], **asked: Any) -> Plan:
    given = {"lesson": LESSON, "trial": trial(), "trials": 8, "epochs": None, **asked}
    return distillation_plan(
        there,
        source,
        given["trial"],
        given["lesson"],
        trials=given["trials"],
        epochs=given["epochs"],
    )


def test_the_configuration_is_held_and_mix_and_temperature_are_searched() -> None:
    made = planned(plan(), stored(plan()))
    assert (made.kind, made.stage, made.trials, made.epochs) == ("distill", "distill", 8, 5)
    assert Lesson.of(made) == LESSON
    searched = made.searched_space().parameters
    held = {n for n, p in searched.items() if p.distributions[0].single()}
    assert held == PARAMS.keys()
    assert {MIX, TEMPERATURE} <= searched.keys() - held
    evidence = {entry.name: entry.evidence for entry in made.parsed_ranges().ranges}
    assert evidence["lr"] == "as in trial 4 of search"
    numbers = planned(plan("regression"), stored(plan("regression")))
    assert TEMPERATURE not in numbers.searched_space().parameters


def test_what_the_recipe_asks_in_a_branch_that_was_not_probed_is_held_too() -> None:
    rare = trial(rare=(0.25, FloatDistribution(0.0, 1.0)))
    made = planned(plan(), stored(plan()), trial=rare)
    assert made.parsed_ranges().given("rare", FloatDistribution(0.0, 1.0)) == FloatDistribution(
        0.25, 0.25
    )


def test_a_parameter_of_that_name_is_refused() -> None:
    space = Space({**SPACE.parameters, MIX: Parameter((FloatDistribution(0.0, 2.0),))})
    with pytest.raises(UserError, match=f"asks for a parameter '{MIX}'.* rename it"):
        planned(plan(space=space), stored(plan(space=space)))


def test_the_same_lesson_goes_on_and_another_one_is_a_stage_of_its_own() -> None:
    first = replace(planned(plan(), stored(plan())), run_id="run")
    there = stored(plan(), first)
    again = planned(plan(), there, trials=4, lesson=replace(LESSON, answers=""))
    assert (again.stage, again.uid, again.run_id, again.trials) == ("distill", first.uid, "run", 8)
    assert Lesson.of(again) == LESSON
    assert planned(plan(), there, trials=12).trials == 12
    for other in (
        {"epochs": 7},
        {"lesson": replace(LESSON, ensemble="another")},
        {"lesson": replace(LESSON, trial=5)},
    ):
        made = planned(plan(), there, **other)
        assert (made.stage, made.position, made.run_id) == ("distill-2", first.position + 1, "")


def test_all_students_share_a_seed_which_is_no_trial_s_of_the_search() -> None:
    made = planned(plan(), stored(plan()))
    one, other = trial(), trial()
    other.number = 5
    assert training_seed(made, one) == training_seed(made, other)
    assert training_seed(plan(), one) != training_seed(plan(), other)
    assert training_seed(made, one) != training_seed(plan(), one)


def test_the_first_student_learns_the_labels_alone() -> None:
    study = optuna.create_study()
    for _ in range(2):  # as after a crash in between
        enqueue_hard(study, "classification")
    (waiting,) = study.get_trials()
    asked = study.ask()
    params = {name: asked.suggest_float(name, 0, 10) for name in (MIX, TEMPERATURE)}
    assert params == {MIX: 0.0, TEMPERATURE: 1.0}
    assert waiting.number == asked.number
    assert is_hard(study.get_trials()[0])


def test_a_conclusion_is_kept() -> None:
    study = optuna.create_study()
    assert conclusion_of(study) is None
    conclude(study, "it keeps much")
    assert conclusion_of(study) == "it keeps much"
