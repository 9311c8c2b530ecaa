"""Measuring a finished trial again, elsewhere than where it was trained."""

from __future__ import annotations

from dataclasses import replace

from nnstudy.search.evaluation import evaluate_trial
from nnstudy.search.plan import Plan
from nnstudy.search.settings import Settings
from nnstudy.search.storage import open_storage
from tests.launching import Place

STUDY_FILE = """
from tests.launching import toy

study = toy(trials=1, epochs=1)
"""


def test_what_was_trained_in_mixed_precision_can_be_measured_on_a_cpu(place: Place) -> None:
    file = place.directory / "study.py"
    file.write_text(STUDY_FILE)
    result = place.launch(str(file))
    assert result.best is not None
    # As a launch with --precision mixed on a machine with CUDA stores it.
    study = place.study()
    replace(Plan.of(study), precision="mixed").save(study)

    found = evaluate_trial(open_storage(place.storage), "toy", settings=Settings(device="cpu"))

    assert found.scores["accuracy"] == result.best.value
