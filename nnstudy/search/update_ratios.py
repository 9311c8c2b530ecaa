"""How far the updates of a stage's trials are from the rough target of 1e-3."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from statistics import median, quantiles
from typing import TYPE_CHECKING

from optuna.trial import FrozenTrial, TrialState

from nnstudy.search.endings import ATTRIBUTE
from nnstudy.search.plan import Plan
from nnstudy.training import Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TARGET = 1e-3
"""Update over weight norms, roughly (CS231n, "Learning", "Ratio of weights:updates")."""

FACT = "update_ratio"
_RATE = re.compile(r"^(lr|eta|(learning_)?rate)(_|$)|_lr$")
_COLOUR = "#2b6cb0"


def typical_ratio(history: Sequence[Record]) -> float | None:
    """Returns the median of a trial's tensors after the last validation that has ratios."""
    for record in reversed(history):
        ratios = [v for name, v in record.values.items() if name.startswith("update_ratio/")]
        if ratios:
            return median(ratios)
    return None


def ratio_line(trials: Sequence[FrozenTrial], best: FrozenTrial | None) -> str:
    """Returns what to say of the ratios in a stage's note, "" where there are none."""
    ratios = [ratio for trial in trials if (ratio := _ratio(trial)) is not None]
    if not ratios:
        return ""
    middle = f", the middle half {_span(quantiles(ratios))}" if len(ratios) > 3 else ""
    own = _ratio(best) if best else None
    of_best = f"; the best trial has {own:.1e}" if own is not None else ""
    return (
        f"Updates over weights at the end (median of a trial's tensors): {_span(sorted(ratios))}"
        f"{middle}{of_best}. A rough target is 1e-3."
    )


def ratio_figure(plan: Plan, trials: Sequence[FrozenTrial]) -> Figure | None:
    """Draws the ratios of finished trials against value and learning rate.

    Args:
        plan: The stage.
        trials: Its trials.

    Returns:
        A figure with one panel or, where a parameter is called ``lr`` or a rate, two; None where
        no trial has a ratio above zero.
    """
    shown = [trial for trial in trials if (_ratio(trial) or 0.0) > 0]
    if not shown:
        return None
    from matplotlib.figure import Figure

    rate = _rate_name(shown)
    figure = Figure(figsize=(10 if rate else 5, 4), layout="constrained")
    panels = figure.subplots(1, 2 if rate else 1, squeeze=False)[0]
    _scatter(panels[0], shown, _ratio, _score)
    panels[0].axvline(TARGET, color="grey", lw=1, ls="--", label="rough target: 1e-3")
    panels[0].set(xscale="log", xlabel="update over weight norms", ylabel=f"best {plan.metric}")
    panels[0].legend(frameon=False)
    if rate:
        _scatter(panels[1], shown, lambda trial: trial.params.get(rate), _ratio)
        panels[1].axhline(TARGET, color="grey", lw=1, ls="--")
        panels[1].set(xscale="log", yscale="log", xlabel=rate, ylabel="update over weight norms")
    figure.suptitle(f"{plan.study}/{plan.stage}: updates over weights at the end of each trial")
    return figure


Measure = Callable[[FrozenTrial], float | None]


def _scatter(axes: Axes, trials: Sequence[FrozenTrial], x: Measure, y: Measure) -> None:
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    others = [trial for trial in trials if trial.state is not TrialState.COMPLETE]
    for label, group, fill in (("complete", complete, _COLOUR), ("not complete", others, "none")):
        points = [(x(trial), y(trial)) for trial in group]
        known = [point for point in points if None not in point]
        if known:
            axes.plot(*zip(*known, strict=True), "o", mfc=fill, color=_COLOUR, label=label)


def _ratio(trial: FrozenTrial) -> float | None:
    ratio: float | None = trial.user_attrs.get(ATTRIBUTE, {}).get(FACT)
    return ratio


def _score(trial: FrozenTrial) -> float | None:
    """Returns a trial's value, or what a pruned one was judged by last."""
    if trial.state is TrialState.COMPLETE:
        return trial.value
    reported = [value for value in trial.intermediate_values.values() if value == value]
    return reported[-1] if reported else None


def _rate_name(trials: Sequence[FrozenTrial]) -> str | None:
    """Returns the parameter that is the learning rate, by its name."""
    names = {
        name
        for trial in trials
        for name, value in trial.params.items()
        if _RATE.search(name) and isinstance(value, float) and value > 0
    }
    return min(names, key=lambda name: (len(name), name), default=None)


def _span(ordered: Sequence[float]) -> str:
    return f"{ordered[0]:.1e} to {ordered[-1]:.1e}"
