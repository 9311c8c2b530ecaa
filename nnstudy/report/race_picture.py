"""A picture of a race: best so far against trials and against seconds."""

from __future__ import annotations

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from nnstudy.report.race import RaceResult

# Okabe and Ito's, which the colour-blind can tell apart.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")


def race_figure(result: RaceResult) -> Figure:
    """Draws the mean best so far of each sampler, with its 95 % band, and the single searches."""
    figure = Figure(figsize=(10, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    by_trials, by_seconds = figure.subplots(1, 2, sharey=True)
    for contender, colour in zip(result.contenders, _COLOURS, strict=False):
        for axes, band in ((by_trials, contender.by_trials), (by_seconds, contender.by_seconds)):
            axes.fill_between(
                band.x, band.low, band.high, color=colour, alpha=0.15, lw=0, step="post"
            )
            axes.step(
                band.x, band.mean, where="post", color=colour, lw=1.8, label=contender.sampler
            )
        for best, elapsed in zip(contender.best, contender.elapsed, strict=True):
            values = [float("nan") if value is None else value for value in best]
            trials = range(1, len(values) + 1)
            by_trials.step(trials, values, where="post", color=colour, lw=0.5, alpha=0.5)
            by_seconds.step(elapsed, values, where="post", color=colour, lw=0.5, alpha=0.5)
    drawn = [v for c in result.contenders for best in c.best for v in best if v is not None]
    if drawn:
        # The first trials may be far off, and the bands of a few searches far wider than these.
        maximize = result.direction == "maximize"
        low, high = np.quantile(drawn, (0.05, 1.0) if maximize else (0.0, 0.95))
        margin = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
        by_trials.set_ylim(low - margin, high + margin)
    by_trials.set(xlabel="trials", ylabel=f"best {result.metric} so far")
    by_seconds.set(xlabel="seconds of a search")
    by_trials.legend(
        frameon=False, loc="lower right" if result.direction == "maximize" else "upper right"
    )
    for axes in (by_trials, by_seconds):
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(
        f"{result.name}: mean of {result.seeds} searches each, with 95 % bands", fontsize="medium"
    )
    return figure
