"""Draws the figures of measured results, and writes their tables into the pages that tell of them.

    python docs/figures.py

Measurements are taken from benchmarks/results/*.json; what has not been measured is left out.
The table of verdicts is that of the rules themselves.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from nnstudy.diagnostics.verdicts import RULES

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
IMAGES = ROOT / "docs" / "images"

METHOD = ROOT / "docs" / "method.md"

# Which results a page tells of, in each of its places between the two comments below.
PAGES = {
    ROOT / "README.md": [
        ("nielsen_mnist", "overhead", "monitors", "false_alarms", "race", "ensembles_mnist")
    ],
    ROOT / "docs" / "reliability.md": [("throughput",)],
    METHOD: [("coarse_to_fine",), ("borders",), ("confirm",), ("verdicts",), ("one_module",)],
    ROOT / "docs" / "reproductions.md": [("reproductions",)],
}

BEGIN, END = "<!-- results: written by docs/figures.py -->", "<!-- end of results -->"
BEGIN_RULES, END_RULES = (
    "<!-- verdicts: written by docs/figures.py -->",
    "<!-- end of verdicts -->",
)
BEGIN_WAYS, END_WAYS = "<!-- ensembles: written by docs/figures.py -->", "<!-- end of ensembles -->"
NOTHING = "Not measured yet: see the folder `benchmarks`."

Result = dict[str, Any]

_MEASURED, _EXPECTED = "#2b6cb0", "#dfe8f2"
_SAMPLERS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")


def load(directory: Path = RESULTS) -> dict[str, Result]:
    """Returns the results there are, by the benchmark's name."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(directory.glob("*.json"))}


def table(results: dict[str, Result]) -> str:
    """Returns the results as Markdown."""
    rows = [row for name, result in results.items() for row in ROWS[name](result)]
    if not rows:
        return NOTHING
    conditions = [f"- `{result['command']}`: {_machine(result)}" for result in results.values()]
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


_NETWORKS = {"perceptron": "perceptron 784-100-10", "convnet": "small convolutional network"}


def _overhead_rows(result: Result) -> list[str]:
    return _ratio_rows(result, "Time of a trial with everything on, over a bare PyTorch loop")


def _monitors_rows(result: Result) -> list[str]:
    return _ratio_rows(result, "Processor's time of a training with its monitors, over one without")


def _ratio_rows(result: Result, what: str) -> list[str]:
    return [
        f"| {what}: MNIST, {_NETWORKS[case]}, minibatch 128 | **{figures['median_ratio']:.2f}**"
        f" (median of {len(figures['pairs'])} pairs,"
        f" {figures['least_ratio']:.2f} to {figures['greatest_ratio']:.2f})"
        f" | at most {result['expected']} |"
        for case, figures in result["cases"].items()
    ]


def _throughput_rows(result: Result) -> list[str]:
    return [
        f"| Trials a second of {n} workers, where a trial sleeps {result['trial_seconds']:g} s |"
        f" **{result['ratio_to_one_worker'][n]:.2f}** times those of one |"
        f" at least {result['expected'] * int(n):g} |"
        for n in result["ratio_to_one_worker"]
        if n != "1"
    ]


def _one_module_rows(result: Result) -> list[str]:
    return [
        f"| One example to {result['members']} networks of one architecture, in turn over batched:"
        f" {row['case']}, {_threads(row['threads'])} | **{row['speedup']:.2f}**"
        f" ({row['low']:.2f} to {row['high']:.2f}) | above 1 where batching is worth it |"
        for row in result["rows"]
    ]


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


def _false_alarms_rows(result: Result) -> list[str]:
    studies = result["studies"].values()
    asked = sum(sum(found["outcomes"].values()) for found in studies)
    skipped = sum(found["outcomes"].get("skipped", 0) for found in studies)
    caused = sum(alarm["cause"] is not None for found in studies for alarm in found["alarms"])
    return [
        f"| False alarms of pre-flight on {len(studies)} of the shipped studies, {result['seeds']}"
        f" seeds: {asked} answers, {skipped} of them skipped"
        f" | **{result['false']}** (and {caused} alarms about what a study does on purpose)"
        f" | {result['expected']} |"
    ]


