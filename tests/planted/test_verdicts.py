"""Bugs planted into real trainings on MNIST are named by the verdicts on their trials."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import nnstudy
from nnstudy import Study
from nnstudy.data import Subset
from nnstudy.engines import Settings
from nnstudy.search.storage import open_storage
from nnstudy.search.stored import require_stages
from tests.planted import mnist_studies as planted

pytestmark = pytest.mark.slow


def trained(study: Study, mnist: Path, directory: Path, examples: int) -> dict[str, Any]:
    """Launches one trial without checks before it, and returns what is stored of it."""
    storage = f"sqlite:///{directory}/optuna.db"
    nnstudy.launch(
        study,
        workers=1,
        preflight=False,
        data_directory=mnist,
        subset=Subset(examples=examples, valid_examples=1000),
        storage=storage,
        tracking_uri=f"sqlite:///{directory}/mlflow.db",
        artifacts=str(directory / "artifacts"),
        settings=Settings(checkpoints=directory / "checkpoints", device="cpu"),
    )
    (stage,) = require_stages(open_storage(storage, create=False), study.name)
    (trial,) = stage.optuna_study.trials
    facts: dict[str, Any] = trial.user_attrs["nnstudy"]
    assert not facts["verdicts_defect"]
    return facts


def verdicts(facts: dict[str, Any]) -> dict[str, str]:
    return {verdict["name"]: verdict["evidence"] for verdict in facts["verdicts"]}


def test_the_geoscientists_start_explodes_with_a_thousand_examples(
    mnist: Path, tmp_path: Path
) -> None:
    facts = trained(planted.geoscientists(10, 1000, 1000), mnist, tmp_path, 1000)
    assert facts["ended"] == "diverged"
    assert next(iter(verdicts(facts))) == "diverged"


def test_it_stays_at_chance_with_fifty_thousand(mnist: Path, tmp_path: Path) -> None:
    facts = trained(planted.geoscientists(10, 1000, 50_000), mnist, tmp_path, 50_000)
    named = verdicts(facts)
    assert facts["ended"] == "complete"
    assert "guessing has 10.0%" in named["at chance"]
    assert "Weight decay takes 20% of the weights at each step" in named["at chance"]
    assert "learning rate too high" in named


def test_standard_normal_weights_of_a_deep_sigmoid_network(mnist: Path, tmp_path: Path) -> None:
    facts = trained(planted.study(planted.deep_and_saturated), mnist, tmp_path, 5000)
    named = verdicts(facts)
    assert "were saturated at the first validation" in named["bad initialisation"]
    assert "saturated units" in named


def test_a_forgotten_zero_grad_ends_at_chance(mnist: Path, tmp_path: Path) -> None:
    facts = trained(planted.study(planted.zero_grad_forgotten), mnist, tmp_path, 5000)
    assert {"at chance", "dead units"} <= verdicts(facts).keys()


def test_inputs_that_are_not_normalised(mnist: Path, tmp_path: Path) -> None:
    facts = trained(planted.study(data=planted.not_normalised), mnist, tmp_path, 5000)
    assert {"learning rate too high", "at chance"} <= verdicts(facts).keys()


def test_a_training_in_which_nothing_is_wrong_is_none_of_these(mnist: Path, tmp_path: Path) -> None:
    named = verdicts(trained(planted.study(), mnist, tmp_path, 5000))
    bad = {"diverged", "at chance", "bad initialisation", "dead units", "saturated units"}
    assert not bad & named.keys()
    assert "learning rate too high" not in named
