from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from nnstudy.errors import UserError
from nnstudy.tracking import Tracker, TrialRun


def make_trial(
    tracker: Tracker, experiment: str, number: int = 0, **params: object
) -> tuple[str, TrialRun]:
    stage = tracker.stage_run(experiment, "digits", "coarse", key="digits/coarse")
    trial = tracker.trial_run(
        experiment,
        stage.run_id,
        number=number,
        name=f"trial {number}",
        key=f"digits/coarse/{number}",
        tags={"state": "RUNNING"},
        params=params,
        started_ms=1_700_000_000_000,
    )
    return stage.run_id, trial


def test_experiment_is_made_once_with_the_tags_that_the_ui_reads(tracker: Tracker) -> None:
    first = tracker.experiment("digits", metric="accuracy/valid", description="Old")
    again = tracker.experiment("digits", metric="accuracy/valid", description="New")
    assert first == again
    tags = tracker.client.get_experiment(first).tags
    assert tags["mlflow.experimentKind"] == "custom_model_development"
    assert tags["mlflow.experiment.primaryMetric.name"] == "accuracy/valid"
    assert tags["mlflow.note.content"] == "New"


def test_artifacts_go_below_the_given_root_whatever_the_name(
    tracker: Tracker, store: tuple[str, str]
) -> None:
    for name in ("digits", "../../etc", "..", "a/b c"):
        experiment = tracker.experiment(name, metric="loss")
        run = tracker.stage_run(experiment, name, "coarse", key="digits/coarse")
        assert run.log_text("hello", "note.md")
    written = [path for path in Path(store[1]).rglob("note.md") if path.is_file()]
    assert len(written) == 4


def test_deleted_experiment_is_refused_with_the_cure(tracker: Tracker, experiment: str) -> None:
    tracker.client.delete_experiment(experiment)
    with pytest.raises(UserError, match=r"restore --experiment-id .*another name"):
        tracker.experiment("digits", metric="accuracy/valid")


def test_stage_run_is_found_again_and_runs_again(tracker: Tracker, experiment: str) -> None:
    first = tracker.stage_run(
        experiment, "digits", "coarse", key="digits/coarse", params={"epochs": 3}, note="# Note"
    )
    first.finish()
    again = tracker.stage_run(
        experiment, "digits", "coarse", key="digits/coarse", params={"epochs": 3}
    )
    assert first.run_id == again.run_id
    run = tracker.client.get_run(first.run_id)
    assert run.info.status == "RUNNING"
    assert run.info.run_name == "coarse"
    assert run.data.params == {"epochs": "3"}
    assert run.data.tags["mlflow.note.content"] == "# Note"


def test_trial_run_is_a_child_with_its_parameters_and_source(
    tracker: Tracker, experiment: str
) -> None:
    parent, trial = make_trial(tracker, experiment, 3, lr=0.1, log10_lr=-1.0)
    run = tracker.client.get_run(trial.run_id)
    assert run.data.params == {"trial/number": "3", "lr": "0.1", "log10_lr": "-1.0"}
    assert run.data.tags["mlflow.parentRunId"] == parent
    assert run.data.tags["state"] == "RUNNING"
    assert run.data.tags["mlflow.source.name"] == "nnstudy"
    assert run.info.start_time == 1_700_000_000_000
    assert run.info.run_name == "trial 3"


def test_a_trial_never_gets_two_runs(tracker: Tracker, experiment: str) -> None:
    _, first = make_trial(tracker, experiment, 7, lr=0.1)
    _, again = make_trial(tracker, experiment, 7, lr=0.1, units=3)
    assert first.run_id == again.run_id
    assert tracker.client.get_run(first.run_id).data.params["units"] == "3"
    assert len(tracker.client.search_runs([experiment])) == 2


def test_keys_with_quotes_are_found_again(tracker: Tracker, experiment: str) -> None:
    for key in ("it's/0", 'say "hi"/0'):
        found = {
            tracker.trial_run(experiment, "x", number=0, name="trial 0", key=key).run_id
            for _ in range(2)
        }
        assert len(found) == 1


def test_long_and_many_parameters_are_cut_and_split(tracker: Tracker, experiment: str) -> None:
    params = {f"p{number}": number for number in range(250)} | {"long": "x" * 7000}
    _, trial = make_trial(tracker, experiment, **params)
    run = tracker.client.get_run(trial.run_id)
    assert len(run.data.params) == 252
    assert len(run.data.params["long"]) == 6000
    assert run.data.tags["nnstudy.params_cut"] == "long"


def test_dataset_is_an_input_of_the_run(tracker: Tracker, experiment: str) -> None:
    _, trial = make_trial(tracker, experiment)
    for _ in range(2):
        tracker.log_dataset(
            trial.run_id, "digits", "0" * 64, {"examples": 1797}, {"type": "sklearn"}, "training"
        )
    (given,) = tracker.client.get_run(trial.run_id).inputs.dataset_inputs
    assert (given.dataset.name, given.dataset.source_type) == ("digits", "sklearn")
    assert json.loads(given.dataset.profile) == {"examples": 1797}
    assert {tag.key: tag.value for tag in given.tags} == {"mlflow.data.context": "training"}


def test_saved_view_is_one_tag_however_often_it_is_written(
    tracker: Tracker, experiment: str
) -> None:
    for _ in range(2):
        view = tracker.saved_view(experiment, ["lr"], "accuracy/valid", ascending=False)
    tags = tracker.client.get_experiment(experiment).tags
    assert [key for key in tags if key.startswith("mlflow.sharedViewState.")] == [
        f"mlflow.sharedViewState.{view}"
    ]
    url = tracker.runs_url("http://127.0.0.1:5000/", experiment, view)
    assert url == (
        f"http://127.0.0.1:5000/#/experiments/{experiment}/runs?viewStateShareKey={view}"
    )


def test_a_web_server_that_is_not_mlflow_is_refused_in_few_words() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as other:
        threading.Thread(target=other.serve_forever).start()
        try:
            with pytest.raises(UserError, match="is the address right") as caught:
                Tracker(f"http://127.0.0.1:{other.server_port}")
        finally:
            other.shutdown()
    assert len(str(caught.value)) < 500


@pytest.mark.slow
@pytest.mark.postgres
def test_runs_are_kept_in_postgres_and_the_password_nowhere(
    postgres_url: str, postgres_server: object, tmp_path: Path
) -> None:
    tracker = Tracker(postgres_url, str(tmp_path / "artifacts"))
    password = postgres_server.password  # type: ignore[attr-defined]  # see tests/postgres.py
    assert password in tracker.uri
    assert password not in tracker.masked_uri
    experiment = tracker.experiment("digits", metric="accuracy/valid")
    _, trial = make_trial(tracker, experiment, lr=0.1)
    trial.log({"loss/train": 0.5}, step=1, timestamp=1_700_000_000_000)
    assert trial.finish("FINISHED", best={"accuracy/valid": 0.9})
    run = tracker.client.get_run(trial.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics == {"loss/train": 0.5, "best/accuracy/valid": 0.9}
    assert password not in json.dumps(run.to_dictionary(), default=str)
