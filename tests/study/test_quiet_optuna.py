from __future__ import annotations

import warnings
from collections.abc import Iterator

import optuna
import pytest

from nnstudy.search.space import probe
from nnstudy.study.quiet_optuna import quiet_optuna


@pytest.fixture(autouse=True)
def _talkative() -> Iterator[None]:
    """Optuna tells all it has to tell."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.INFO)
    yield
    optuna.logging.set_verbosity(before)


def _tell_and_warn() -> None:
    optuna.create_study()
    optuna.samplers.QMCSampler(seed=0)  # experimental


def test_nothing_is_said_inside_and_all_of_it_again_afterwards(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        with quiet_optuna():
            _tell_and_warn()
        assert (warned, caplog.messages) == ([], [])
        _tell_and_warn()
    assert [warning.category.__name__ for warning in warned] == ["ExperimentalWarning"]
    assert ["A new study created" in message for message in caplog.messages] == [True]


def test_an_error_inside_ends_the_silence() -> None:
    with pytest.raises(KeyError, match="nowhere"), quiet_optuna():
        optuna.load_study(study_name="nowhere", storage=optuna.storages.InMemoryStorage())
    assert optuna.logging.get_verbosity() == optuna.logging.INFO


def test_probing_a_recipe_tells_its_own_warnings_alone(caplog: pytest.LogCaptureFixture) -> None:
    def recipe(trial: optuna.Trial) -> None:
        trial.suggest_float("lr", 0.1, 1.0)
        warnings.warn("of the recipe", stacklevel=1)

    with pytest.warns(UserWarning, match="of the recipe") as warned:
        probe(recipe, probes=3, starts=[{"lr": 0.5}])
    assert {str(warning.message) for warning in warned} == {"of the recipe"}
    assert caplog.messages == []
