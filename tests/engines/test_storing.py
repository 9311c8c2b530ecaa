"""Storing a prepared study."""

from __future__ import annotations

from pathlib import Path

import pytest

from nnstudy.engines import LaunchOptions
from nnstudy.engines.preparation import Preparation
from nnstudy.engines.storing import store_stage
from nnstudy.errors import UserError
from nnstudy.search.events import ignore
from nnstudy.search.plan import Plan
from nnstudy.tracking import Tracker
from tests.launching import Place, toy


def prepare(place: Place, **fields: object) -> Preparation:
    options = LaunchOptions(workers=1, preflight=False, **place.options())
    return Preparation(toy(**fields), None, options, ignore)


def test_two_launches_at_once_store_one_study(place: Place) -> None:
    first, second = prepare(place), prepare(place)

    plan, study = store_stage(first, first.plans[0])
    other, same = store_stage(second, second.plans[0])

    assert other == plan == Plan.of(study)
    assert same.study_name == study.study_name
    assert len(place.all_runs()) == 1


def test_of_two_different_launches_at_once_the_later_is_refused(place: Place) -> None:
    first, second = prepare(place), prepare(place, epochs=7)
    plan, study = store_stage(first, first.plans[0])

    with pytest.raises(UserError, match="epochs: was 3, is now 7"):
        store_stage(second, second.plans[0])

    assert Plan.of(study) == plan


def test_start_points_are_not_lost_by_a_crash_while_a_study_is_stored(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = prepare(place, start={"lr": 0.25})
    with monkeypatch.context() as crashing:
        crashing.setattr(Plan, "save", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            store_stage(prepared, prepared.plans[0])

    again = prepare(place, start={"lr": 0.25})
    store_stage(again, again.plans[0])
    place.launch(toy(start={"lr": 0.25}))

    assert [trial.params["lr"] == 0.25 for trial in place.trials()] == [True, False, False]


def test_changed_sources_are_kept_beside_the_first_and_trials_say_which_they_had(
    place: Place, tmp_path: Path
) -> None:
    file = tmp_path / "mine.py"
    text = "from tests.launching import toy\n\nstudy = toy(trials=1, epochs=1)\n"
    file.write_text(text)
    place.launch(str(file))
    file.write_text(text + "# changed\n")

    place.launch(str(file), trials=2)

    assert any("mine.py changed" in text for text in place.texts("warning"))
    first, second = (place.run(n).data.tags["nnstudy.sources"] for n in (0, 1))
    assert first != second
    client = Tracker(place.tracking_uri).client
    run_id = place.stage_run().info.run_id
    old = Path(client.download_artifacts(run_id, "code/mine.py")).read_text()
    new = Path(client.download_artifacts(run_id, f"code-{second[:8]}/mine.py")).read_text()
    assert (old, new) == (text, text + "# changed\n")
