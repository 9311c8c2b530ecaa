"""Where checkpoints are kept: uploaded, limited, and found again."""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from nnstudy import Recipe
from nnstudy.data import Data, load
from nnstudy.errors import UserError
from nnstudy.search.keeping import (
    Uploads,
    discard_earlier,
    fetch_checkpoint,
    find_checkpoint,
    inherit,
    trial_directories,
    trial_directory,
)
from nnstudy.search.plan import Plan
from nnstudy.search.settings import Settings
from nnstudy.tracking import Tracker, TrackingAway
from nnstudy.training import Record
from nnstudy.training.checkpoints import Keeper, read, read_weights, write
from nnstudy.training.evaluation import evaluate
from tests.launching import InterruptAt, Place, blobs, network, toy


def test_uploaded_checkpoints_are_found_again_and_leave_nothing_behind(
    place: Place, tmp_path: Path
) -> None:
    place.launch(toy(trials=2, epochs=2), settings={"upload": True})

    facts = place.trials()[1].user_attrs["nnstudy"]
    tracker = Tracker(place.tracking_uri)
    file = fetch_checkpoint(tracker, facts["checkpoint"], tmp_path)

    assert facts["checkpoint"].startswith(f"runs:/{facts['run_id']}/checkpoints/best-epoch")
    assert read_weights(file)["0.weight"].shape[1] == 4
    assert not [path for path in place.checkpoints.rglob("*") if path.is_file()]


@pytest.mark.usefixtures("every_epoch_is_told")
def test_a_trial_goes_on_from_an_uploaded_checkpoint_on_another_machine(place: Place) -> None:
    undisturbed = replace(toy(trials=1, epochs=6), name="undisturbed")
    place.launch(undisturbed, settings={"upload": True})
    interruption = InterruptAt(trial=0, epoch=3)
    place.launch(
        toy(trials=1, epochs=6),
        hear=interruption,
        interruption=interruption.interruption,
        settings={"upload": True},
    )
    shutil.rmtree(place.checkpoints)  # the other machine has none of the files

    place.launch(toy(trials=1, epochs=6), settings={"upload": True})

    assert not [text for text in place.texts("message") if "starts again" in text]
    client = Tracker(place.tracking_uri).client
    kept = [
        Path(entry.path).name
        for entry in client.list_artifacts(place.run(0).info.run_id, "checkpoints")
    ]
    assert "last.safetensors" not in kept
    assert [step for step, _ in place.curves(0)["loss/valid"]] == [1, 2, 3, 4, 5, 6]
    assert place.trials()[0].value == place.trials("undisturbed/search")[0].value


def test_an_artifact_that_is_not_there_is_named(place: Place, tmp_path: Path) -> None:
    place.launch(toy(trials=1, epochs=1))
    run_id = place.run(0).info.run_id

    with pytest.raises(UserError, match="gone"):
        fetch_checkpoint(
            Tracker(place.tracking_uri), f"runs:/{run_id}/checkpoints/gone.safetensors", tmp_path
        )


def test_a_limit_for_uploaded_checkpoints_is_refused() -> None:
    with pytest.raises(UserError, match="limit on disk space"):
        Settings(upload=True, disk_limit=1)


def test_a_limit_on_disk_space_keeps_the_best_trials(place: Place) -> None:
    study = toy(trials=14, epochs=1)
    place.launch(study, settings={"keep_every": 1})
    files = list(place.checkpoints.rglob("*.safetensors"))
    ranked = sorted(place.trials(), key=lambda trial: trial.value or 0.0, reverse=True)
    limit = sum(place.checkpoint(trial.number).stat().st_size for trial in ranked[:11])

    place.launch(study, trials=15, settings={"keep_every": 1, "disk_limit": limit})

    left = list(place.checkpoints.rglob("*.safetensors"))
    assert sum(path.stat().st_size for path in left) <= limit
    assert len(left) < len(files)
    best = sorted(place.trials(), key=lambda trial: trial.value or 0.0, reverse=True)
    assert all(place.checkpoint(trial.number).exists() for trial in best[:5])


