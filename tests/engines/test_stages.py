"""Whole launches of several stages: ranges, first points, held parameters, shares of the data."""

from functools import partial
from typing import Any

import optuna
import pytest
import torch
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial

from nnstudy import Recipe, Stage, Study, UserError
from nnstudy.data import Data
from nnstudy.search.plan import Plan
from tests.launching import InterruptAt, Place, blobs, network, recipe

SHORT = Stage("coarse", trials=10, epochs=0.5, sampler="random", pruner="none")


def decayed(trial: optuna.Trial, data: Data) -> Recipe:
    lr = trial.suggest_float("lr", 1e-3, 1.0, log=True)
    return Recipe(
        network=network(data),
        optimizer=partial(torch.optim.SGD, lr=lr, momentum=0.9),
        weight_decay=trial.suggest_float("weight_decay", 1e-6, 1e-1, log=True),
        batch_size=trial.suggest_categorical("batch_size", [16, 32, 64]),
    )


def study(*stages: Stage, **fields: Any) -> Study:
    return Study("toy", decayed, data=blobs, stages=stages, **{"early_stopping": None, **fields})


def plan(place: Place, stage: str) -> Plan:
    return Plan.of(optuna.load_study(study_name=f"toy/{stage}", storage=place.storage))


def best(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    return sorted(trials, key=lambda trial: -(trial.value or 0.0))


def given(place: Place, stage: str) -> dict[str, Any]:
    return {entry.name: entry.given for entry in plan(place, stage).parsed_ranges().ranges}


def test_the_best_are_run_again_first_in_ranges_narrowed_around_them(place: Place) -> None:
    # Rates above 1 kill this loss, rates below 1e-4 leave it at chance: lr is told at once.
    def wide(trial: optuna.Trial, data: Data) -> Recipe:
        lr = trial.suggest_float("lr", 1e-7, 1.0, log=True)
        return Recipe(
            network=network(data),
            optimizer=partial(torch.optim.SGD, lr=lr, momentum=0.9),
            batch_size=16,
        )

    stages = [
        Stage("coarse", trials=20, epochs=1, sampler="random", pruner="none"),
        Stage("fine", trials=5, epochs=2, carry=2),
    ]
    place.launch(Study("toy", wide, data=blobs, stages=stages, metric="loss/valid"))

    coarse, fine = place.trials("toy/coarse"), place.trials("toy/fine")
    lowest = sorted(coarse, key=lambda trial: trial.value or 0.0)
    assert [trial.params for trial in fine[:2]] == [trial.params for trial in lowest[:2]]
    rate = given(place, "fine")["lr"]
    assert rate.low > 1e-5
    assert all(rate.low <= trial.params["lr"] <= rate.high for trial in fine)
    assert fine[2].distributions["lr"] == rate
    # Values of another budget are not among this stage's.
    assert {trial.value for trial in fine}.isdisjoint(trial.value for trial in coarse)
    note = place.stage_run("fine").data.tags["mlflow.note.content"]
    assert "| lr | 1e-07..1 (log) |" in note
    assert "best of 20 lie in" in note
    told = [e.values["text"] for e in place.events if e.kind == "message"]
    assert any(text.startswith("stage fine searches lr: ") for text in told)


@pytest.mark.slow
def test_a_stage_that_shall_not_narrow_searches_what_is_asked_for(place: Place) -> None:
    place.launch(study(SHORT, Stage("fine", trials=2, epochs=1, narrow=False, carry=0)))
    asked = plan(place, "fine").parsed_space().parameters
    assert given(place, "fine") == {name: p.distributions[0] for name, p in asked.items()}
    first = place.trials("toy/fine")[0].params
    assert first not in [trial.params for trial in place.trials("toy/coarse")]


def test_one_at_a_time_the_rest_is_held_at_the_best_so_far(place: Place) -> None:
    stages = [
        Stage("rate", trials=4, epochs=1, sampler="random", pruner="none", only=["lr"],
              hold={"weight_decay": 0}),
        Stage("decay", trials=9, epochs=1, sampler="grid", pruner="none", only=["weight_decay"],
              sampler_options={"points": {"weight_decay": 6}}),
    ]  # fmt: skip
    result = place.launch(study(*stages, start={"lr": 0.01, "batch_size": 32}))

    rates = place.trials("toy/rate")
    assert {(t.params["weight_decay"], t.params["batch_size"]) for t in rates} == {(0.0, 32)}
    assert rates[0].params["lr"] == 0.01
    assert len({trial.params["lr"] for trial in rates}) == 4
    decays = place.trials("toy/decay")
    assert {trial.params["lr"] for trial in decays} == {best(rates)[0].params["lr"]}
    assert sorted(trial.params["weight_decay"] for trial in decays) == pytest.approx(
        [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1]
    )
    assert (result.complete, result.finished, result.trials) == (True, 10, 10)
    assert given(place, "decay")["batch_size"] == CategoricalDistribution([32])


def in_the_units_of_the_book(trial: optuna.Trial, data: Data) -> Recipe:
    """The decay is divided by the number of examples."""
    eta = trial.suggest_float("eta", 1e-3, 1.0, log=True)
    return Recipe(
        network=network(data),
        optimizer=partial(torch.optim.SGD, lr=eta, momentum=0.9),
        l2=trial.suggest_float("lmbda", 0.01, 10.0, log=True),
        batch_size=trial.suggest_int("batch", 16, 64),
    )


@pytest.mark.slow
def test_a_plan_takes_one_parameter_after_another_and_then_both_around_the_best(
    place: Place,
) -> None:
    declared = Study("toy", in_the_units_of_the_book, data=blobs, start={"batch": 32},
                     stages=[Stage(trials=2, epochs=1)], metric="loss/valid")  # fmt: skip
    options = {"plan": "one-at-a-time", "plan_options": {"trials": 4, "batch_size": None}}
    result = place.launch(declared, **options)
    assert any(
        "eta is the learning rate, lmbda is the weight decay" in text
        for text in place.texts("message")
    )
    rates, decays, fine = (place.trials(f"toy/{stage}") for stage in ("rate", "decay", "refine"))
    assert {(t.params["lmbda"], t.params["batch"]) for t in rates} == {(0.0, 32)}
    assert sorted(t.params["eta"] for t in rates) == pytest.approx([1e-3, 1e-2, 0.1, 1.0])
    lowest = min(rates, key=lambda trial: trial.value or 0.0).params["eta"]
    assert {t.params["eta"] for t in decays} == {lowest}
    assert sorted(t.params["lmbda"] for t in decays) == pytest.approx([0.01, 0.1, 1.0, 10.0])
    best_decay = min(decays, key=lambda trial: trial.value or 0.0)
    assert fine[0].params == best_decay.params
    for name in ("eta", "lmbda"):
        ratio = given(place, "refine")[name].high / best_decay.params[name]
        assert ratio == pytest.approx(10) or ratio == pytest.approx(1)
    assert (result.complete, result.finished, result.trials) == (True, 12, 12)

    again = place.launch(declared)
    assert (again.complete, again.finished) == (True, 12)
    with pytest.raises(UserError, match="both say which stages there are"):
        place.launch(declared, stages="2")


def test_a_plan_that_cannot_be_followed_is_refused_before_anything_is_stored(
    place: Place,
) -> None:
    declared = study(Stage(trials=2, epochs=1))
    with pytest.raises(UserError, match="add --plan one-at-a-time"):
        place.launch(declared, plan_options={"rate": "lr"})
    with pytest.raises(UserError, match="Did you mean lr"):
        place.launch(declared, plan="one-at-a-time", plan_options={"rate": "lrr"})
    assert not place.all_runs()


def test_what_is_held_must_be_known(place: Place) -> None:
    with pytest.raises(UserError, match="at which value to hold weight_decay"):
        place.launch(study(Stage("rate", only=["lr"]), start={"batch_size": 32}))
    with pytest.raises(UserError, match=r"Stage 'rate'.*Did you mean lr"):
        place.launch(study(Stage("rate", only=["lrr"])))
    with pytest.raises(UserError, match="momentum"):
        place.launch(study(SHORT, Stage("late", hold={"momentum": 0.9})))
    assert not place.all_runs()


def test_a_share_of_the_data_is_trained_on_and_all_of_the_validation_part_counts(
    place: Place,
) -> None:
    part = Stage("part", trials=1, epochs=2, pruner="none", data_share=0.25)
    place.launch(study(part, Stage("whole", trials=1, epochs=2, pruner="none")))
    seen = {
        stage: [value for _, value in place.curves(0, stage)["examples_seen"]]
        for stage in ("part", "whole")
    }
    assert len(seen["part"]) == len(seen["whole"]) == 2
    assert seen["part"][-1] == pytest.approx(seen["whole"][-1] / 4, abs=2)
    with pytest.raises(UserError, match="share of the training examples"):
        place.launch(study(Stage("part", trials=1, epochs=2, pruner="none", data_share=0.5)))


@pytest.mark.slow
def test_stages_of_the_command_line_are_remembered(place: Place) -> None:
    def own() -> Study:
        return study(Stage("own", trials=3, epochs=1, pruner="none"))

    place.launch(own(), stages="2x0.5,1x1")
    assert [len(place.trials(f"toy/{stage}")) for stage in ("coarse", "fine")] == [2, 1]
    again = place.launch(own(), trials=6)
    assert (again.finished, again.trials) == (6, 6)
    assert len(place.trials("toy/coarse")) == 4


def test_shorter_stages_keep_their_share_of_other_epochs(place: Place) -> None:
    stages = [Stage("a", trials=1, epochs=1), Stage("b", trials=1, epochs=4)]
    place.launch(study(*stages, start={"lr": 0.1}), epochs=2)
    assert (plan(place, "a").epochs, plan(place, "b").epochs) == (0.5, 2)


@pytest.mark.slow
def test_a_study_killed_in_its_second_stage_has_the_same_third(
    new_place: Any, every_epoch_is_told: None
) -> None:
    stages = [
        Stage("coarse", trials=12, epochs=1, sampler="random", pruner="none"),
        Stage("medium", trials=9, epochs=2),
        Stage("fine", trials=4, epochs=4),
    ]
    undisturbed, broken = new_place("undisturbed"), new_place("broken")
    undisturbed.launch(study(*stages, metric="loss/valid"))
    # Between two stages, and inside one, in the middle of a trial.
    for trial in (11, 2, 5):
        at = InterruptAt(trial=trial)
        broken.launch(study(*stages, metric="loss/valid"), hear=at, interruption=at.interruption)
    assert not broken.trials("toy/fine")
    broken.launch(study(*stages, metric="loss/valid"))

    for stage in ("coarse", "medium", "fine"):
        assert plan(broken, stage).ranges == plan(undisturbed, stage).ranges
        for one, other in zip(
            broken.trials(f"toy/{stage}"), undisturbed.trials(f"toy/{stage}"), strict=True
        ):
            assert (one.params, one.value) == (other.params, other.value)
    assert isinstance(given(broken, "fine")["lr"], FloatDistribution)
    assert any(entry.is_changed for entry in plan(broken, "fine").parsed_ranges().ranges)


@pytest.mark.slow
def test_two_workers_open_a_stage_once(place: Place) -> None:
    stages = [SHORT, Stage("fine", trials=6, epochs=1, carry=3)]
    result = place.launch(
        Study("toy", recipe, data=blobs, stages=stages, early_stopping=None), workers=2
    )
    assert (result.finished, result.complete) == (16, True)
    again = [t.params for t in place.trials("toy/fine")]
    best_params = [t.params for t in best(place.trials("toy/coarse"))[:3]]
    assert sum(params in best_params for params in again) == 3
