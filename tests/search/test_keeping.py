"""Where checkpoints are kept: uploaded, limited, and found again."""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from nnstudy import Recipe
from nnstudy.data import Data, load
from nnstudy.errors import UserError
from nnstudy.search.keeping import fetch_checkpoint
from nnstudy.search.settings import Settings
from nnstudy.tracking import Tracker
from nnstudy.training.checkpoints import read_weights
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
    place.launch(study, rehearse=False)

    file = place.checkpoint(0)
    data = load(blobs)
    measured = network(data)
    measured.load_state_dict(read_weights(file))

    assert file.name.startswith("average-")
    loss = evaluate(measured, data.validation, torch.nn.functional.cross_entropy)["loss"]
    assert loss == pytest.approx(place.trials()[0].value)
