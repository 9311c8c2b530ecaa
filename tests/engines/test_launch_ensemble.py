"""A search and an ensemble of it in one launch."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial

import pytest

from nnstudy import Split, Study
from nnstudy.errors import UserError
from nnstudy.search.interruption import Interruption
from tests.launching import Place, blobs, toy


def searchable(trials: int = 3, selection: float = 0.5) -> Study:
    return replace(
        toy(trials=trials, epochs=1),
        data=partial(blobs, 300),
        split=Split(validation=0.4, selection=selection),
    )


def test_a_complete_search_is_made_one_model(place: Place) -> None:
    result = place.launch(searchable(), ensemble=True)
    assert result.complete
    assert result.ensemble is not None
    assert result.not_ensembled == ""
    kept = json.loads(result.ensemble.file.read_text())
    assert {one["trial"] for one in kept["candidates"]} == {0, 1, 2}
    assert "there are only 3 candidates for 10 members" in place.texts("warning")
    assert place.launch(searchable()).ensemble is None


def test_a_search_that_was_ended_is_not_and_tells_how(place: Place) -> None:
    interruption = Interruption()
    interruption.request()
    result = place.launch(searchable(), ensemble=True, interruption=interruption)
    assert result.ensemble is None
    assert "the search is not complete" in result.not_ensembled
    assert "nnstudy ensemble toy" in result.not_ensembled


def test_a_search_stands_though_no_ensemble_can_be_made(place: Place) -> None:
    result = place.launch(searchable(trials=1), ensemble=True)
    assert (result.complete, result.finished, result.ensemble) == (True, 1, None)
    assert "an ensemble needs at least two networks" in result.not_ensembled


@pytest.mark.parametrize(
    ("fields", "options", "message"),
    [
        ({"selection": 0.0}, {}, r"selection part of blobs.* has 0 examples"),
        ({}, {"folds": 3}, "cross-validated"),
    ],
)
def test_what_no_ensemble_can_be_made_of_is_refused_before_it_is_searched(
    place: Place, fields: dict[str, float], options: dict[str, int], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        place.launch(searchable(**fields), ensemble=True, **options)  # type: ignore[arg-type]
    assert not [event for event in place.events if event.kind in ("stage", "end")]
