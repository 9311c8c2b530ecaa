"""What an ensemble is not made of: stages, networks and files that are not what they should be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from nnstudy.ensembles.words import remarks
from nnstudy.errors import UserError
from nnstudy.search.interruption import Interruption
from nnstudy.search.plan import Plan
from tests.engines.test_ensembling import changed, launch, made
from tests.launching import Place, make_place

STAGES = """
from dataclasses import replace
from functools import partial

from nnstudy import Split, Stage
from tests.launching import blobs, toy

study = replace(
    toy(stages=[Stage("coarse", trials=2, epochs=2), Stage("fine", trials=3, epochs=2)]),
    data=partial(blobs, 300),
    split=Split(validation=0.4, selection=0.5),
)
"""

OTHERWISE = """
from torch import nn

from tests.launching import recipe


class Negative(nn.Module):
    def forward(self, scores):
        return -scores


def otherwise(trial, data):
    made = recipe(trial, data)
    made.network.append(Negative())
    return made


study = replace(study, recipe=otherwise)
"""


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory, fresh_mlflow: Path) -> Place:
    """A study of two stages; whoever changes something puts it back."""
    place = make_place(tmp_path_factory.mktemp("stages") / "place", fresh_mlflow)
    launch(place, STAGES)
    return place


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    "other",
    [{"split": {"seed": 1}}, {"normalise": "none"}, {"classes": 2}, {"class_names": ["a", "b"]}],
)
def test_stages_that_validated_on_what_others_may_have_learnt_are_refused(
    searched: Place, tmp_path: Path, other: dict[str, object]
) -> None:
    study = searched.study("toy/fine")
    plan = Plan.of(study)
    try:
        replace(plan, data={**plan.data, **other}).save(study)
        with pytest.raises(UserError, match=rf"differ in their data \({next(iter(other))}\)"):
            made(searched, tmp_path)
    finally:
        plan.save(study)
    assert not (tmp_path / "toy").exists()


def test_networks_that_changed_code_builds_otherwise_are_left_out_and_named(
    searched: Place, tmp_path: Path
) -> None:
    file = searched.directory / "study.py"
    warnings: list[str] = []
    with (
        changed(file, file.read_bytes() + OTHERWISE.encode()),
        pytest.raises(UserError, match="needs at least two networks") as refused,
    ):
        made(searched, tmp_path, warnings)
    assert "since 'toy/coarse' was launched: study.py changed" in warnings
    assert str(refused.value).count(": the code has changed since it was trained, and builds") >= 4
    assert "as in the search. Put the code back" in str(refused.value)


def test_with_fewer_candidates_than_members_left_the_ensemble_says_so(
    searched: Place, tmp_path: Path
) -> None:
    best = made(searched, tmp_path).ensemble.pool.candidates[0]
    with changed(Path(best.place), None):
        result = made(searched, tmp_path, members=5)
    said = remarks(result.ensemble)
    assert "of 5 members that were wanted there are candidates for 4" in said
    assert any(line.startswith(f"left out: {best}: there is no checkpoint") for line in said)
    # What all is compared with is then the next best.
    assert result.ensemble.pool.candidates[0].value <= best.value


def test_a_study_without_finished_trials_is_refused(place: Place, tmp_path: Path) -> None:
    interruption = Interruption()
    interruption.request()
    file = place.directory / "study.py"
    file.write_text(STAGES)
    place.launch(str(file), interruption=interruption)
    for source in ("top-trials", "seeds", "checkpoints", "average"):
        with pytest.raises(UserError, match="'toy' has no finished trial that has kept weights"):
            made(place, tmp_path, sources=[source])


def test_a_study_that_is_not_stored_is_refused(place: Place, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No study is stored"):
        made(place, tmp_path)
