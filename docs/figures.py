"""Draws the figures of measured results, and writes their table into the README.

    python docs/figures.py

Everything is taken from benchmarks/results/*.json; what has not been measured is left out.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
IMAGES = ROOT / "docs" / "images"
README = ROOT / "README.md"

BEGIN, END = "<!-- results: written by docs/figures.py -->", "<!-- end of results -->"
NOTHING = "No benchmark has been run yet: see [benchmarks/](benchmarks)."

Result = dict[str, Any]

_MEASURED, _EXPECTED = "#2b6cb0", "#dfe8f2"


def load(directory: Path = RESULTS) -> dict[str, Result]:
    """Returns the results there are, by the benchmark's name."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(directory.glob("*.json"))}


def table(results: dict[str, Result]) -> str:
    """Returns the results as Markdown."""
    rows = [row for name in ROWS if name in results for row in ROWS[name](results[name])]
    if not rows:
        return NOTHING
    conditions = [
        f"- `{results[name]['command']}`: {_machine(results[name])}"
        for name in ROWS
        if name in results
    ]
    return "\n".join(
        [
            "| What | Measured | Expected |",
            "| --- | --- | --- |",
            *rows,
            "",
            *conditions,
        ]
    )


def _nielsen_rows(result: Result) -> list[str]:
    best = [search["best"] for search in result["searches"]]
    low, high = result["interval_95"]
    trials = result["searches"][0]["trials"]
    return [
        f"| [`nielsen_mnist`](studies/nielsen_mnist.py): best of {trials} trials on 10,000"
        f" validation images, {len(best)} seeds"
        f" | **{result['mean']:.2%}** (95 % interval {low:.2%} to {high:.2%};"
        f" searches {min(best):.2%} to {max(best):.2%})"
        f" | {result['expected']:.1%} ± {100 * result['tolerance']:.1f} points |"
    ]


def _overhead_rows(result: Result) -> list[str]:
    names = {"perceptron": "perceptron 784-100-10", "convnet": "small convolutional network"}
    return [
        f"| Time of a trial with everything on, over a bare PyTorch loop: MNIST, {names[case]},"
        f" minibatch 128 | **{figures['median_ratio']:.2f}**"
        f" (median of {len(figures['pairs'])} pairs,"
        f" {figures['least_ratio']:.2f} to {figures['greatest_ratio']:.2f})"
        f" | at most {result['expected']} |"
        for case, figures in result["cases"].items()
    ]


def _machine(result: Result) -> str:
    versions = result["versions"]
    return (
        f"{result['machine']['processor']}, {result['machine']['cores']} cores, Python"
        f" {versions['python']}, PyTorch {versions['torch']}, {result['date']}"
    )


def _draw_nielsen(axes: Axes, result: Result) -> None:
    searches = result["searches"]
    seeds = [str(search["seed"]) for search in searches]
    expected, tolerance = 100 * result["expected"], 100 * result["tolerance"]
    axes.axhspan(expected - tolerance, expected + tolerance, color=_EXPECTED)
    axes.axhline(expected, color="grey", lw=1, ls="--", label="the survey's, after 511 epochs")
    for name, key, filling in (("first trial", "first_trial", "none"), ("best", "best", _MEASURED)):
        scores = [100 * search[key] for search in searches]
        axes.plot(seeds, scores, "o", mfc=filling, color=_MEASURED, label=name)
    axes.set(xlabel="seed of the search", ylabel="right answers on validation images, %")
    axes.set(ylim=(expected - 1.6 * tolerance, expected + 1.6 * tolerance))
    axes.set_title("nielsen_mnist, searched over its own space")


def _draw_overhead(axes: Axes, result: Result) -> None:
    for case, figures in result["cases"].items():
        ratios = [pair["nnstudy"] / pair["bare"] for pair in figures["pairs"]]
        axes.plot([case] * len(ratios), ratios, "o", mfc="none", color=_MEASURED)
        axes.plot([case], [figures["median_ratio"]], "_", ms=40, mew=2, color=_MEASURED)
    limit = result["expected"]
    axes.axhspan(1.0, limit, color=_EXPECTED, zorder=0)
    axes.axhline(limit, color="grey", lw=1, ls="--", label=f"expected: at most {limit}")
    axes.set(ylabel="time, in times of the bare loop", xlim=(-0.6, len(result["cases"]) - 0.4))
    axes.set_title("A trial with everything on, over a bare PyTorch loop")


ROWS = {"nielsen_mnist": _nielsen_rows, "overhead": _overhead_rows}
DRAWINGS = {"nielsen_mnist": _draw_nielsen, "overhead": _draw_overhead}


def draw(results: dict[str, Result], directory: Path = IMAGES) -> list[Path]:
    """Draws a figure for each result and returns the files."""
    mpl.rcParams["svg.hashsalt"] = "nnstudy"  # so that the same data give the same file
    paths = []
    for name in DRAWINGS:
        if name not in results:
            continue
        figure, axes = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
        DRAWINGS[name](axes, results[name])
        axes.margins(y=0.2)
        axes.legend(frameon=False, ncols=3, loc="upper right")
        axes.spines[["top", "right"]].set_visible(False)
        paths.append(directory / f"{name}.svg")
        figure.savefig(paths[-1], metadata={"Date": None})
        plt.close(figure)
    return paths


def with_results(readme: str, results: dict[str, Result]) -> str:
    """Returns the README with the table of these results, and the figures below it."""
    before, _, rest = readme.partition(f"{BEGIN}\n")
    _, _, after = rest.partition(END)
    pictures = [f"![{name}](docs/images/{name}.svg)" for name in DRAWINGS if name in results]
    written = "\n\n".join([table(results), *([" ".join(pictures)] if pictures else [])])
    return f"{before}{BEGIN}\n{written}\n{END}{after}"


def main() -> None:
    results = load()
    draw(results)
    README.write_text(with_results(README.read_text(), results))


if __name__ == "__main__":
    main()
