"""The update ratios of a stage's trials."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial
from PIL import Image

from nnstudy.search.update_ratios import ratio_figure, ratio_line, typical_ratio
from nnstudy.tracking import Tracker
from nnstudy.training import Record
from tests.launching import Place, toy
from tests.search.test_results import plan


def trial(ratio: float | None, rate: float, value: float | None = None) -> FrozenTrial:
    return create_trial(
        state=TrialState.PRUNED if value is None else TrialState.COMPLETE,
        value=value,
        params={"lr": rate},
        distributions={"lr": FloatDistribution(1e-4, 10, log=True)},
        intermediate_values={1: 0.7},
        user_attrs={"nnstudy": {"update_ratio": ratio}},
    )


TRIALS = [
    trial(1e-4, 0.001, 0.5),
    trial(1e-3, 0.01, 0.3),
    trial(2e-2, 0.2, 0.9),
    trial(5e-1, 5.0),
    trial(None, 1.0, 0.8),
]


def test_a_trials_ratio_is_the_median_of_its_tensors_at_its_end() -> None:
    ratios = {"update_ratio/a": 0.3, "update_ratio/b": 0.1, "update_ratio/c": 0.2, "lr": 5.0}
    history = [Record(1, 1, values={"update_ratio/a": 9.0}), Record(2, 2, values=ratios)]
    assert typical_ratio(history) == 0.2
    assert typical_ratio([*history, Record(3, 3, values={"lr": 1.0})]) == 0.2
    assert typical_ratio([]) is None


def test_the_line_gives_the_range_and_the_best_trials() -> None:
    assert ratio_line(TRIALS, TRIALS[1]) == (
        "Updates over weights at the end (median of a trial's tensors): 1.0e-04 to 5.0e-01, the"
        " middle half 3.2e-04 to 3.8e-01; the best trial has 1.0e-03. A rough target is 1e-3."
    )
    assert "middle" not in ratio_line(TRIALS[:2], None)
    assert ratio_line([trial(None, 1.0, 0.5), create_trial(state=TrialState.FAIL)], None) == ""


def points(figure: Figure, panel: int) -> list[tuple[float, float]]:
    lines = [line for line in figure.axes[panel].lines if line.get_marker() == "o"]
    return [(float(x), float(y)) for line in lines for x, y in line.get_xydata()]


def test_the_figure_has_value_and_rate_against_the_ratio_and_the_target() -> None:
    figure = ratio_figure(plan("minimize"), TRIALS)
    assert figure is not None
    assert points(figure, 0) == [(1e-4, 0.5), (1e-3, 0.3), (2e-2, 0.9), (5e-1, 0.7)]
    assert points(figure, 1) == [(0.001, 1e-4), (0.01, 1e-3), (0.2, 2e-2), (5.0, 5e-1)]
    dashed = [[*line.get_xdata(), *line.get_ydata()] for a in figure.axes for line in a.lines[-1:]]
    assert dashed == [[1e-3, 1e-3, 0, 1], [0, 1, 1e-3, 1e-3]]


def test_without_a_rate_there_is_one_panel_and_without_ratios_no_figure() -> None:
    nameless = create_trial(value=1.0, user_attrs={"nnstudy": {"update_ratio": 0.1}})
    figure = ratio_figure(plan("minimize"), [nameless])
    assert figure is not None
    assert len(figure.axes) == 1
    assert ratio_figure(plan("minimize"), [create_trial(value=1.0)]) is None


def test_the_stages_run_has_line_and_picture(place: Place) -> None:
    place.launch(toy(trials=2, epochs=1))
    ratios = [trial.user_attrs["nnstudy"]["update_ratio"] for trial in place.trials()]
    for number, ratio in enumerate(ratios):
        curves = place.curves(number)
        told = [p[0][1] for name, p in curves.items() if name.startswith("update_ratio/")]
        assert ratio == pytest.approx(float(np.median(told)))
    stage = place.stage_run()
    note = stage.data.tags["mlflow.note.content"]
    assert f"{min(ratios):.1e} to {max(ratios):.1e}" in note
    client = Tracker(place.tracking_uri).client
    file = client.download_artifacts(stage.info.run_id, "update_ratios.png")
    with Image.open(file) as picture:
        assert picture.size == (1000, 400)
