"""Pictures of an ensemble: gain against size, and how sure it is against how often it is right."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nnstudy.ensembles.cross_fitting import Comparison
from nnstudy.ensembles.measures import ClassificationMeasures
from nnstudy.ensembles.uncertainty import errors_of_the_surest

# Okabe and Ito's, which the colour-blind can tell apart.
_COLOURS = {"single best": "#999999", "ensemble": "#d55e00", "ensemble, calibrated": "#0072b2"}


def size_figure(found: Comparison, study: str) -> Figure:
    """Draws what an ensemble is worth against its size, beside the single best network."""
    names = [name for name in ("accuracy", "mse", "nll") if name in found.curve[0].numbers]
    figure = Figure(figsize=(10, 4), layout="constrained")
    FigureCanvasAgg(figure)
    single = found.rows.get("single best, calibrated", found.rows["single best"])
    sizes = [point.size for point in found.curve]
    for axes, name in zip(figure.subplots(1, len(names)), names, strict=True):
        values = [point.numbers[name] for point in found.curve]
        axes.plot(sizes, values, "o-", color="#0072b2", ms=4, label="ensemble")
        axes.axhline(single.numbers[name], color="#999999", ls="--", label="single best")
        axes.set(xlabel="members, each as often as it counts", ylabel=name)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    figure.suptitle(f"{study}: gain against size, measured on folds", fontsize="medium")
    return figure


def reliability_figure(found: Comparison, study: str) -> Figure | None:
    """Draws how often answers are right against how sure they are; None for numbers.

    (DeGroot and Fienberg 1983, "The comparison and evaluation of forecasters".)
    """
    rows = {
        name: row
        for name, row in found.rows.items()
        if isinstance(row, ClassificationMeasures) and name in _COLOURS
    }
    if not rows:
        return None
    figure = Figure(figsize=(5, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes: Axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="#cccccc", lw=1, zorder=0)
    for name, row in rows.items():
        axes.plot(
            [one.confidence for one in row.reliability],
            [one.accuracy for one in row.reliability],
            "o-",
            ms=4,
            color=_COLOURS[name],
            label=f"{name} (ece {row.ece:.3f})",
        )
    axes.set(xlabel="probability of the answer", ylabel="share that is right")
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper left")
    figure.suptitle(f"{study}: reliability", fontsize="medium")
    return figure


def rejection_figure(found: Comparison, study: str) -> Figure:
    """Draws the error of the answers that are left when the least sure ones are left out."""
    row, unsure = found.final, found.uncertainty
    figure = Figure(figsize=(6, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes: Axes = figure.subplots()
    left_out = 1 - np.arange(1, len(row.errors) + 1) / len(row.errors)
    for label, values, colour in (
        ("by all uncertainty", unsure.total, "#0072b2"),
        ("by disagreement alone", unsure.disagreement, "#d55e00"),
    ):
        axes.plot(left_out, errors_of_the_surest(row.errors, values), color=colour, label=label)
    axes.axhline(row.errors.mean(), color="#999999", ls="--", label="at random")
    of_classes = isinstance(row, ClassificationMeasures)
    axes.set(xlabel="share of the answers that is left out, the least sure first")
    axes.set(ylabel="share of the others that is wrong" if of_classes else "mse of the others")
    axes.set(xlim=(0, 1), ylim=(0, None))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.suptitle(f"{study}: what is left when unsure answers are left out", fontsize="medium")
    return figure
