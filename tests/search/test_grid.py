"""How many points a grid is given that is to have about as many as there are trials."""

from __future__ import annotations

from itertools import pairwise

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnstudy.errors import UserError
from nnstudy.search.grid import grid_axes, grid_size, points_for
from nnstudy.search.space import probe


def two_rates_and_a_choice(trial: optuna.Trial) -> None:
    trial.suggest_float("lr", 1e-4, 1.0, log=True)
    trial.suggest_float("dropout", 0.0, 0.5)
    trial.suggest_categorical("optimizer", ["sgd", "adam"])


def depth_and_width(trial: optuna.Trial) -> None:
    trial.suggest_int("depth", 1, 3)
    trial.suggest_int("width", 1, 1000)


SPACE = probe(two_rates_and_a_choice)
WHOLE = probe(depth_and_width)


@given(st.integers(1, 300))
def test_a_grid_has_a_point_for_each_trial_and_one_fewer_of_a_number_would_be_too_few(
    trials: int,
) -> None:
    points = points_for(SPACE, trials)
    assert grid_size(SPACE, points) >= trials
    assert max(points.values()) - min(points.values()) <= 1
    largest = max(points, key=lambda name: points[name])
    if points[largest] > 1:
        assert grid_size(SPACE, points | {largest: points[largest] - 1}) < trials


@pytest.mark.parametrize(
    ("trials", "points"),
    [(1, (1, 1)), (3, (2, 1)), (18, (3, 3)), (19, (4, 3)), (24, (4, 3)), (50, (5, 5))],
)
def test_numbers_grow_in_turn(trials: int, points: tuple[int, int]) -> None:
    assert tuple(points_for(SPACE, trials).values()) == points


def test_whole_numbers_end_where_their_range_does() -> None:
    points = points_for(WHOLE, 60)
    assert points == {"depth": 3, "width": 20}
    assert grid_axes(WHOLE, points)["depth"] == [1, 2, 3]


def test_a_space_with_fewer_points_than_trials_has_all_of_them() -> None:
    space = probe(lambda trial: trial.suggest_categorical("loss", ["a", "b"]))
    assert points_for(space, 10) == {}
    assert grid_size(space, points_for(space, 10)) == 2
    depth = probe(lambda trial: trial.suggest_int("depth", 1, 3))
    assert points_for(depth, 10) == {"depth": 3}


@pytest.mark.parametrize(
    ("low", "high", "values"),
    [
        (1e-4, 10.0, [1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0]),
        (0.5, 20.0, [0.5, 2.0, 20.0]),
        (0.05, 2.0, [0.05, 0.2, 2.0]),
        (0.3, 0.4, [0.3, 0.4]),
        (0.1, 0.1, [0.1]),
    ],
)
def test_decades_go_from_the_largest_value_down_to_the_least(
    low: float, high: float, values: list[float]
) -> None:
    space = probe(lambda trial: trial.suggest_float("lr", low, high, log=True))
    assert grid_axes(space, "decades") == {"lr": values}
    assert grid_size(space, {"lr": "decades"}) == len(values)


@given(st.floats(1e-12, 1e6), st.floats(1.0, 1e12))
def test_no_two_neighbours_of_a_grid_by_decades_are_more_than_a_factor_of_ten_apart(
    low: float, ratio: float
) -> None:
    space = probe(lambda trial: trial.suggest_float("lr", low, low * ratio, log=True), 1)
    values = grid_axes(space, "decades")["lr"]
    assert values[0] == pytest.approx(low)
    assert values[-1] == pytest.approx(low * ratio)
    assert all(1 < b / a <= 10 * (1 + 1e-9) for a, b in pairwise(values))


def test_whole_numbers_and_choices_have_a_place_in_a_grid_by_decades() -> None:
    def recipe(trial: optuna.Trial) -> None:
        trial.suggest_int("width", 3, 1000, log=True)
        trial.suggest_categorical("loss", ["a", "b"])

    assert grid_axes(probe(recipe), "decades") == {
        "width": [3, 10, 100, 1000],
        "loss": ["a", "b"],
    }


def test_a_linear_range_has_no_decades() -> None:
    with pytest.raises(UserError, match=r"dropout is 0\.\.0\.5\. Ask for it with log=True"):
        grid_axes(SPACE, "decades")
    with pytest.raises(UserError, match="whole number from 1, or decades, got 'many'"):
        grid_axes(SPACE, "many")
