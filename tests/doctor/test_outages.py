"""What a study leaves behind that lost MLflow, or keeps its checkpoints there."""

from __future__ import annotations

from pathlib import Path

import pytest

from nnstudy.errors import UserError
from nnstudy.search.events import Event
from nnstudy.tracking import Tracker
from nnstudy.training.checkpoints import CheckpointName
from tests.launching import Place, toy
from tests.tracking.served import Server

from .conftest import differences, look


@pytest.mark.slow
def test_what_a_server_missed_is_delivered(place: Place) -> None:
    server = Server(place.tracking_uri, str(place.directory / "artifacts"))
    served = {"tracking_uri": server.url, "artifacts": None}

    def stop_server(event: Event) -> None:
        if event.kind == "trial" and event.values["trial"] == 1:
            server.stop()

    try:
        with pytest.raises(UserError):
            place.launch(toy(), hear=stop_server, settings={"patience": 1.0}, **served)
        server.start()
        before = differences(look(place, **served))
        assert any(text.startswith("undelivered 1: ") for text in before)
        assert differences(look(place, **served, fix=True)) == []
        assert differences(look(place, **served)) == []
        place.launch(toy(), **served)
        assert look(place, **served) == []
    finally:
        server.stop()
    for number in range(3):
        assert [step for step, _ in place.curves(number)["epoch"]] == [1, 2, 3]
        assert place.run(number).info.status == "FINISHED"


@pytest.mark.slow
def test_checkpoints_among_the_artifacts_are_compared(place: Place, tmp_path: Path) -> None:
    place.launch(toy(), settings={"upload": True})
    assert look(place) == []
    tracker = Tracker(place.tracking_uri)
    facts = [trial.user_attrs["nnstudy"] for trial in place.trials()]
    last = tmp_path / str(CheckpointName("last"))
    last.write_bytes(b"state")
    tracker.run(facts[0]["run_id"]).log_artifact(last, "state/1")
    weights = facts[1]["checkpoint"].partition("/")[2].partition("/")[2]
    tracker.run(facts[1]["run_id"]).delete_artifact(weights)
    found = differences(look(place))
    assert len(found) == 2
    assert found[0].startswith("weights 1: its weights cannot be had: runs:/")
    assert found[1].startswith("orphan 0: its run still has the artifacts state/")
    assert differences(look(place, fix=True)) == found[:1]
    assert differences(look(place)) == found[:1]
