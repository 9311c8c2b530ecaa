"""``nnstudy importance`` on a study that was launched."""

from __future__ import annotations

import json
from pathlib import Path

import optuna
import pytest
from optuna.samplers import RandomSampler

from nnstudy.search.importance import EvaluatorName
from nnstudy.search.importance.evaluators import SHUFFLES

from .conftest import Run


@pytest.fixture
def searched(launched: Path) -> Path:
    """The launched study, with further trials told to its database."""
    study = optuna.load_study(
        study_name="tiny/search",
        storage=f"sqlite:///{launched}/mlruns/optuna.db",
        sampler=RandomSampler(seed=0),
    )
    for _ in range(27):
        trial = study.ask()
        trial.suggest_categorical("units", [8, 16])
        study.tell(trial, trial.suggest_float("lr", 0.01, 1.0, log=True))
    return launched


def test_importance_is_told_in_words_and_as_json(searched: Path, run: Run) -> None:
    output = run("importance", "tiny", "--output", "pictures").stdout
    lines = output.splitlines()
    assert lines[0].startswith("tiny/search: what mattered: lr ")
    assert lines[0].endswith("not told from chance: units (PED-ANOVA, 30 complete trials)")
    assert lines[1].split() == [
        "parameter",
        "importance",
        "by",
        "chance",
        "up",
        "to",
        "asked",
        "for",
        "in",
    ]
    assert lines[2].split()[0] == "lr"
    assert lines[3].split()[0] == "units"
    assert "lr and units: no interaction to be seen" in output
    assert "  note: tpe draws near good trials" in output
    assert (searched / "pictures" / "search" / "slices.png").exists()
    [stage] = json.loads(run("importance", "tiny", "--json").stdout)
    [group] = stage["groups"]
    told = {one["parameter"]: one["is_told"] for one in group["importances"]}
    assert told == {"lr": True, "units": False}
    assert stage["interaction"]["is_told"] is False
    assert stage["files"] == []


def test_a_study_of_few_trials_is_refused(launched: Path, run: Run) -> None:
    result = run("importance", "tiny")
    assert result.exit_code == 2
    assert "nothing can be said from 3 complete trials" in result.stderr
    assert run("importance", "tiny", "--stage", "last").exit_code == 2
    assert "stored are: tiny" in run("importance", "tinny").stderr


def test_the_choices_are_those_of_the_search(run: Run) -> None:
    from nnstudy.cli.importance import EVALUATORS

    assert set(EVALUATORS) == set(SHUFFLES) == set(EvaluatorName.__args__)  # type: ignore[attr-defined]
    assert run("importance", "tiny", "--evaluator", "guess").exit_code == 2
