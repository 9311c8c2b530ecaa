"""One trial's life: reproduced, continued, pruned, diverged, failed."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from optuna.trial import TrialState
from torch import nn

from nnstudy import Callback, EarlyStopping, OwnLoop, Recipe, Study, schedules
from nnstudy.data import Data, load
from nnstudy.errors import UserError
from nnstudy.search.events import Event
from nnstudy.search.interruption import Interruption
from nnstudy.search.leases import Leases
from nnstudy.tracking import TrialRun
from nnstudy.training import Record, Training
from nnstudy.training.checkpoints import read_weights
from nnstudy.training.evaluation import evaluate
from tests.launching import InterruptAt, Place, blobs, network, toy

# -- The same again -------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_trials_and_the_same_numbers(
    place: Place, new_place: Callable[[str], Place]
) -> None:
    study = toy(
        trials=6,
        pruner="median",
        pruner_options={"n_startup_trials": 1},
        sampler_options={"n_startup_trials": 3},
        early_stopping=EarlyStopping(patience=3),
    )
    again = new_place("again")
    for here in (place, again):
        here.launch(study, seed=5)

    first, second = place.trials(), again.trials()
    assert TrialState.PRUNED in {trial.state for trial in first}
    for one, other in zip(first, second, strict=True):
        assert (one.state, one.params, one.values) == (other.state, other.params, other.values)
        assert one.intermediate_values == other.intermediate_values
        assert place.numbers(one.number) == again.numbers(one.number)


@pytest.mark.slow
def test_another_seed_gives_other_trials(place: Place, new_place: Callable[[str], Place]) -> None:
    other = new_place("other")
    place.launch(toy(trials=1, epochs=1), seed=5)
    other.launch(toy(trials=1, epochs=1), seed=6)
    assert place.trials()[0].params != other.trials()[0].params


# -- Interrupted and continued --------------------------------------------------------------


def momentum(trial: optuna.Trial, data: Data) -> Recipe:
    return Recipe(
        network=network(data, dropout=0.3),
        optimizer=partial(torch.optim.SGD, lr=trial.suggest_float("lr", 0.01, 0.1), momentum=0.9),
        schedule=schedules.cosine(),
        batch_size=16,
    )


def adam(trial: optuna.Trial, data: Data) -> Recipe:
    return Recipe(
        network=network(data, dropout=0.3),
        optimizer=partial(torch.optim.Adam, lr=trial.suggest_float("lr", 0.001, 0.1)),
        schedule=schedules.plateau(patience=0),
        average=0.9,
        batch_size=16,
    )


@pytest.mark.usefixtures("every_epoch_is_told")
@pytest.mark.parametrize("recipe", [momentum, pytest.param(adam, marks=pytest.mark.slow)])
def test_an_interrupted_trial_goes_on_at_the_next_epoch_as_if_nothing_had_been(
    place: Place, new_place: Callable[[str], Place], recipe: Any
) -> None:
    study = toy(recipe, trials=3, epochs=6, early_stopping=EarlyStopping(patience=4))
    undisturbed = new_place("undisturbed")
    undisturbed.launch(study)

    at_second = InterruptAt(trial=1, epoch=3)
    result = place.launch(study, hear=at_second, interruption=at_second.interruption)
    assert not result.complete
    assert result.finished == 1
    done, running = place.trials()
    assert (done.state, running.state) == (TrialState.COMPLETE, TrialState.RUNNING)
    assert [path.name for path in sorted(place.checkpoints.rglob("trial-00001/last*"))]
    assert not Leases(place.study()._storage._backend, "me").held()  # type: ignore[attr-defined]
    interrupted_run = place.run(1)
    assert interrupted_run.info.status == "RUNNING"
    assert [step for step, _ in place.curves(1)["loss/valid"]] == [1, 2, 3]

    place.events.clear()
    result = place.launch(study)

    assert result.complete
    begun = [event.values for event in place.events if event.kind == "trial"]
    assert [(values["trial"], values["epoch"]) for values in begun] == [(1, 3), (2, 0)]
    assert place.run(1).info.run_id == interrupted_run.info.run_id
    for trial, expected in zip(place.trials(), undisturbed.trials(), strict=True):
        number = trial.number
        assert (trial.params, trial.state, trial.values) == (
            expected.params,
            expected.state,
            expected.values,
        )
        assert trial.intermediate_values == expected.intermediate_values
        assert place.numbers(number) == undisturbed.numbers(number)
        for name, weights in read_weights(undisturbed.checkpoint(number)).items():
            assert torch.equal(read_weights(place.checkpoint(number))[name], weights)
    assert not list(place.checkpoints.rglob("last*"))


@pytest.mark.usefixtures("every_epoch_is_told")
def test_what_an_earlier_worker_could_not_report_is_reported_by_the_next(place: Place) -> None:
    at_third = InterruptAt(trial=0, epoch=3)
    study = toy(trials=1, epochs=4)
    place.launch(study, hear=at_third, interruption=at_third.interruption)
    reported = place.trials()[0].intermediate_values
    with closing(sqlite3.connect(place.directory / "optuna.db")) as database:
        database.execute("delete from trial_intermediate_values where step > 1")
        database.commit()
    place.launch(study)
    (trial,) = place.trials()
    assert sorted(trial.intermediate_values) == [1, 2, 3, 4]
    assert reported.items() <= trial.intermediate_values.items()


def test_a_trial_whose_checkpoint_is_gone_starts_again_and_tells_no_step_twice(
    place: Place, new_place: Callable[[str], Place]
) -> None:
    study = toy(momentum, trials=1, epochs=4)
    undisturbed = new_place("undisturbed")
    undisturbed.launch(study)
    at_first = InterruptAt(trial=0)
    place.launch(study, hear=at_first, interruption=at_first.interruption)
    for path in place.checkpoints.rglob("last*"):
        path.unlink()

    place.launch(study)

    assert any("starts again: it has no checkpoint" in text for text in place.texts("message"))
    assert place.numbers(0) == undisturbed.numbers(0)
    assert place.trials()[0].value == undisturbed.trials()[0].value


@pytest.mark.slow
def test_a_checkpoint_that_no_longer_fits_is_told_and_the_trial_starts_again(
    place: Place,
) -> None:
    units = [4]

    def changing(trial: optuna.Trial, data: Data) -> Recipe:
        lr = trial.suggest_float("lr", 0.01, 0.1)
        return Recipe(network=network(data, units[0]), optimizer=partial(torch.optim.SGD, lr=lr))

    study = toy(changing, trials=1, epochs=3)
    at_first = InterruptAt(trial=0)
    place.launch(study, hear=at_first, interruption=at_first.interruption)
    units[0] = 6

    assert place.launch(study).complete

    assert any("its checkpoint does not fit" in text for text in place.texts("message"))
    assert [step for step, _ in place.curves(0)["loss/valid"]] == [1, 2, 3]
    assert read_weights(place.checkpoint(0))["0.weight"].shape == (6, 4)


def test_a_worker_that_lost_its_lease_writes_nothing_more(place: Place) -> None:
    class Thief(Callback):
        def on_validation_end(self, training: Training, record: Record) -> None:
            if record.step == 2 and not stolen:
                storage = place.study()._storage._backend  # type: ignore[attr-defined]
                (trial_id,) = Leases(storage, "thief").held()
                leases = Leases(storage, "thief", seconds=0.1)
                with storage.engine.begin() as connection:
                    connection.exec_driver_sql("update nnstudy_leases set expires = 0")
                stolen.append(leases.take(trial_id))

    stolen: list[Any] = []

    def robbed(trial: optuna.Trial, data: Data) -> Recipe:
        made = momentum(trial, data)
        made.callbacks = (Thief(),)
        return made

    place.launch(toy(robbed, trials=1, epochs=3))

    # The thief's lease ran out in turn, and the trial was taken once more.
    (trial,) = place.trials()
    assert trial.state is TrialState.COMPLETE
    ends = [event for event in place.events if event.kind == "end"]
    assert len(ends) == 1
    assert [step for step, _ in place.curves(0)["loss/valid"]] == [1, 2, 3]
    assert Leases(place.study()._storage._backend, "me").all()[trial._trial_id].token == 3  # type: ignore[attr-defined]


def test_a_checkpoint_that_cannot_be_written_leaves_the_trial_to_be_continued(
    place: Place,
) -> None:
    place.checkpoints.write_text("a file is in the way")
    with pytest.raises(UserError, match="cannot write the checkpoint"):
        place.launch(toy(trials=2))
    assert [trial.state for trial in place.trials()] == [TrialState.RUNNING]

    place.checkpoints.unlink()
    assert place.launch(toy(trials=2)).endings == {"complete": 2}


def test_mlflow_away_when_a_trial_begins_is_told_of_it_by_the_next_launch(place: Place) -> None:
    def rename(old: str, new: str) -> None:
        with closing(sqlite3.connect(place.directory / "mlflow.db")) as database:
            database.execute(f"alter table {old} rename to {new}")

    away = [False]

    def breaking(trial: optuna.Trial, data: Data) -> Recipe:
        if (trial.study.study_name, trial.number) == ("toy/search", 1) and not away[0]:
            away[0] = True
            rename("runs", "gone")
        return momentum(trial, data)

    with pytest.raises(UserError, match="MLflow was away for 1 seconds"):
        place.launch(toy(breaking, trials=2), workers=1)
    assert away == [True]
    assert [t.state for t in place.trials()] == [TrialState.COMPLETE, TrialState.COMPLETE]
    assert any("nnstudy doctor toy --fix" in text for text in place.texts("warning"))

    rename("gone", "runs")
    assert place.launch(toy(breaking, trials=2)).endings == {"complete": 2}
    assert [step for step, _ in place.curves(1)["loss/valid"]] == [1, 2, 3]
    assert place.curves(1)["best/accuracy/valid"] == [(0, place.trials()[1].value)]
    assert [run.info.status for run in place.all_runs()] == ["FINISHED"] * 3
    ended = place.trials()[1].datetime_complete
    assert ended is not None
    assert place.run(1).info.end_time == round(ended.timestamp() * 1000)
    assert not list(place.checkpoints.rglob("last.safetensors"))


@pytest.mark.postgres
def test_a_database_that_fails_leaves_the_trial_to_be_continued(
    new_place: Callable[[str], Place], postgres_server: Any
) -> None:
    here = new_place("here")
    here.storage = postgres_server.new_database()

    class Crash(Callback):
        def on_validation_end(self, training: Training, record: Record) -> None:
            if record.step == 2 and not crashed:
                crashed.append(True)
                postgres_server.crash()

    crashed: list[bool] = []

    def recipe(trial: optuna.Trial, data: Data) -> Recipe:
        made = momentum(trial, data)
        made.callbacks = (Crash(),)
        return made

    try:
        with pytest.raises(UserError, match="database") as raised:
            here.launch(toy(recipe, trials=2), settings={"lease_seconds": 1})
        assert postgres_server.password not in str(raised.value)
    finally:
        postgres_server.start()
    assert [trial.state for trial in here.trials()] == [TrialState.RUNNING]
    assert here.launch(toy(recipe, trials=2)).endings == {"complete": 2}


# -- Endings --------------------------------------------------------------------------------


def test_a_complete_trial_has_the_value_and_the_weights_of_its_best_epoch(place: Place) -> None:
    def overshooting(trial: optuna.Trial, data: Data) -> Recipe:
        lr = trial.suggest_float("lr", 0.5, 3.0)
        return Recipe(network=network(data), optimizer=partial(torch.optim.SGD, lr=lr))

    place.launch(toy(overshooting, trials=3, epochs=8, metric="loss/valid"))

    data = load(blobs)
    tried = 0
    for trial in place.trials():
        losses = [value for _, value in place.curves(trial.number)["loss/valid"]]
        tried += losses[-1] > min(losses)
        assert trial.value == min(losses)
        facts = trial.user_attrs["nnstudy"]
        assert facts["best_epoch"] == losses.index(min(losses)) + 1
        assert dict(place.curves(trial.number)["best/loss/valid"]) == {0: min(losses)}
        model = network(data)
        model.load_state_dict(read_weights(place.checkpoint(trial.number)))
        scores = evaluate(model, data.validation, nn.functional.cross_entropy)
        assert scores["loss"] == trial.value
    assert tried, "no trial ended worse than its best"


def test_an_early_stopped_trial_is_complete_with_its_best_value(place: Place) -> None:
    def worsening(trial: optuna.Trial, data: Data) -> list[dict[str, float]]:
        trial.suggest_float("lr", 0, 1)
        return [{"loss/valid": loss} for loss in (0.5, 0.3, 0.4, 0.6, 0.2)]

    stopping = EarlyStopping(patience=2)
    place.launch(toy(worsening, trials=1, epochs=5, metric="loss/valid", early_stopping=stopping))

    (trial,) = place.trials()
    assert (trial.state, trial.value) == (TrialState.COMPLETE, 0.3)
    assert trial.intermediate_values == {1: 0.5, 2: 0.3, 3: 0.3, 4: 0.3}
    assert place.run(0).data.tags["nnstudy.reason"] == "early stopping"


def test_a_pruned_trial_is_killed_in_mlflow_and_keeps_its_best_weights(place: Place) -> None:
    def two_kinds(trial: optuna.Trial, data: Data) -> Recipe:
        lr = trial.suggest_categorical("lr", [0.1, 1e-6])
        return Recipe(
            network=network(data), optimizer=partial(torch.optim.SGD, lr=lr), batch_size=8
        )

    study = toy(
        two_kinds,
        trials=3,
        epochs=6,
        pruner="median",
        pruner_options={"n_startup_trials": 1},
        metric="loss/valid",
        start=[{"lr": 0.1}, {"lr": 1e-6}],
    )
    result = place.launch(study)

    pruned = place.trials()[1]
    assert pruned.state is TrialState.PRUNED
    run = place.run(1)
    assert run.info.status == "KILLED"
    assert run.data.tags["nnstudy.state"] == "pruned"
    last = max(pruned.intermediate_values)
    assert run.data.tags["nnstudy.reason"] == f"pruned at epoch {last}"
    assert len(place.curves(1)["loss/valid"]) == last < 6
    assert place.checkpoint(1).exists()
    assert result.endings["pruned"] >= 1


def exploding(trial: optuna.Trial, data: Data) -> Recipe:
    lr = trial.suggest_categorical("lr", [0.05, 1e6])
    return Recipe(
        network=nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)),
        optimizer=partial(torch.optim.SGD, lr=lr, momentum=0.99),
        loss=lambda output, target: nn.functional.mse_loss(
            output, nn.functional.one_hot(target, 3).float()
        ),
        batch_size=8,
    )


def test_a_diverged_trial_is_ranked_worst_and_the_study_goes_on(place: Place) -> None:
    start = [{"lr": 1e6}, {"lr": 0.05}]
    result = place.launch(toy(exploding, trials=3, metric="loss/valid", start=start))

    diverged = place.trials()[0]
    assert diverged.state is TrialState.PRUNED
    assert diverged.intermediate_values[1] != diverged.intermediate_values[1], "NaN"
    run = place.run(0)
    assert run.info.status == "FAILED"
    assert run.data.tags["nnstudy.state"] == "diverged"
    assert "NaN or infinite in epoch 1" in run.data.tags["nnstudy.reason"]
    assert result.complete
    assert result.endings["diverged"] >= 1
    assert result.best is not None
    assert result.best.params == {"lr": 0.05}


def test_a_late_divergence_overrides_the_good_values_reported_before(place: Place) -> None:
    class Explode(Callback):
        def on_epoch_begin(self, training: Training) -> None:
            # Epoch 10 does not report by itself: the last good report is that of epoch 9.
            if len(training.history) == 9:
                with torch.no_grad():
                    for parameter in training.network.parameters():
                        parameter.fill_(torch.nan)

    def recipe(trial: optuna.Trial, data: Data) -> Recipe:
        made = momentum(trial, data)
        made.callbacks = (Explode(),)
        return made

    place.launch(toy(recipe, trials=1, epochs=30))

    (trial,) = place.trials()
    last = max(trial.intermediate_values)
    assert (trial.state, last) == (TrialState.PRUNED, 10)
    assert trial.intermediate_values[last] != trial.intermediate_values[last], "NaN"
    assert "in epoch 10" in place.run(0).data.tags["nnstudy.reason"]
    assert len(place.curves(0)["loss/valid"]) == 9


def test_a_metric_that_is_nan_at_first_does_not_hide_later_ones(place: Place) -> None:
    values = iter([float("nan"), 0.4, 0.2])

    def recipe(trial: optuna.Trial, data: Data) -> Recipe:
        made = momentum(trial, data)
        made.metrics = {"f1": lambda outputs, targets: next(values)}
        return made

    study = toy(recipe, trials=1, metric="f1/valid", direction="maximize")
    place.launch(study)

    (trial,) = place.trials()
    assert (trial.state, trial.value) == (TrialState.COMPLETE, 0.4)


@pytest.mark.slow
def test_a_metric_that_is_always_nan_counts_as_diverged(place: Place) -> None:
    def recipe(trial: optuna.Trial, data: Data) -> Recipe:
        made = momentum(trial, data)
        made.metrics = {"f1": lambda outputs, targets: float("nan")}
        return made

    result = place.launch(toy(recipe, trials=2, metric="f1/valid", direction="maximize"))

    assert result.endings == {"diverged": 2}
    assert result.best is None
    assert place.run(0).info.status == "FAILED"
    assert "f1/valid was NaN" in place.run(0).data.tags["nnstudy.reason"]


@pytest.mark.slow
def test_a_recipe_that_prunes_by_itself_is_heard(place: Place) -> None:
    def recipe(trial: optuna.Trial, data: Data) -> Recipe:
        if trial.suggest_int("units", 1, 10) > 5:
            raise optuna.TrialPruned("too large for us")
        return momentum(trial, data)

    start = [{"units": 9}, {"units": 2}]
    place.launch(toy(recipe, trials=2, start=start))

    assert [trial.state for trial in place.trials()] == [TrialState.PRUNED, TrialState.COMPLETE]
    assert place.run(0).data.tags["nnstudy.reason"] == "too large for us"


# -- Loops of the user's own ----------------------------------------------------------------


class OwnEpochs:
    """A loop with a state, whose numbers depend on random draws."""

    def __init__(self) -> None:
        self.epoch = 0
        self.weight = torch.zeros(3)

    def __iter__(self) -> Iterator[dict[str, float]]:
        while True:
            self.epoch += 1
            self.weight = self.weight + torch.rand(3)
            yield {"loss/valid": float(1 / self.weight.sum()), "own/epoch": self.epoch}

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": self.epoch, "weight": self.weight}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.epoch, self.weight = state["epoch"], state["weight"]


class TestOwnLoop:
    def study(self, loop: Callable[[], Any], **fields: Any) -> Study:
        def recipe(trial: optuna.Trial, data: Data) -> Any:
            trial.suggest_float("lr", 0, 1)
            return loop()

        return toy(recipe, **{"trials": 1, "epochs": 4, "metric": "loss/valid", **fields})

    def test_a_generator_of_records_is_all_it_takes(self, place: Place) -> None:
        def epochs() -> Iterator[dict[str, float]]:
            for loss in (0.5, 0.1, 0.2):
                yield {"loss/valid": loss, "accuracy/valid": 1 - loss}

        place.launch(self.study(epochs))

        (trial,) = place.trials()
        assert (trial.state, trial.value) == (TrialState.COMPLETE, 0.1)
        curves = place.curves(0)
        assert curves["loss/valid"] == [(1, 0.5), (2, 0.1), (3, 0.2)]
        assert curves["best/accuracy/valid"] == [(0, 0.9)]
        assert place.run(0).data.tags["nnstudy.reason"] == "epochs"

    def test_a_loop_with_a_state_goes_on_without_showing_its_network(
        self, place: Place, new_place: Callable[[str], Place]
    ) -> None:
        study, undisturbed = self.study(OwnEpochs), new_place("undisturbed")
        undisturbed.launch(study)
        at_first = InterruptAt(trial=0)
        place.launch(study, hear=at_first, interruption=at_first.interruption)
        place.events.clear()

        place.launch(study)

        assert [e.values["epoch"] for e in place.events if e.kind == "trial"] == [1]
        assert place.numbers(0) == undisturbed.numbers(0)
        assert [value for _, value in place.curves(0)["own/epoch"]] == [1, 2, 3, 4]
        assert place.trials()[0].value == undisturbed.trials()[0].value

    def test_a_loop_without_a_state_starts_again_and_tells_no_step_twice(
        self, place: Place
    ) -> None:
        started: list[nn.Module] = []

        def loop() -> OwnLoop:
            model = nn.Linear(2, 1, bias=False)

            def epochs() -> Iterator[dict[str, float]]:
                started.append(model)
                for epoch in range(1, 4):
                    with torch.no_grad():
                        model.weight.fill_(10 * len(started) + epoch)
                    yield {"loss/valid": (1.0 if len(started) == 2 else 0.5) / epoch}

            return OwnLoop(epochs=epochs(), network=model)

        at_first = InterruptAt(trial=0)
        place.launch(self.study(loop), hear=at_first, interruption=at_first.interruption)
        assert place.launch(self.study(loop)).complete

        assert any("no state to go on from" in text for text in place.texts("message"))
        assert len(started) == 2
        assert [step for step, _ in place.curves(0)["loss/valid"]] == [1, 2, 3]
        # What was kept of the first start does not count, good as it was.
        assert place.trials()[0].value == pytest.approx(1 / 3)
        assert read_weights(place.checkpoint(0))["weight"].tolist() == [[23, 23]]

    @pytest.mark.slow
    def test_a_loop_stops_early_like_any_other(self, place: Place) -> None:
        place.launch(
            self.study(
                lambda: ({"loss/valid": 1.0 + i} for i in range(100)),
                epochs=50,
                early_stopping=EarlyStopping(patience=3),
            )
        )
        assert len(place.curves(0)["loss/valid"]) == 4
        assert place.run(0).data.tags["nnstudy.reason"] == "early stopping"

    def test_a_metric_of_any_name_is_shown_with_the_best(self, place: Place) -> None:
        place.launch(
            self.study(
                lambda: [{"score": 0.3}, {"score": 0.7}], metric="score", direction="maximize"
            )
        )
        assert place.curves(0)["best/score"] == [(0, 0.7)]

    @pytest.mark.slow
    def test_a_loop_that_diverges_names_the_epoch(self, place: Place) -> None:
        result = place.launch(
            self.study(lambda: [{"loss/valid": 0.3}, {"loss/valid": float("inf")}])
        )
        assert result.endings == {"diverged": 1}
        assert "in epoch 2" in place.run(0).data.tags["nnstudy.reason"]


# -- Thrift ---------------------------------------------------------------------------------


def test_a_trial_of_thirty_quick_epochs_writes_to_mlflow_a_few_times(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    delivered: list[int] = []
    deliver = TrialRun._deliver

    def counted(run: TrialRun) -> None:
        delivered.append(len(run._buffer.points))
        deliver(run)

    monkeypatch.setattr(TrialRun, "_deliver", counted)
    place.launch(toy(momentum, trials=1, epochs=30))

    seconds = place.trials()[0].duration
    assert seconds is not None
    assert len(place.curves(0)["loss/train"]) == 30
    assert len(delivered) <= 3 + seconds.total_seconds()


def test_the_events_of_a_trial_are_ready_for_machines(place: Place) -> None:
    place.launch(toy(trials=1, epochs=2))
    kinds = [event.kind for event in place.events]
    assert kinds[:2] == ["cost", "stage"]
    assert kinds[2] == "trial"
    assert kinds[-1] == "end"
    for event in place.events:
        again = Event.from_json(event.to_json())
        assert again.kind == event.kind
        assert again.values == event.values


def test_an_interruption_before_anything_runs_nothing(place: Place) -> None:
    interruption = Interruption()
    interruption.request()
    result = place.launch(toy(trials=1), interruption=interruption)
    assert (result.finished, result.complete) == (0, False)
    assert Path(place.directory / "optuna.db").exists()
