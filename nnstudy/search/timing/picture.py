"""A picture of a comparison by time: score against seconds of training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nnstudy.search.timing.comparison import Arm, Comparison

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAME = "time.png"


def timing_figure(found: Comparison) -> Figure:
    """Draws a line for each size, in a panel for rates as they were and one for scaled ones.

    The size that others are relative to is in both. A dot is where a line first shows the target.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.4), layout="constrained")
    panels = figure.subplots(1, 2, sharex=True, sharey=True)
    sizes = sorted({arm.size for arm in found.arms})
    shades = np.linspace(0, 0.85, len(sizes))
    colours = {size: colormaps["viridis"](shade) for size, shade in zip(sizes, shades, strict=True)}
    scaled = {arm.size for arm in found.arms if arm.is_scaled}
    for arm in found.arms:
        both = not arm.is_scaled and arm.size not in scaled
        for panel, is_scaled in zip(panels, (False, True), strict=True):
            if both or arm.is_scaled == is_scaled:
                _line(panel, found, arm, colours[arm.size])
    rates = ", ".join(found.chosen.rates)
    for panel, title in zip(panels, (f"{rates} as it was", f"{rates} in proportion"), strict=True):
        panel.axhline(found.target, color="grey", lw=1, ls="--")
        panel.set_title(title, fontsize="medium")
        panel.set_xlabel("seconds of training and validation")
        panel.spines[["top", "right"]].set_visible(False)
        panel.legend(
            title=found.name,
            frameon=False,
            loc="lower right" if found.direction == "maximize" else "upper right",
        )
    panels[0].set_ylabel(found.metric)
    panels[0].set_ylim(*_limits(found))
    figure.suptitle(f"{found.metric} against time; dashed: the target", fontsize="medium")
    return figure


def _line(axes: Axes, found: Comparison, arm: Arm, colour: tuple[float, ...]) -> None:
    seconds, scores = zip(*arm.curve, strict=True)
    chosen = arm is found.chosen
    label = f"{arm.size:g}, chosen" if chosen else f"{arm.size:g}"
    axes.plot(seconds, scores, color=colour, lw=2.4 if chosen else 1.2, label=label)
    if arm.reached is not None:
        score = scores[seconds.index(arm.reached)]
        axes.plot([arm.reached], [score], "o", color=colour, ms=8 if chosen else 5)


def _limits(found: Comparison) -> tuple[float, float]:
    """Returns a range of scores without those that are far off, as of rates that are too large."""
    scores = [score for arm in found.arms for _, score in arm.curve]
    low, high = np.quantile(scores, (0.05, 1.0) if found.direction == "maximize" else (0.0, 0.95))
    margin = 0.05 * float(high - low) or 0.05 * abs(float(high)) or 1.0
    return float(low) - margin, float(high) + margin
