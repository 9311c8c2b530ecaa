"""Pictures of what matters: each parameter against the value, and the two strongest together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState

from nnstudy.search.endings import reached
from nnstudy.search.importance.evidence import fence
from nnstudy.search.plan import Plan

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOUR, _FAINT, _BEST = "#2b6cb0", "#a0aec0", "#c05621"
_COLUMNS = 3
_BANDWIDTH = 0.12
"""Of the surface, in shares of a range."""


@dataclass(frozen=True)
class Axis:
    """A parameter as the axis of a picture.

    Attributes:
        name: Of the parameter.
        log: Whether it is searched on a log scale.
        choices: Of a categorical parameter, in their order; empty for numbers.
    """

    name: str
    log: bool
    choices: tuple[Any, ...]

    @classmethod
    def of(cls, name: str, trials: Sequence[FrozenTrial]) -> Axis:
        """Returns the axis of a parameter that some trials have."""
        asked: list[BaseDistribution] = [
            trial.distributions[name] for trial in trials if name in trial.distributions
        ]
        choices = asked[0].choices if isinstance(asked[0], CategoricalDistribution) else ()
        return cls(name, all(getattr(each, "log", False) for each in asked), tuple(choices))

    def place(self, trial: FrozenTrial) -> float:
        """Returns where a trial lies: its number, or the position of its choice."""
        value = trial.params[self.name]
        if not self.choices:
            return float(value)
        return float(
            next(i for i, choice in enumerate(self.choices) if repr(choice) == repr(value))
        )

    def unit(self, places: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns places on the scale that is searched, of any origin and length."""
        return np.log10(places) if self.log else places

    def dress_x(self, axes: Axes) -> None:
        """Makes the parameter the horizontal axis."""
        axes.set_xlabel(self.name)
        if self.log:
            axes.set_xscale("log")
            axes.xaxis.set_minor_formatter("")
        if self.choices:
            axes.set_xlim(-0.6, len(self.choices) - 0.4)
            axes.set_xticks(range(len(self.choices)), [_short(c) for c in self.choices])

    def dress_y(self, axes: Axes) -> None:
        """Makes the parameter the vertical axis."""
        axes.set_ylabel(self.name)
        if self.log:
            axes.set_yscale("log")
            axes.yaxis.set_minor_formatter("")
        if self.choices:
            axes.set_ylim(-0.6, len(self.choices) - 0.4)
            axes.set_yticks(range(len(self.choices)), [_short(c) for c in self.choices])


def _short(choice: Any) -> str:
    text = str(choice)
    return text if len(text) <= 12 else text[:11] + "…"


def draw_slices(
    plan: Plan, trials: Sequence[FrozenTrial], names: Sequence[str], notes: Mapping[str, str]
) -> Figure | None:
    """Draws each parameter against the value, one panel each.

    Complete trials are filled; pruned ones, with the best that they had reached, are hollow and
    faint, since they were not trained as long. Diverged ones, and values far worse than most, lie
    at the edge.

    Args:
        plan: The stage.
        trials: Its trials.
        names: The parameters, in the order of the panels.
        notes: Stands above a parameter's panel.

    Returns:
        None where there is nothing to draw.
    """
    from matplotlib.figure import Figure

    complete = _complete(trials)
    if not names or not complete:
        return None
    columns = min(_COLUMNS, len(names))
    lines = math.ceil(len(names) / columns)
    figure = Figure(figsize=(4 * columns, 3.2 * lines + 0.5), layout="constrained")
    panels = figure.subplots(lines, columns, sharey=True, squeeze=False)
    limits, edge = _limits(plan, complete)
    for name, panel in zip(names, panels.flat, strict=False):
        _slice(panel, Axis.of(name, trials), trials, limits, edge)
        panel.set_title(f"{name} {notes.get(name, '')}".strip(), fontsize="medium")
        panel.spines[["top", "right"]].set_visible(False)
    for panel in panels.flat[len(names) :]:
        panel.set_visible(False)
    for line in panels:
        line[0].set_ylabel(plan.metric)
    panels[0, 0].set_ylim(*limits)
    handles, labels = _legend(panels.flat)
    figure.legend(handles, labels, frameon=False, loc="outside lower center", ncols=len(labels))
    figure.suptitle(f"{plan.name}: each parameter against {plan.metric}")
    return figure


