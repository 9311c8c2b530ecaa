from typing import Any

import optuna
import pytest

from nnstudy.errors import UserError
from nnstudy.search.ranges.limits import check_limits
from nnstudy.search.space import Space, probe


@pytest.fixture(scope="module")
def space() -> Space:
    def ask(trial: optuna.Trial) -> None:
        trial.suggest_float("lr", 1e-4, 1e-1, log=True)
        trial.suggest_float("dropout", 0.0, 0.5 if trial.number % 2 else 0.6)
        trial.suggest_int("depth", 1, 4)
        trial.suggest_categorical("batch_size", [128, 32, 64])
        trial.suggest_categorical("optimizer", ["sgd", "adam"])

    return probe(ask, 10)


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"dropuot": (0, 1)}, "no parameter 'dropuot'. Did you mean dropout"),
        ({"dropout": (0, 0.55)}, r"limits\['dropout'\] = \(0, 0.55\) is narrower .* 0..0.6"),
        ({"depth": (2, None)}, "narrower than what the recipe asks for, 1..4"),
        ({"batch_size": (None, 64)}, "narrower than what the recipe asks for, one of 128, 32, 64"),
        ({"optimizer": (0, 1)}, "limits are for numbers, and optimizer is one of 'sgd', 'adam'"),
    ],
)
def test_limits_that_do_not_fit_what_is_asked_are_refused(
    space: Space, limits: Any, said: str
) -> None:
    with pytest.raises(UserError, match=said):
        check_limits(limits, space)


def test_limits_at_the_ends_or_beyond_are_good(space: Space) -> None:
    check_limits({}, space)
    check_limits(
        {"lr": (None, 0.1), "dropout": (0, 0.6), "depth": (1, None), "batch_size": (1, 512)}, space
    )
