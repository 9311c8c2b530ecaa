"""Pre-flight of real launches: when it runs, what it stops, and where it is kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from nnstudy.engines import join
from nnstudy.errors import UserError
from nnstudy.preflight import Report
from nnstudy.search.events import Event
from nnstudy.tracking import Tracker
from tests.launching import Place, toy

SOUND = """
from functools import partial

import torch

from nnstudy import Recipe, Stage, Study
from tests.launching import blobs, network


def recipe(trial, data):
    lr = trial.suggest_float("lr", 0.01, 1.0, log=True)
    return Recipe(network=network(data), optimizer=partial(torch.optim.SGD, lr=lr))


study = Study("toy", recipe, data=blobs, stages=[Stage(trials=1, epochs=1)])
"""
# Whatever is learned, the network cannot answer with it.
FROZEN = SOUND.replace(
    "    return Recipe(network=network(data)",
    """
    class Frozen(torch.nn.Sequential):
        def forward(self, inputs):
            return super().forward(inputs) * 0 + torch.ones(3, requires_grad=True)

    return Recipe(network=Frozen(network(data))""",
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(SOUND)
    return path


def checks(events: list[Event]) -> list[str]:
    return [event.values["check"] for event in events if event.kind == "check"]


def kept(place: Place, folder: str = "preflight") -> list[str]:
    client = Tracker(place.tracking_uri).client
    run_id = place.stage_run().info.run_id
    return sorted(entry.path for entry in client.list_artifacts(run_id, folder))


def test_a_first_launch_checks_and_keeps_the_report_with_the_stage(
    place: Place, file: Path
) -> None:
    place.launch(str(file), preflight=True)
    told = checks(place.events)
    assert {"building", "overfitting"} <= set(told)
    kinds = [event.kind for event in place.events]
    assert kinds.index("check") < kinds.index("cost")
    assert any(text.startswith("pre-flight: ") for text in place.texts("message"))
    assert kept(place) == [
        f"preflight/{name}" for name in ("examples.png", "report.json", "report.md")
    ]
    client = Tracker(place.tracking_uri).client
    stored = client.download_artifacts(place.stage_run().info.run_id, "preflight/report.json")
    report = Report.from_dict(json.loads(Path(stored).read_text()))
    assert [result.check for result in report.results] == told
    assert report.passed


def test_a_fault_stops_the_launch_and_leaves_nothing(place: Place, file: Path) -> None:
    file.write_text(FROZEN)
    with pytest.raises(UserError, match=r"(?s)does not pass.*overfitting: .*->"):
        place.launch(str(file), preflight=True)
    assert checks(place.events)
    assert not (place.directory / "optuna.db").exists()
    assert place.all_runs() == []
    place.launch(str(file), preflight=False)
    assert len(place.trials()) == 1


def test_an_unchanged_study_is_not_checked_again_and_a_changed_one_is(
    place: Place, file: Path
) -> None:
    place.launch(str(file), preflight=True)
    place.events.clear()
    place.launch(str(file), preflight=True, trials=2)
    assert checks(place.events) == []

    file.write_text(SOUND + "# changed\n")
    place.launch(str(file), preflight=True, trials=3)
    assert "overfitting" in checks(place.events)
    assert len(place.trials()) == 3
    version = place.run(2).data.tags["nnstudy.sources"][:8]
    assert f"preflight-{version}/report.json" in kept(place, f"preflight-{version}")


def test_a_study_that_has_passed_elsewhere_is_not_checked_again_but_has_its_report(
    place: Place, new_place: Callable[[str], Place], file: Path
) -> None:
    place.launch(str(file), preflight=True)
    other = new_place("other")
    other.launch(str(file), preflight=True)
    assert checks(other.events) == []
    assert any("nothing has changed since" in text for text in other.texts("message"))
    assert "preflight/examples.png" in kept(other)
    again = new_place("again")
    again.launch(str(file), preflight=True, epochs=2)  # other conditions
    assert "overfitting" in checks(again.events)


def test_a_study_without_a_file_is_checked_each_time(place: Place) -> None:
    for trials in (1, 2):
        place.events.clear()
        place.launch(toy(trials=1, epochs=1), preflight=True, trials=trials)
        assert "overfitting" in checks(place.events)


def test_whoever_joins_does_not_check(place: Place, file: Path) -> None:
    place.launch(str(file))
    events: list[Event] = []
    options = place.options()
    assert join("toy", emit=events.append, **options).complete
    assert checks(events) == []
