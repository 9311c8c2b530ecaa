"""Ensembles of one configuration: trained again from other initialisations, for real."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from nnstudy.cli import main
from nnstudy.engines import confirm
from nnstudy.errors import UserError
from nnstudy.search.confirmation.members import member_of, selection_of
from nnstudy.search.confirmation.words import conclusion
from nnstudy.search.events import Event
from nnstudy.search.interruption import Interrupted, Interruption
from tests.engines.test_ensembling import launch, made
from tests.launching import InterruptAt, Place, make_place

CONFIRM = "toy/confirm"

STUDY_FILE = """
from dataclasses import replace
from functools import partial

from nnstudy import Split
from tests.launching import blobs, toy

study = replace(
    toy(trials=3, epochs=2),
    data=partial(blobs, 300),
    split=Split(validation=0.4, selection=0.5),
)
"""


@pytest.fixture
def searched(tmp_path: Path, fresh_mlflow: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.chdir(tmp_path)
    place = make_place(tmp_path / "place", fresh_mlflow)
    launch(place, STUDY_FILE)
    return place


def of_seeds(place: Place, output: Path, **asked: Any) -> Any:
    place.events.clear()
    asked = {"sources": ["seeds"], "emit": place.events.append, "workers": 1, **asked}
    return made(place, output, **asked)


def trained(place: Place) -> list[int]:
    """Numbers of the trials that have ended since the last call."""
    return [event.values["trial"] for event in place.events if event.kind == "end"]


def seeds_of(place: Place) -> list[tuple[int, int]]:
    return [member_of(trial) for trial in place.trials(CONFIRM)]


@pytest.mark.slow
def test_the_best_configuration_is_trained_again_and_only_once(
    searched: Place, tmp_path: Path
) -> None:
    best = searched.study().best_trial
    told = of_seeds(searched, tmp_path, members=3, select="all").describe()
    assert trained(searched) == [0, 1, 2]
    assert seeds_of(searched) == [(best.number, seed) for seed in range(3)]
    text = f"training trial {best.number} of stage 'search', the best one, again from 3 init"
    assert any(text in line for line in searched.texts("message"))
    assert [event.values["trials"] for event in searched.events if event.kind == "cost"] == [3]
    members = told["members"]
    assert sorted((one["stage"], one["trial"], *one["from"]) for one in members) == [
        ("confirm", trial, "seeds") for trial in range(3)
    ]
    assert all(one["params"] == best.params for one in members)
    assert len({one["hash"] for one in members}) == 3
    # The trial of the search is compared with, and no member.
    assert (told["candidates"][0]["stage"], told["candidates"][0]["from"]) == ("search", [])

    # Two more take two more trainings, and less takes none.
    more = of_seeds(searched, tmp_path, members=5, select="all").describe()
    assert trained(searched) == [3, 4]
    assert len(more["members"]) == 5
    of_seeds(searched, tmp_path, members=2, sources=["seeds", "top-trials"])
    assert searched.events == []


@pytest.mark.slow
def test_trainings_of_a_confirmation_are_used_and_what_it_told_stays(
    searched: Place, tmp_path: Path
) -> None:
    options = {"workers": 1, **searched.options()}
    study = str(searched.directory / "study.py")
    before = confirm("toy", top=2, seeds=2, test=False, study=study, **options)
    selection = selection_of(searched.study(CONFIRM))
    told = of_seeds(searched, tmp_path, members=3, select="all").describe()
    assert len(trained(searched)) == 1
    best = searched.study().best_trial.number
    assert sorted(seeds_of(searched)) == sorted(
        [
            (one.trial, seed)
            for one in before.confirmation.selection.configurations
            for seed in (0, 1)
        ]
        + [(best, 2)]
    )
    assert len(told["members"]) == 3
    assert selection_of(searched.study(CONFIRM)) == selection
    # Asked again, the confirmation has all it needs and tells the same.
    again = confirm("toy", top=2, seeds=2, test=False, study=study, **options)
    assert conclusion(again.confirmation) == conclusion(before.confirmation)
    assert len(searched.trials(CONFIRM)) == 5


@pytest.mark.slow
@pytest.mark.usefixtures("every_epoch_is_told")
def test_an_interrupted_training_of_seeds_makes_no_ensemble_and_is_gone_on_with(
    searched: Place, tmp_path: Path
) -> None:
    hear = InterruptAt(trial=1)
    with pytest.raises(Interrupted, match="1 of 3 trainings of the best trial are finished"):
        of_seeds(searched, tmp_path, members=3, emit=hear, interruption=hear.interruption)
    assert not (tmp_path / "toy").exists()
    status = CliRunner().invoke(main, ["status", "toy", "--storage", searched.storage])
    assert "to go on: nnstudy ensemble toy --from seeds" in status.stdout
    assert len(of_seeds(searched, tmp_path, members=3, select="all").ensemble.members) == 3
    assert trained(searched) == [1, 2]
    assert len(searched.trials(CONFIRM)) == 3


def test_what_is_refused_is_refused_before_anything_is_trained(
    searched: Place, tmp_path: Path
) -> None:
    for wrong, message in (
        ({"combine": "weights"}, "are not averaged"),
        ({"members": 1}, "at least two members"),
        ({"kept_code": True}, "trains with the study file here"),
        ({"members": 5, "candidates": 2}, "--candidates 2 are fewer"),
    ):
        with pytest.raises(UserError, match=message):
            of_seeds(searched, tmp_path, **wrong)
    assert searched.events == []


def test_an_end_that_was_asked_for_before_trains_nothing(searched: Place, tmp_path: Path) -> None:
    interruption = Interruption()
    interruption.request()
    events: list[Event] = []
    with pytest.raises(Interrupted, match="0 of 10"):
        of_seeds(searched, tmp_path, emit=events.append, interruption=interruption)
    assert not [event for event in events if event.kind == "end"]
