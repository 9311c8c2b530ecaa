"""What the pictures of importance show."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial
from PIL import Image

from nnstudy.search.importance.pictures import Axis, draw_contour, draw_slices

from .objectives import plan_of, true_trials

RATE, WAY = FloatDistribution(1e-3, 1, log=True), CategoricalDistribution(["up", "down", None])


def trial(lr: float, way: str | None, value: float | None, last: float = 0.0) -> FrozenTrial:
    return create_trial(
        state=TrialState.PRUNED if value is None else TrialState.COMPLETE,
        value=value,
        params={"lr": lr, "way": way},
        distributions={"lr": RATE, "way": WAY},
        intermediate_values={1: last},
    )


TRIALS = [
    trial(0.001, "up", 0.4),
    trial(0.01, "down", 0.2),
    trial(0.1, None, 0.3),
    trial(0.2, None, 0.35),
    trial(0.9, "up", 90.0),
    trial(0.5, "down", None, last=0.38),
    trial(1.0, "up", None, last=math.nan),
]


def drawn(panel: Any) -> dict[str, list[tuple[float, float]]]:
    return {
        line.get_label(): [(float(x), float(y)) for x, y in line.get_xydata()]
        for line in panel.lines
    }


def test_slices_tell_complete_from_pruned_and_put_explosions_at_the_edge() -> None:
    figure = draw_slices(plan_of(), TRIALS, ["lr", "way"], {"lr": "0.70"})
    assert figure is not None
    panel = figure.axes[0]
    assert panel.get_title() == "lr 0.70"
    assert panel.get_xscale() == "log"
    points = drawn(panel)
    assert points["complete"] == [(0.001, 0.4), (0.01, 0.2), (0.1, 0.3), (0.2, 0.35)]
    assert points["pruned"] == [(0.5, 0.38)]
    edge = panel.get_ylim()[1]
    assert points["off scale, diverged"] == [(0.9, edge), (1.0, edge)]
    assert edge < 0.5
    faint = {line.get_label(): line.get_markerfacecolor() for line in panel.lines}
    assert (faint["pruned"], faint["complete"]) == ("none", "#2b6cb0")


def test_choices_stand_side_by_side_with_their_names() -> None:
    figure = draw_slices(plan_of(), TRIALS, ["way"], {})
    assert figure is not None
    panel = figure.axes[0]
    assert [tick.get_text() for tick in panel.get_xticklabels()] == ["up", "down", "None"]
    assert all(round(x) == 2 for x, y in drawn(panel)["complete"] if y in (0.3, 0.35))


def test_the_worse_edge_is_below_where_more_is_better() -> None:
    trials = [trial(0.1, "up", value) for value in (0.7, 0.8, 0.85, 0.9, -50.0)]
    figure = draw_slices(plan_of(direction="maximize"), trials, ["lr"], {})
    assert figure is not None
    low, high = figure.axes[0].get_ylim()
    assert drawn(figure.axes[0])["off scale, diverged"] == [(0.1, low)]
    assert 0.6 < low < 0.7
    assert 0.9 < high < 1


def test_the_two_strongest_have_a_surface_where_trials_are() -> None:
    figure = draw_contour(plan_of(), true_trials(), "lr", "units", "they act together")
    assert figure is not None
    axes = figure.axes[0]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert axes.get_title().endswith("they act together")
    surface, dots = axes.collections[0], axes.collections[-1]
    assert len(np.asarray(dots.get_offsets())) == len(true_trials())
    assert len(surface.get_paths()) > 5
    best = min(true_trials(), key=lambda t: t.values[0]).params
    assert drawn(axes)["best"] == [(best["lr"], best["units"])]


def test_choices_have_dots_and_no_surface() -> None:
    figure = draw_contour(plan_of(), TRIALS, "lr", "way")
    assert figure is not None
    assert len(figure.axes[0].collections) == 1
    assert len(drawn(figure.axes[0])["pruned"]) == 2


def test_without_trials_there_is_no_picture() -> None:
    assert draw_slices(plan_of(), TRIALS[5:], ["lr"], {}) is None
    assert draw_slices(plan_of(), TRIALS, [], {}) is None
    assert draw_contour(plan_of(), TRIALS[3:], "lr", "way") is None


@pytest.mark.parametrize("names", [["lr"], ["lr", "units", "colour", "optimizer", "momentum"]])
def test_pictures_grow_with_the_number_of_parameters(names: list[str], tmp_path: Path) -> None:
    figure = draw_slices(plan_of(), true_trials(), names, {})
    assert figure is not None
    figure.savefig(tmp_path / "slices.png", dpi=50)
    with Image.open(tmp_path / "slices.png") as picture:
        assert picture.size == ((200, 185) if len(names) == 1 else (600, 345))
        # Neither blank nor one colour.
        assert len(np.unique(np.asarray(picture.convert("L")))) > 20


def test_an_axis_is_log_only_if_all_ask_so() -> None:
    linear = create_trial(
        value=1, params={"lr": 0.5}, distributions={"lr": FloatDistribution(0, 1)}
    )
    assert Axis.of("lr", TRIALS).log
    assert not Axis.of("lr", [*TRIALS, linear]).log