def averaged(trial: object, data: Data) -> Recipe:
    return Recipe(
        network=network(data),
        optimizer=partial(torch.optim.SGD, lr=0.5),
        batch_size=16,
        average=0.9,
    )


def test_the_checkpoint_of_a_study_that_judges_averages_holds_the_average(place: Place) -> None:
    study = toy(averaged, trials=1, epochs=3, metric="loss/valid_average", direction="minimize")
    place.launch(study)

    file = place.checkpoint(0)
    data = load(blobs)
    measured = network(data)
    measured.load_state_dict(read_weights(file))

    assert file.name.startswith("average-")
    loss = evaluate(measured, data.validation, torch.nn.functional.cross_entropy)["loss"]
    assert loss == pytest.approx(place.trials()[0].value)


# -- A directory for each lease -------------------------------------------------------------


class Kept:
    """A stage that is stored nowhere, and the directories of its trial 12."""

    def __init__(self, checkpoints: Path) -> None:
        self.settings = Settings(checkpoints=checkpoints)
        fields: dict[str, Any] = dict.fromkeys(Plan.__dataclass_fields__)
        self.plan = Plan(**{**fields, "study": "toy", "stage": "search", "uid": "u"})

    def directory(self, token: int) -> Path:
        return trial_directory(self.plan, self.settings, 12, token)

    def write(self, token: int, *, name: str = "last", said: str = "") -> Path:
        file = self.directory(token) / f"{name}.safetensors"
        write(file, {"said": said or f"by {token}"})
        return file

    def inherit(self, token: int) -> Path:
        return inherit(self.plan, self.settings, 12, token)

    @property
    def names(self) -> list[str]:
        found = trial_directories(self.plan, self.settings, 12)
        return [directory.name for directory in found]


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path / "checkpoints")


def test_each_lease_has_a_directory_of_its_own_the_latest_first(kept: Kept) -> None:
    for token in (1, 10, 2):
        kept.write(token)
    kept.settings.checkpoints.joinpath("toy", "search-u", "trial-00123.4").mkdir()
    assert kept.names == ["trial-00012.10", "trial-00012.2", "trial-00012"]


def test_who_takes_a_trial_over_has_what_the_last_worker_left(kept: Kept) -> None:
    kept.write(1)
    assert kept.inherit(3) == kept.directory(3)
    state, _ = read(kept.directory(3) / "last.safetensors")
    assert state == {"said": "by 1"}
    assert kept.names == ["trial-00012.3"]
    # Asking again moves nothing more, whatever a late worker wrote meanwhile.
    kept.write(1, said="late")
    assert kept.inherit(3) == kept.directory(3)
    assert kept.names == ["trial-00012.3", "trial-00012"]
    # A late worker's directory is older than its heir's.
    kept.inherit(4)
    state, _ = read(kept.directory(4) / "last.safetensors")
    assert state == {"said": "by 1"}


def test_a_directory_without_a_state_is_taken_only_if_there_is_no_other(kept: Kept) -> None:
    kept.write(1, name="best-epoch=1-score=0.5")
    assert kept.inherit(2) == kept.directory(2)
    kept.directory(2).rename(kept.directory(3))
    kept.write(1)
    kept.inherit(4)
    assert [path.name for path in kept.directory(4).iterdir()] == ["last.safetensors"]


def test_nothing_is_inherited_where_nothing_is_left(kept: Kept) -> None:
    assert kept.inherit(1) == kept.directory(1)
    assert kept.inherit(2) == kept.directory(2)
    assert kept.names == []


def test_what_a_later_lease_left_is_not_taken_by_an_earlier_one(kept: Kept) -> None:
    kept.write(3)
    kept.inherit(2)
    assert kept.names == ["trial-00012.3"]


def test_a_checkpoint_is_found_where_a_take_over_has_moved_it(kept: Kept) -> None:
    stored = kept.write(1, name="best")
    assert find_checkpoint(kept.plan, kept.settings, 12, str(stored)) == stored
    kept.inherit(2)
    found = find_checkpoint(kept.plan, kept.settings, 12, str(stored))
    assert found == kept.directory(2) / "best.safetensors"
    shutil.rmtree(kept.directory(2))
    assert find_checkpoint(kept.plan, kept.settings, 12, str(stored)) is None