def _complete(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    return [
        trial
        for trial in trials
        if trial.state is TrialState.COMPLETE and math.isfinite(trial.values[0])
    ]


def _limits(plan: Plan, complete: Sequence[FrozenTrial]) -> tuple[tuple[float, float], float]:
    """Returns the range of values that is shown, and the worse end of it."""
    sign = 1.0 if plan.direction == "minimize" else -1.0
    values = sign * np.array([trial.values[0] for trial in complete])
    near, far = sign * values.min(), sign * values[values <= fence(values)].max()
    margin = 0.06 * (abs(far - near) or abs(near) or 1.0)
    low, high = float(min(near, far)) - margin, float(max(near, far)) + margin
    return (low, high), high if plan.direction == "minimize" else low


def _slice(
    panel: Axes,
    axis: Axis,
    trials: Sequence[FrozenTrial],
    limits: tuple[float, float],
    edge: float,
) -> None:
    axis.dress_x(panel)
    having = [trial for trial in trials if axis.name in trial.params and trial.state.is_finished()]
    groups: dict[str, list[tuple[float, float]]] = {
        "complete": [],
        "pruned": [],
        "off scale, diverged": [],
    }
    for trial in having:
        value = reached(trial)
        place = axis.place(trial) + (_jitter(trial.number) if axis.choices else 0.0)
        if trial.state is TrialState.FAIL:
            continue
        if value is None or not limits[0] <= value <= limits[1]:
            groups["off scale, diverged"].append((place, edge))
        else:
            state = "complete" if trial.state is TrialState.COMPLETE else "pruned"
            groups[state].append((place, value))
    styles: dict[str, dict[str, Any]] = {
        "pruned": {"marker": "o", "mfc": "none", "mec": _FAINT, "ms": 4},
        "complete": {"marker": "o", "mfc": _COLOUR, "mec": "white", "mew": 0.4, "ms": 6},
        "off scale, diverged": {"marker": "x", "mec": _BEST, "ms": 5, "clip_on": False},
    }
    for label, style in styles.items():
        if groups[label]:
            panel.plot(*zip(*groups[label], strict=True), ls="none", label=label, **style)


def _jitter(number: int) -> float:
    """Keeps trials of one choice apart, by the golden ratio and so without a random number."""
    return 0.5 * ((number * 0.6180339887) % 1 - 0.5)


def _legend(panels: Any) -> tuple[list[Any], list[str]]:
    found: dict[str, Any] = {}
    for panel in panels:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    return list(found.values()), list(found)


def draw_contour(
    plan: Plan, trials: Sequence[FrozenTrial], first: str, second: str, note: str = ""
) -> Figure | None:
    """Draws the value over two parameters: a smooth surface where both are numbers, and the trials.

    The surface is a mean over the complete trials nearby (Nadaraya 1964, Watson 1964), and is left
    blank where there are none.

    Args:
        plan: The stage.
        trials: Its trials.
        first: Parameter of the horizontal axis.
        second: Parameter of the vertical axis.
        note: Stands above.

    Returns:
        None where fewer than three complete trials ask for both.
    """
    from matplotlib.figure import Figure

    both = [trial for trial in trials if {first, second} <= trial.params.keys()]
    complete = _complete(both)
    if len(complete) < 3:
        return None
    x, y = Axis.of(first, both), Axis.of(second, both)
    (low, high), _ = _limits(plan, complete)
    better = "Blues_r" if plan.direction == "minimize" else "Blues"
    figure = Figure(figsize=(7, 5), layout="constrained")
    axes = figure.add_subplot()
    x.dress_x(axes)
    y.dress_y(axes)
    values = np.array([trial.values[0] for trial in complete])
    places = np.array([[_apart(x, trial), _apart(y, trial)] for trial in complete])
    colours: dict[str, Any] = {"cmap": better, "vmin": low, "vmax": high}
    if not x.choices and not y.choices:
        _surface(axes, (x, y), places, np.clip(values, low, high), colours)
    others = [[_apart(x, t), _apart(y, t)] for t in both if t.state is TrialState.PRUNED]
    if others:
        axes.plot(*np.array(others).T, "o", ms=4, mfc="none", mec=_FAINT, label="pruned")
    dots = axes.scatter(
        places[:, 0],
        places[:, 1],
        c=values,
        s=36,
        edgecolors="black",
        linewidths=0.6,
        label="complete",
        **colours,
    )
    chosen = int(values.argmin() if plan.direction == "minimize" else values.argmax())
    axes.plot(
        *places[chosen], "*", ls="none", ms=16, mfc=_BEST, mec="white", label="best", clip_on=False
    )
    figure.colorbar(dots, ax=axes, label=plan.metric)
    figure.legend(frameon=False, loc="outside lower center", ncols=3)
    axes.set_title(
        f"{plan.name}: {first} and {second}" + (f"\n{note}" if note else ""), fontsize=10
    )
    return figure


def _apart(axis: Axis, trial: FrozenTrial) -> float:
    return axis.place(trial) + (_jitter(trial.number) if axis.choices else 0.0)


def _surface(
    axes: Axes,
    pair: tuple[Axis, Axis],
    places: NDArray[np.float64],
    values: NDArray[np.float64],
    colours: Mapping[str, Any],
) -> None:
    steps = 60
    spots, grids = [], []
    for axis, column in zip(pair, places.T, strict=True):
        scaled = axis.unit(column)
        low, length = scaled.min(), np.ptp(scaled) or 1.0
        spots.append((scaled - low) / length)
        ends = np.linspace(low, low + length, steps)
        grids.append(10**ends if axis.log else ends)
    line = np.linspace(0, 1, steps)
    distances = (line[None, :, None] - spots[0]) ** 2 + (line[:, None, None] - spots[1]) ** 2
    weights = np.exp(-distances / (2 * _BANDWIDTH**2))
    near = weights.sum(axis=-1)
    surface = np.ma.masked_where(near < math.exp(-2), (weights @ values) / np.maximum(near, 1e-300))
    axes.contourf(*grids, surface, levels=12, alpha=0.85, **colours)