def _confirm_rows(result: Result) -> list[str]:
    by_noise: dict[str, list[dict[str, Any]]] = {}
    for error in result["errors"]:
        by_noise.setdefault(error["noise"], []).append(error)
    rows = []
    for noise, errors in by_noise.items():
        worst = max(errors, key=lambda error: error["value"])
        low, high = worst["interval_95"]
        rows.append(
            f"| Equal configurations, noise {noise}: share of {result['runs']:,} runs in which one is"
            f" called best, in the worst of {len(errors)} cases ({worst['configurations']}"
            f" configurations, {worst['seeds']} seeds)"
            f" | **{worst['value']:.1%}** ({low:.1%} to {high:.1%})"
            f" | at most {result['expected']:.0%} |"
        )
    return rows


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
    _draw_ratios(axes, result, "nnstudy")
    axes.set(ylabel="time, in times of the bare loop")
    axes.set_title("A trial with everything on, over a bare PyTorch loop")


def _draw_monitors(axes: Axes, result: Result) -> None:
    _draw_ratios(axes, result, "watched")
    axes.set(ylabel="processor's time, in times of the bare one")
    axes.set_title("A training with its monitors, over one without")


def _draw_ratios(axes: Axes, result: Result, dearer: str) -> None:
    for case, figures in result["cases"].items():
        ratios = [pair[dearer] / pair["bare"] for pair in figures["pairs"]]
        axes.plot([case] * len(ratios), ratios, "o", mfc="none", color=_MEASURED)
        axes.plot([case], [figures["median_ratio"]], "_", ms=40, mew=2, color=_MEASURED)
    limit = result["expected"]
    axes.axhspan(1.0, limit, color=_EXPECTED, zorder=0)
    axes.axhline(limit, color="grey", lw=1, ls="--", label=f"expected: at most {limit}")
    axes.set(xlim=(-0.6, len(result["cases"]) - 0.4))


def _draw_throughput(axes: Axes, result: Result) -> None:
    workers = [int(n) for n in result["ratio_to_one_worker"]]
    expected = [result["expected"] * n for n in workers]
    axes.fill_between(workers, expected, workers, color=_EXPECTED)
    axes.plot(workers, expected, color="grey", lw=1, ls="--", label="expected: 0.9 of linear")
    ratios = list(result["ratio_to_one_worker"].values())
    axes.plot(workers, ratios, "o", mfc="none", color=_MEASURED)
    axes.set(xlabel="workers", ylabel="trials a second, in times of one worker")
    axes.set_title("Workers that share a study on SQLite, with trials that sleep")


def _borders_rows(result: Result) -> list[str]:
    rows = []
    for sampler, by_trials in result["samplers"].items():
        for trials, found in by_trials.items():
            effect, none = found["false"]["an effect"], found["false"]["no effect"]
            power = found["power"]["all"]
            rows += [
                f"| False alarms, `{sampler}`, {trials} trials: {found['false']['all']['of']:,}"
                f" ranges that are wide enough | {_told(effect)} where the parameter has an effect,"
                f" {_told(none)} where it has none | below {result['expected']:.0%} |",
                f"| Borders seen, `{sampler}`, {trials} trials: {power['of']:,} ranges that end"
                f" before the best value | {_told(power)} | many |",
            ]
    return rows


def _told(share: dict[str, Any]) -> str:
    low, high = share["interval_95"]
    return f"**{share['share']:.1%}** ({low:.1%} to {high:.1%})"


def _draw_borders(axes: Axes, result: Result) -> None:
    colours = iter(_SAMPLERS)
    for sampler, by_trials in result["samplers"].items():
        for trials, found in by_trials.items():
            beyond = [key for key in found["power"] if key != "all"]
            shares = [100 * found["power"][key]["share"] for key in beyond]
            style = {"marker": "o", "ms": 4, "color": next(colours)}
            axes.plot([float(key) for key in beyond], shares, label=f"{sampler}, {trials}", **style)
    axes.set(xscale="log", xlabel="where the best value lies, in lengths of the range beyond it")
    axes.set(ylabel="borders seen, %", ylim=(0, 140), yticks=range(0, 101, 20))
    axes.set_xticks([float(key) for key in beyond], beyond)
    axes.minorticks_off()
    axes.set_title("Ranges that end too early, by sampler and number of trials")


def _verdict_rows(result: Result) -> list[str]:
    tuning, held_out = result["parts"]["tuning"], result["parts"]["held out"]
    return [
        f"| *{name}*, given {row['given_rightly'] + row['given_wrongly']} times where"
        f" {row['given_rightly'] + row['missed']} of {_trainings(row)} trainings were so"
        f" | {_share(row['precision'])} of it right; {_share(row['recall'])} of them found"
        f" | {_as_tuned(tuning.get(name))} |"
        for name, row in held_out.items()
    ]


def _trainings(row: dict[str, Any]) -> int:
    keys = ("given_rightly", "given_wrongly", "missed", "rightly_not_given")
    return sum(row[key] for key in keys)