def test_what_late_workers_wrote_goes_when_the_trial_ends_and_a_later_lease_keeps_its_own(
    kept: Kept,
) -> None:
    for token in (1, 2, 5):
        kept.write(token)
    other = kept.directory(1).with_name("trial-00013")
    other.mkdir()
    discard_earlier(kept.plan, kept.settings, 12, 2)
    assert sorted(kept.names) == ["trial-00012.2", "trial-00012.5"]
    assert other.exists()


# -- Uploads --------------------------------------------------------------------------------


def test_each_lease_uploads_a_state_of_its_own_and_the_latest_is_fetched(
    place: Place, tmp_path: Path
) -> None:
    tracker = Tracker(place.tracking_uri, str(tmp_path / "artifacts"))
    experiment = tracker.experiment("toy", metric="accuracy/valid")
    run = tracker.trial_run(experiment, "parent", number=0, name="trial 0", key="toy/search/0")
    for token in (2, 10, 9):
        keeper = Keeper(tmp_path / str(token), direction="minimize")
        keeper.flush(partial(dict, said=f"by {token}"))
        Uploads(keeper, run, token).save()

    heir = Keeper(tmp_path / "heir", direction="minimize")
    uploads = Uploads(heir, run, 11)
    assert uploads.fetch()
    assert heir.last_path is not None
    assert read(heir.last_path)[0] == {"said": "by 10"}

    # What is there already is newer than what was uploaded.
    heir.flush(lambda: {"said": "by the heir"})
    assert not uploads.fetch()
    assert read(heir.last_path)[0] == {"said": "by the heir"}

    # A worker that was only late leaves a later lease's state alone.
    late = Uploads(keeper, run, 9)
    late.finish()
    late.discard()
    assert run.list_artifacts("state") == ["state/10"]
    uploads.discard()
    assert run.list_artifacts("state") == []


def test_a_state_is_fetched_with_the_weights_it_goes_with(place: Place, tmp_path: Path) -> None:
    tracker = Tracker(place.tracking_uri, str(tmp_path / "artifacts"))
    experiment = tracker.experiment("toy", metric="accuracy/valid")
    run = tracker.trial_run(experiment, "parent", number=0, name="trial 0", key="toy/search/0")
    keeper = Keeper(tmp_path / "here", direction="maximize")
    for epoch, score in ((1, 0.9), (2, 0.4)):
        weights = {"weight": torch.full((2,), score)}
        keeper.record(Record(epoch, epoch), score, weights.copy, None, lambda: {"at": 2})
    keeper.flush()
    Uploads(keeper, run, 1).save()

    there = tmp_path / "there"
    assert Uploads(Keeper(there, direction="maximize"), run, 2).fetch()
    heir = Keeper(there, direction="maximize")
    assert heir.best_path() is not None
    assert heir.best_path().name.startswith("best-epoch0001")


def test_weights_that_mlflow_does_not_take_are_kept(place: Place, tmp_path: Path) -> None:
    tracker = Tracker(place.tracking_uri, str(tmp_path / "artifacts"))
    experiment = tracker.experiment("toy", metric="accuracy/valid")
    run = tracker.trial_run(experiment, "parent", number=0, name="trial 0", key="toy/search/0")
    keeper = Keeper(tmp_path / "kept", direction="minimize")
    keeper.record(Record(1, 1), 0.5, partial(dict, weight=torch.ones(2)), None, None)
    keeper.flush()
    (file,) = keeper.paths()
    (tmp_path / "artifacts").write_text("in the way")

    with pytest.raises(TrackingAway, match="did not take the checkpoint"):
        Uploads(keeper, run, 1).finish()
    assert file.exists()

    (tmp_path / "artifacts").unlink()
    uploads = Uploads(keeper, run, 1)
    for _ in range(2):  # what ends a trial may have to be done again
        uploads.finish()
        assert uploads.place(file) == f"runs:/{run.run_id}/checkpoints/{file.name}"
        assert file.exists()
    uploads.discard()
    assert not file.exists()
