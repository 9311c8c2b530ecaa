"""What MLflow holds of a stage and its trials."""

from __future__ import annotations

import json
from pathlib import Path

import mlflow.entities
import optuna
import pytest
from optuna.distributions import FloatDistribution, IntDistribution

from nnstudy.search.plan import Plan
from nnstudy.search.tracked import with_logarithms
from nnstudy.tracking import Tracker
from tests.launching import InterruptAt, Place, fresh_mlflow, make_place

__all__ = ["fresh_mlflow"]

STUDY_FILE = '''
from layers import network
from nnstudy import Study, Stage
from tests.launching import blobs, recipe


def ours(trial, data):
    """Points of three clouds."""
    return recipe(trial, data)


study = Study("toy", ours, data=blobs, stages=[Stage(trials=2, epochs=3)], start={"lr": 0.1})
'''


@pytest.fixture(scope="module")
def launched(fresh_mlflow: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A study of two trials, the first of which was interrupted and continued."""
    directory = tmp_path_factory.mktemp("tracked")
    (directory / "mine.py").write_text(STUDY_FILE)
    (directory / "layers.py").write_text("from torch import nn as network\n")
    place = make_place(directory / "place", fresh_mlflow)
    at_first = InterruptAt(trial=0)
    study = str(directory / "mine.py")
    place.launch(study, hear=at_first, interruption=at_first.interruption)
    assert place.launch(study).complete
    return place


def test_the_stage_is_the_parent_of_its_trials(launched: Place) -> None:
    stage = launched.stage_run()
    assert stage.info.status == "FINISHED"
    runs = launched.all_runs()
    assert len(runs) == 3
    for number in (0, 1):
        run = launched.run(number)
        assert run.data.tags["mlflow.parentRunId"] == stage.info.run_id
        assert run.info.run_name == f"search-{number:03d}"
    plan = Plan.of(launched.study())
    assert (plan.experiment_id, plan.run_id) == (stage.info.experiment_id, stage.info.run_id)


def test_the_stage_tells_its_story(launched: Place) -> None:
    stage = launched.stage_run()
    note = stage.data.tags["mlflow.note.content"]
    assert note.startswith("Stage **search** of study **toy**: 2 of 2 trials finished (2 complete)")
    assert "| trial | accuracy/valid | batch_size | lr | units |" in note
    assert stage.data.params["metric"] == "accuracy/valid"
    # What a later launch may change stands in tags.
    assert json.loads(stage.data.tags["nnstudy.sampler"])["name"] == "tpe"
    assert stage.data.tags["nnstudy.trials"] == "2"


def test_the_sources_are_kept_with_their_hashes(launched: Place) -> None:
    client = Tracker(launched.tracking_uri).client
    stage = launched.stage_run()
    kept = Path(client.download_artifacts(stage.info.run_id, "code"))
    assert (kept / "mine.py").read_text() == STUDY_FILE
    assert (kept / "layers.py").exists()
    index = json.loads(Path(client.download_artifacts(stage.info.run_id, "code.json")).read_text())
    assert index["main"] == "mine.py"
    assert index["hashes"] == Plan.of(launched.study()).sources
    assert len(stage.data.tags["nnstudy.sources"]) == 32


def test_parameters_have_logarithms_where_the_scale_has(launched: Place) -> None:
    params = launched.run(0).data.params
    assert params["trial/number"] == "0"
    assert (params["lr"], params["log10_lr"]) == ("0.1", "-1.0")
    assert set(params) == {"trial/number", "lr", "log10_lr", "units", "batch_size"}


def test_zero_on_a_linear_scale_needs_no_logarithm() -> None:
    asked = {"decay": FloatDistribution(0, 1), "units": IntDistribution(1, 100, log=True)}
    params = {"decay": 0.0, "units": 10}
    assert with_logarithms(params, asked) == {"decay": 0.0, "units": 10, "log10_units": 1.0}


def test_tags_say_what_the_trial_was_and_how_it_ended(launched: Place) -> None:
    tags = launched.run(1).data.tags
    wanted = {
        "nnstudy.study": "toy",
        "nnstudy.stage": "search",
        "nnstudy.trial": "1",
        "nnstudy.state": "complete",
        "nnstudy.reason": "epochs",
        "nnstudy.seed": "0",
        "nnstudy.device": "cpu",
    }
    assert {name: tags[name] for name in wanted} == wanted
    distributions = json.loads(tags["nnstudy.distributions"])
    asked = {
        name: optuna.distributions.json_to_distribution(json.dumps(fields))
        for name, fields in distributions.items()
    }
    assert asked == launched.trials()[1].distributions
    assert any(name.startswith("nnstudy.env.") for name in tags)


def test_curves_are_sectioned_and_have_each_step_once(launched: Place) -> None:
    for number in (0, 1):
        curves = launched.curves(number)
        per_epoch = {
            *("loss/train", "accuracy/train", "loss/valid", "accuracy/valid"),
            *("lr", "momentum", "seconds", "examples_seen", "epoch"),
            *(
                f"{quantity}/{layer}.{kind}"
                for quantity in ("update_ratio", "gradient_norm", "weight_norm")
                for layer in (0, 3)
                for kind in ("weight", "bias")
            ),
            *(f"activation_{kind}/{layer}" for layer in (0, 1, 3) for kind in ("mean", "std")),
            *("saturated/1", "gap/accuracy", "wiggle/loss"),
            *("speed/examples_per_second", "memory/resident_mb"),
        }
        best = {"best/loss/valid", "best/accuracy/valid", "best/epoch"}
        assert set(curves) == per_epoch | best
        for name in per_epoch:
            assert [step for step, _ in curves[name]] == [1, 2, 3]
        for name in best:
            assert len(curves[name]) == 1
        assert [value for _, value in curves["examples_seen"]] == [96, 192, 288]
        assert curves["best/accuracy/valid"][0][1] == launched.trials()[number].value


def test_the_data_are_an_input_of_the_stage_and_of_each_trial(launched: Place) -> None:
    digest = Plan.of(launched.study()).data["digest"]

    def inputs(run: mlflow.entities.Run) -> list[tuple[str, str]]:
        assert run.inputs
        return [(i.dataset.name, i.dataset.digest) for i in run.inputs.dataset_inputs]

    client = Tracker(launched.tracking_uri).client
    for run in launched.all_runs():
        assert inputs(client.get_run(run.info.run_id)) == [("blobs", digest)]


def test_the_experiment_describes_itself(launched: Place) -> None:
    client = Tracker(launched.tracking_uri).client
    experiment = client.get_experiment_by_name("toy")
    assert experiment is not None
    assert experiment.tags["mlflow.note.content"] == "Points of three clouds."
    assert experiment.tags["mlflow.experiment.primaryMetric.name"] == "accuracy/valid"
    assert any(name.startswith("mlflow.sharedViewState.") for name in experiment.tags)


def test_optuna_points_to_the_run_and_to_the_weights(launched: Place) -> None:
    for trial in launched.trials():
        facts = trial.user_attrs["nnstudy"]
        assert facts["run_id"] == launched.run(trial.number).info.run_id
        assert Path(facts["checkpoint"]).exists()
        assert (facts["ended"], facts["epochs"], facts["threads"]) == ("complete", 3, 1)