def _share(share: dict[str, Any] | None) -> str:
    if share is None:
        return "none"
    low, high = share["interval_95"]
    return f"**{share['value']:.0%}** ({low:.0%} to {high:.0%})"


def _as_tuned(row: dict[str, Any] | None) -> str:
    if row is None:
        return "none in tuning"
    right, found = (
        f"{row[key]['value']:.0%}" if row[key] else "none" for key in ("precision", "recall")
    )
    return f"as in tuning: {right} and {found}"


def _draw_verdicts(axes: Axes, result: Result) -> None:
    rows = result["parts"]["held out"]
    for key, label, offset, filling in (
        ("precision", "given rightly, of those given", -0.15, _MEASURED),
        ("recall", "given rightly, of those due", 0.15, "none"),
    ):
        shares = [(place, row[key]) for place, row in enumerate(rows.values()) if row[key]]
        for place, share in shares:
            low, high = share["interval_95"]
            axes.plot([100 * low, 100 * high], [place + offset] * 2, color=_MEASURED, lw=1)
        values = [100 * share["value"] for _, share in shares]
        places = [place + offset for place, _ in shares]
        axes.plot(values, places, "o", ms=4, mfc=filling, color=_MEASURED, label=label)
    axes.set_yticks(range(len(rows)), rows, fontsize=7)
    axes.invert_yaxis()
    axes.set(xlabel="%, with 95 % intervals", xlim=(-2, 102))
    axes.set_title("Verdicts on trainings they were not tuned on")


def _draw_confirm(axes: Axes, result: Result) -> None:
    shades = np.linspace(0.35, 1.0, len(result["power"]))
    for shade, (seeds, points) in zip(shades, result["power"].items(), strict=True):
        differences = [point["difference"] for point in points]
        low, high = ([point["interval_95"][end] for point in points] for end in (0, 1))
        axes.fill_between(differences, low, high, color=_MEASURED, alpha=0.15, lw=0)
        values = [point["value"] for point in points]
        axes.plot(differences, values, color=_MEASURED, alpha=shade, label=f"{seeds} seeds")
    axes.set(xlabel="difference, in standard deviations between seeds", ylabel="called best")
    axes.set(ylim=(-0.02, 1.4), yticks=np.linspace(0, 1, 6))
    axes.set_title(f"One of {result['power_configurations']} configurations is better")


def _coarse_rows(result: Result) -> list[str]:
    budget = (
        f"{result['seeds']} searches each of {result['budget']} epochs of"
        f" {result['examples']:,} images of MNIST"
    )
    rows = []
    for difference in result["differences"]:
        low, high = difference["interval_95"]
        rows.append(
            f"| *{difference['better']}* against *{difference['than']}*: {budget}"
            f" | test error lower by **{difference['difference']:.2f}** points ({low:.2f} to"
            f" {high:.2f}) | none beforehand |"
        )
    return rows


def _draw_coarse(axes: Axes, result: Result) -> None:
    arms = list(dict.fromkeys(search["arm"] for search in result["searches"]))
    for place, arm in enumerate(arms):
        errors = [100 * (1 - s["test"]) for s in result["searches"] if s["arm"] == arm]
        axes.plot(errors, [place] * len(errors), "o", color=_MEASURED, alpha=0.5, mew=0)
        label = "mean" if place == 0 else None
        axes.plot(np.mean(errors), place, "|", color=_MEASURED, ms=24, mew=2, label=label)
    axes.set(yticks=range(len(arms)), yticklabels=arms, xlabel="test error of the winner, %")
    axes.set_ylim(len(arms) - 0.3, -0.9)
    axes.set_title(f"MNIST, {result['budget']} epochs a search")


def _race_rows(result: Result) -> list[str]:
    return [
        f"| `{duel['first']}` against `{duel['second']}` on `digits`: {result['seeds']} searches"
        f" each of {result['trials']} trials of {result['epochs']:g} epochs"
        f" | ends better with probability **{duel['probability']:.2f}** ({duel['low']:.2f} to"
        f" {duel['high']:.2f}); {'' if duel['decided'] else 'not '}to be told apart"
        " | none beforehand |"
        for duel in result["duels"]
    ]


def _draw_race(axes: Axes, result: Result) -> None:
    for contender, colour in zip(result["contenders"], _SAMPLERS, strict=False):
        band = contender["by_trials"]
        curve = {"color": colour, "step": "post"}
        axes.fill_between(band["x"], band["low"], band["high"], alpha=0.15, lw=0, **curve)
        label = contender["sampler"]
        axes.step(band["x"], band["mean"], where="post", color=colour, label=label)
    ends = [value for contender in result["contenders"] for value in contender["finals"]]
    axes.set_ylim(2.5 * min(ends) - 1.5 * max(ends), 1.5 * max(ends) - 0.5 * min(ends))
    axes.set(xlabel="trials", ylabel=f"best {result['metric']} so far")
    axes.set_title(f"digits: mean of {result['seeds']} searches each, with 95 % bands")


_VERDICTS = {"agree": "agrees", "disagree": "**disagrees**", "cannot tell": "cannot tell"}


def _reproductions_rows(result: Result) -> list[str]:
    comparisons = result["comparisons"]
    judged = [
        f"| {_study(comparisons[found['comparison']])}: {found['what']}"
        f" | {_VERDICTS[found['verdict']]}: {_with_interval(found)}"
        f" | {found['said']} ({found['source']}) |"
        for found in result["expectations"]
    ]
    arms = [
        f"| {_study(comparison)}, {comparison['examples']:,} images{_epochs(comparison)}:"
        f" right answers, and their standard deviation over {result['seeds']} seeds"
        f" | {'; '.join(_arm(name, arm) for name, arm in comparison['arms'].items())}"
        " | as above |"
        for comparison in comparisons.values()
    ]
    return judged + arms


def _study(comparison: dict[str, Any]) -> str:
    return f"[`{comparison['study']}`](../studies/{comparison['study']}.py)"


def _epochs(comparison: dict[str, Any]) -> str:
    return f", {comparison['epochs']} epochs" if "epochs" in comparison else ""


def _with_interval(found: dict[str, Any]) -> str:
    mean, (low, high) = found["mean"], found["interval_90"]
    if found["unit"] == "share":
        return f"{mean:.2%} ({low:.2%} to {high:.2%})"
    if found["unit"] == "factor":
        mean, low, high = np.exp([mean, low, high])
        return f"{mean:.2f} times ({low:.2f} to {high:.2f})"
    return f"{100 * mean:+.2f} points ({100 * low:+.2f} to {100 * high:+.2f})"


def _arm(name: str, arm: dict[str, Any]) -> str:
    scores = [seed["accuracy"] for seed in arm["seeds"]]
    diverged = sum("diverged" in seed for seed in arm["seeds"])
    rates = [value for key, value in arm.get("point", {}).items() if key.startswith("lr")]
    notes = [f"rate {rate:.3g}" for rate in rates] + [f"{diverged} diverged"] * bool(diverged)
    told = f" ({', '.join(notes)})" if notes else ""
    return f"{name}: {np.mean(scores):.2%} ± {100 * np.std(scores, ddof=1):.2f}{told}"


def _draw_reproductions(axes: Axes, result: Result) -> None:
    for name, label, filling in (
        ("minibatches", "images in a minibatch", _MEASURED),
        ("units", "hidden units", "none"),
    ):
        arms = result["comparisons"][name]["arms"]
        errors = [[100 * (1 - seed["accuracy"]) for seed in arm["seeds"]] for arm in arms.values()]
        sizes = [int(size) for size in arms]
        axes.plot(sizes, [np.mean(seeds) for seeds in errors], color=_MEASURED, lw=1, alpha=0.5)
        for size, seeds in zip(sizes, errors, strict=True):
            axes.plot([size] * len(seeds), seeds, "o", ms=4, mfc=filling, color=_MEASURED)
        axes.plot([], [], "o-", ms=4, lw=1, mfc=filling, color=_MEASURED, label=label)
    axes.set(xscale="log", yscale="log", xlabel="size", ylabel="wrong answers, %")
    axes.set_title("5,000 images of MNIST, a dot for each seed")


_KINDS = {
    "mlp": "perceptrons",
    "conv": "convolutional networks",
    "conv-augmented": "convolutional networks, deformed images",
}


def _ensembles_rows(result: Result) -> list[str]:
    return [
        f"| Ensemble of one search on MNIST, {_KINDS[kind]}, {_seeds(network)}: accuracy on the"
        f" test images | **{default['accuracy']['mean']:.2%}**{_ends(default['accuracy'])};"
        f" single best {found['single best']['accuracy']['mean']:.2%}, mean member"
        f" {found['mean member']['accuracy']['mean']:.2%}; likelihood better than the single"
        f" best's for {default['better_nll']} | {found['target']:.1%} |"
        for kind, network in result["networks"].items()
        for found in [network["summary"]]
        for default in [found["ways"]["greedy"]]
    ]


def _seeds(network: dict[str, Any]) -> str:
    count = len(network["seeds"])
    return "1 seed" if count == 1 else f"{count} seeds"


def _ends(found: dict[str, Any]) -> str:
    if found["interval_95"] is None:
        return ""
    low, high = found["interval_95"]
    return f" ({low:.2%} to {high:.2%})"


def ways_table(result: Result) -> str:
    """Returns every way to make an ensemble, beside single networks, as Markdown."""
    networks = result["networks"]
    found = {
        kind: {name: one["summary"][name] for name in ("single best", "mean member")}
        | one["summary"]["ways"]
        for kind, one in networks.items()
    }
    names = dict.fromkeys(name for kind in found.values() for name in kind)
    cells = [[name, *(_way(found[kind].get(name)) for kind in networks)] for name in names]
    headings = [
        "",
        *(
            f"{_KINDS[kind]}: {one['trials']} trials of {one['epochs']} epochs, {_seeds(one)}"
            for kind, one in networks.items()
        ),
    ]
    rows = [f"| {' | '.join(row)} |" for row in [headings, ["---"] * len(headings), *cells]]
    conditions = f"`{result['command']}`: {_machine(result)}"
    return "\n".join([*rows, "", conditions])


def _way(found: dict[str, Any] | None) -> str:
    if found is None:
        return "not measured"
    accuracy = found["accuracy"]
    return f"{accuracy['mean']:.2%}{_ends(accuracy)}, {found['nll']['mean']:.4f}"


ROWS = {
    "borders": _borders_rows,
    "coarse_to_fine": _coarse_rows,
    "reproductions": _reproductions_rows,
    "confirm": _confirm_rows,
    "nielsen_mnist": _nielsen_rows,
    "overhead": _overhead_rows,
    "monitors": _monitors_rows,
    "one_module": _one_module_rows,
    "throughput": _throughput_rows,
    "verdicts": _verdict_rows,
    "false_alarms": _false_alarms_rows,
    "race": _race_rows,
    "ensembles_mnist": _ensembles_rows,
}
DRAWINGS = {
    "borders": _draw_borders,
    "coarse_to_fine": _draw_coarse,
    "reproductions": _draw_reproductions,
    "confirm": _draw_confirm,
    "nielsen_mnist": _draw_nielsen,
    "overhead": _draw_overhead,
    "monitors": _draw_monitors,
    "throughput": _draw_throughput,
    "verdicts": _draw_verdicts,
    "race": _draw_race,
}


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


def with_results(page: Path, text: str, results: dict[str, Result]) -> str:
    """Returns a page's text with the tables of its results, each with its figures below it."""
    done = ""
    for names in PAGES[page]:
        before, _, rest = text.partition(f"{BEGIN}\n")
        _, _, text = rest.partition(END)
        chosen = {name: results[name] for name in names if name in results}
        images = IMAGES.relative_to(page.parent)
        pictures = [f"![{name}]({images}/{name}.svg)" for name in chosen if name in DRAWINGS]
        written = "\n\n".join([table(chosen), *([" ".join(pictures)] if pictures else [])])
        done += f"{before}{BEGIN}\n{written}\n{END}"
    return done + text


def with_rules(text: str) -> str:
    """Returns the text of the page on the method with the table of the verdicts' rules."""
    before, _, rest = text.partition(f"{BEGIN_RULES}\n")
    _, _, after = rest.partition(END_RULES)
    rows = [
        f"| *{rule.name}* | {rule.when}"
        + (f". Not beside *{'*, *'.join(rule.unless)}*" if rule.unless else "")
        + f" | {rule.advice} | {rule.source} |"
        for rule in RULES
    ]
    lines = ["| Verdict | Given where | Advice | Source |", "| --- | --- | --- | --- |", *rows]
    return "\n".join([f"{before}{BEGIN_RULES}", *lines, f"{END_RULES}{after}"])


def with_ways(text: str, results: dict[str, Result]) -> str:
    """Returns the text of the page on the method with the table of ways to make ensembles."""
    before, _, rest = text.partition(f"{BEGIN_WAYS}\n")
    _, _, after = rest.partition(END_WAYS)
    found = results.get("ensembles_mnist")
    return f"{before}{BEGIN_WAYS}\n{ways_table(found) if found else NOTHING}\n{END_WAYS}{after}"


def main() -> None:
    results = load()
    draw(results)
    for page in PAGES:
        page.write_text(with_results(page, page.read_text(), results))
    METHOD.write_text(with_ways(with_rules(METHOD.read_text()), results))


if __name__ == "__main__":
    main()
