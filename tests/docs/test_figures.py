"""Numbers and figures of the pages are those of the recorded results."""

from __future__ import annotations

import importlib.util
import math
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.docs.markdown import ROOT


@pytest.fixture(scope="module")
def figures() -> ModuleType:
    spec = importlib.util.spec_from_file_location("figures", ROOT / "docs" / "figures.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["figures"] = module
    spec.loader.exec_module(module)
    return module


def test_pages_show_the_recorded_results(figures: ModuleType) -> None:
    for page, places in figures.PAGES.items():
        text = page.read_text()
        assert text.count(figures.BEGIN) == len(places), page
        assert text.count(figures.END) == len(places), page
        assert text == figures.with_results(page, text, figures.load()), (
            "run: python docs/figures.py"
        )


def test_the_page_on_the_method_shows_the_rules_of_verdicts(figures: ModuleType) -> None:
    text = figures.METHOD.read_text()
    assert figures.BEGIN_RULES in text
    assert text == figures.with_rules(text), "run: python docs/figures.py"


def test_the_page_on_the_method_shows_every_way_to_make_an_ensemble(figures: ModuleType) -> None:
    text = figures.METHOD.read_text()
    assert text == figures.with_ways(text, figures.load()), "run: python docs/figures.py"


def test_ensembles_are_told_beside_single_networks(figures: ModuleType) -> None:
    (row,) = figures.table({"ensembles_mnist": ensembles()}).splitlines()[2:3]
    assert (
        "perceptrons, 2 seeds: accuracy on the test images | **98.90%** (98.80% to 99.00%)" in row
    )
    assert "single best 98.70%, mean member 98.60%; likelihood better than the single best's" in row
    assert row.endswith("for 2 | 98.7% |")
    ways = figures.ways_table(ensembles()).splitlines()
    assert ways[0] == "|  | perceptrons: 20 trials of 25 epochs, 2 seeds |"
    assert "| single best | 98.70%, 0.0500 |" in ways
    assert "| greedy | 98.90% (98.80% to 99.00%), 0.0400 |" in ways
    assert "Not measured" in figures.with_ways(f"{figures.BEGIN_WAYS}\n{figures.END_WAYS}", {})


def test_figures_of_recorded_results_are_drawn(figures: ModuleType) -> None:
    for name in figures.load().keys() & figures.DRAWINGS.keys():
        assert (figures.IMAGES / f"{name}.svg").exists(), "run: python docs/figures.py"


def test_every_result_has_its_place(figures: ModuleType) -> None:
    told = {name for places in figures.PAGES.values() for names in places for name in names}
    assert figures.load().keys() <= told <= figures.ROWS.keys()


def test_table_says_what_was_measured(figures: ModuleType) -> None:
    text = figures.table({"nielsen_mnist": nielsen(), "overhead": overhead()})
    assert "best of 20 trials" in text
    assert (
        "2 seeds | **98.05%** (95 % interval 97.41% to 98.69%; searches 98.00% to 98.10%)" in text
    )
    assert "| 98.0% ± 0.2 points |" in text
    assert "**1.06** (median of 2 pairs, 1.04 to 1.08) | at most 1.15 |" in text
    assert "a processor, 2 cores, Python 3.11.9, PyTorch 2.13.0, 2030-01-02" in text


def test_verdicts_are_told_with_intervals_and_beside_those_they_were_tuned_on(
    figures: ModuleType,
) -> None:
    text = figures.table({"verdicts": verdicts()})
    assert (
        "| *overfitting*, given 4 times where 5 of 20 trainings were so"
        " | **75%** (30% to 95%) of it right; **60%** (23% to 88%) of them found"
        " | as in tuning: 100% and 50% |"
    ) in text
    assert "| *plateau*, given 0 times where 0 of 3 trainings were so | none of it right;" in text
    assert "| none in tuning |" in text


def test_table_counts_false_alarms_apart_from_those_with_a_cause(figures: ModuleType) -> None:
    text = figures.table({"false_alarms": false_alarms()})
    assert "on 2 of the shipped studies, 10 seeds: 20 answers, 2 of them skipped" in text
    assert "| **1** (and 1 alarms about what a study does on purpose) | 0 |" in text


def test_samplers_are_told_pair_by_pair_and_whether_they_can_be_told_apart(
    figures: ModuleType,
) -> None:
    text = figures.table({"race": race()})
    assert (
        "| `tpe` against `random` on `digits`: 2 searches each of 3 trials of 4 epochs | ends better"
        " with probability **0.75** (0.20 to 0.97); not to be told apart | none beforehand |"
    ) in text
    assert "**1.00** (0.64 to 1.00); to be told apart |" in text


def test_borders_are_told_with_false_alarms_beside_those_seen(figures: ModuleType) -> None:
    text = figures.table({"borders": borders()})
    assert (
        "| False alarms, `tpe`, 20 trials: 150 ranges that are wide enough"
        " | **2.0%** (0.6% to 7.0%) where the parameter has an effect,"
        " **4.0%** (1.1% to 13.5%) where it has none | below 5% |"
    ) in text
    assert (
        "| Borders seen, `tpe`, 20 trials: 1,000 ranges that end before the best value"
        " | **60.0%** (57.0% to 63.0%) | many |"
    ) in text


def test_one_module_is_told_by_architecture_and_threads(figures: ModuleType) -> None:
    row = {"case": "digits, perceptron 32", "threads": 1, "speedup": 0.9, "low": 0.88, "high": 1}
    conditions = {key: overhead()[key] for key in ("command", "date", "versions", "machine")}
    text = figures.table({"one_module": {**conditions, "members": 8, "rows": [row]}})
    assert (
        "| One example to 8 networks of one architecture, in turn over batched: digits, perceptron"
        " 32, 1 thread | **0.90** (0.88 to 1.00) | above 1 where batching is worth it |"
    ) in text


def test_a_page_without_results_says_so(figures: ModuleType) -> None:
    text = f"# x\n{figures.BEGIN}\nold\n{figures.END}\nrest\n"
    assert figures.with_results(ROOT / "README.md", text, {}) == (
        f"# x\n{figures.BEGIN}\n{figures.NOTHING}\n{figures.END}\nrest\n"
    )


def test_a_page_links_its_own_figures_from_where_it_is(figures: ModuleType) -> None:
    text = f"{figures.BEGIN}\n{figures.END}\n"
    results = {"overhead": overhead(), "throughput": throughput()}
    readme = figures.with_results(ROOT / "README.md", text, results)
    reliability = figures.with_results(ROOT / "docs" / "reliability.md", text, results)
    assert "](docs/images/overhead.svg)" in readme
    assert "throughput" not in readme
    assert "](images/throughput.svg)" in reliability
    assert "| **3.80** times those of one | at least 3.6 |" in reliability


def test_ratios_of_monitors_are_told_beside_those_of_a_whole_trial(figures: ModuleType) -> None:
    text = figures.table({"overhead": overhead(), "monitors": monitors()})
    assert "| Time of a trial with everything on, over a bare PyTorch loop: MNIST," in text
    assert (
        "| Processor's time of a training with its monitors, over one without: MNIST, small"
        " convolutional network, minibatch 128 | **1.03** (median of 2 pairs, 1.02 to 1.04)"
        " | at most 1.05 |"
    ) in text


def test_same_results_give_the_same_figures(figures: ModuleType, tmp_path: Path) -> None:
    results = {
        "nielsen_mnist": nielsen(),
        "overhead": overhead(),
        "monitors": monitors(),
        "throughput": throughput(),
        "race": race(),
        "reproductions": reproductions(),
    }
    first = [path.read_bytes() for path in figures.draw(results, tmp_path)]
    second = [path.read_bytes() for path in figures.draw(results, tmp_path)]
    assert len(first) == 6
    assert first == second


def test_errors_on_equal_configurations_are_told_by_the_worst_case_of_each_noise(
    figures: ModuleType,
) -> None:
    text = figures.table({"confirm": confirm()})
    assert (
        "| Equal configurations, noise normal: share of 2,000 runs in which one is called best, in"
        " the worst of 2 cases (2 configurations, 3 seeds) | **4.0%** (3.2% to 5.0%) | at most 5% |"
    ) in text
    assert (
        "noise uniform: share of 2,000 runs in which one is called best, in the worst of 1 " in text
    )


def test_a_page_may_tell_of_results_in_several_places(
    figures: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(figures.PAGES, figures.METHOD, [("confirm",), ("verdicts",)])
    text = f"a\n{figures.BEGIN}\n{figures.END}\nb\n{figures.BEGIN}\n{figures.END}\nc"
    written = figures.with_results(
        figures.METHOD, text, {"confirm": confirm(), "verdicts": verdicts()}
    )
    first, second = written.split("\nb\n")
    assert "images/confirm.svg" in first
    assert "images/verdicts.svg" in second
    assert second.endswith(f"{figures.END}\nc")


def test_reproductions_are_told_with_their_verdicts_and_arms(figures: ModuleType) -> None:
    text = figures.table({"reproductions": reproductions()})
    study = "[`minibatches_mnist`](../studies/minibatches_mnist.py)"
    assert (
        f"| {study}: each doubling | agrees: -1.20 points (-1.50 to -0.90) | falls (a text) |"
    ) in text
    assert f"| {study}: noise | **disagrees**: 2.00 times (1.00 to 4.00) | less (a text) |" in text
    assert f"| {study}: chance | cannot tell: 10.00% (9.00% to 11.00%) | noise (a text) |" in text
    assert (
        f"| {study}, 5,000 images, 2 epochs: right answers, and their standard deviation over 2"
        " seeds | 8: 95.00% ± 1.41; 32: 10.00% ± 0.00 (rate 0.1, 1 diverged) | as above |"
    ) in text


def about() -> dict[str, Any]:
    return {
        "command": "python benchmarks/x.py",
        "date": "2030-01-02",
        "versions": {"python": "3.11.9", "torch": "2.13.0"},
        "machine": {"processor": "a processor", "cores": 2},
    }


def nielsen() -> dict[str, Any]:
    searches = [
        {"seed": seed, "best": best, "first_trial": best - 0.002, "trials": 20}
        for seed, best in enumerate([0.98, 0.981])
    ]
    return {
        **about(),
        "expected": 0.98,
        "tolerance": 0.002,
        "searches": searches,
        "mean": 0.9805,
        "interval_95": [0.97415, 0.98685],
    }


def ensembles() -> dict[str, Any]:
    def found(accuracy: float, nll: float, ends: list[float] | None = None) -> dict[str, Any]:
        return {
            "accuracy": {"mean": accuracy, "interval_95": ends},
            "nll": {"mean": nll, "interval_95": None},
        }

    summary = {
        "target": 0.987,
        "single best": found(0.987, 0.05),
        "mean member": found(0.986, 0.055),
        "ways": {"greedy": {**found(0.989, 0.04, [0.988, 0.99]), "better_nll": 2}},
    }
    entry = {"trials": 20, "epochs": 25, "workers": 2, "seeds": [{}, {}], "summary": summary}
    return {**about(), "networks": {"mlp": entry}}


def reproductions() -> dict[str, Any]:
    def found(
        what: str, said: str, verdict: str, unit: str, figures: tuple[float, ...]
    ) -> dict[str, Any]:
        mean, *interval = figures
        about = {"comparison": "minibatches", "what": what, "said": said, "source": "a text"}
        return {**about, "verdict": verdict, "unit": unit, "mean": mean, "interval_90": interval}

    def arm(*scores: float) -> dict[str, Any]:
        return {"seeds": [{"accuracy": score} for score in scores]}

    diverged = {
        "point": {"lr": 0.1},
        "seeds": [{"accuracy": 0.1}, {"accuracy": 0.1, "diverged": 1}],
    }
    shape = {"study": "minibatches_mnist", "examples": 5000, "epochs": 2}
    return {
        **about(),
        "seeds": 2,
        "expectations": [
            found("each doubling", "falls", "agree", "points", (-0.012, -0.015, -0.009)),
            found("noise", "less", "disagree", "factor", (math.log(2), 0.0, math.log(4))),
            found("chance", "noise", "cannot tell", "share", (0.1, 0.09, 0.11)),
        ],
        "comparisons": {
            "minibatches": {**shape, "arms": {"8": arm(0.94, 0.96), "32": diverged}},
            "units": {**shape, "arms": {"10": arm(0.8, 0.9)}},
        },
    }


def race() -> dict[str, Any]:
    def contender(sampler: str, best: float) -> dict[str, Any]:
        band = {"x": [1, 2, 3], "mean": [0.5, 0.6, best], "low": [0.4] * 3, "high": [0.9] * 3}
        return {"sampler": sampler, "finals": [best, best - 0.1], "by_trials": band}

    def duel(first: str, probability: float, low: float, high: float) -> dict[str, Any]:
        interval = {"probability": probability, "low": low, "high": high, "decided": low > 0.5}
        return {"first": first, "second": "random", **interval}

    return {
        **about(),
        "metric": "accuracy/valid",
        "seeds": 2,
        "trials": 3,
        "epochs": 4.0,
        "contenders": [contender("random", 0.7), contender("tpe", 0.8), contender("gp", 0.9)],
        "duels": [duel("tpe", 0.75, 0.2, 0.97), duel("gp", 1.0, 0.64, 1.0)],
    }


def monitors() -> dict[str, Any]:
    pairs = [{"watched": 1.02, "bare": 1.0}, {"watched": 1.04, "bare": 1.0}]
    case = {"pairs": pairs, "median_ratio": 1.03, "least_ratio": 1.02, "greatest_ratio": 1.04}
    return {**about(), "expected": 1.05, "cases": {"convnet": case}}


def overhead() -> dict[str, Any]:
    pairs = [
        {"nnstudy": 1.04, "bare": 1.0, "loss": 0.1},
        {"nnstudy": 1.08, "bare": 1.0, "loss": 0.1},
    ]
    case = {
        "pairs": pairs,
        "ratio": 1.06,
        "median_ratio": 1.06,
        "least_ratio": 1.04,
        "greatest_ratio": 1.08,
    }
    return {**about(), "expected": 1.15, "processes": 1, "cases": {"perceptron": case}}


def throughput() -> dict[str, Any]:
    ratios = {"1": 1.0, "4": 3.8}
    return {**about(), "expected": 0.9, "trial_seconds": 3.0, "ratio_to_one_worker": ratios}


def verdicts() -> dict[str, Any]:
    def share(value: float, low: float, high: float) -> dict[str, Any]:
        return {"value": value, "interval_95": [low, high]}

    counts = {"given_rightly": 3, "given_wrongly": 1, "missed": 2, "rightly_not_given": 14}
    none = dict.fromkeys(counts, 0) | {"rightly_not_given": 3, "precision": None, "recall": None}
    held_out = {
        **counts,
        "precision": share(0.75, 0.30, 0.95),
        "recall": share(0.6, 0.23, 0.88),
    }
    tuning = {**counts, "precision": share(1, 0.8, 1), "recall": share(0.5, 0.1, 0.9)}
    return {
        **about(),
        "parts": {
            "tuning": {"overfitting": tuning},
            "held out": {"overfitting": held_out, "plateau": none},
        },
    }


def confirm() -> dict[str, Any]:
    def share(value: float, low: float, high: float) -> dict[str, Any]:
        return {"value": value, "interval_95": [low, high]}

    return {
        **about(),
        "expected": 0.05,
        "runs": 2000,
        "errors": [
            {"noise": "normal", "configurations": 2, "seeds": 3, **share(0.04, 0.0318, 0.0495)},
            {"noise": "normal", "configurations": 3, "seeds": 3, **share(0.01, 0.006, 0.015)},
            {"noise": "uniform", "configurations": 2, "seeds": 4, **share(0.03, 0.02, 0.04)},
        ],
        "power_configurations": 5,
        "power": {"5": [{"difference": 1.0, **share(0.5, 0.4, 0.6)}]},
    }


def borders() -> dict[str, Any]:
    def share(told: int, of: int, low: float, high: float) -> dict[str, Any]:
        return {"told": told, "of": of, "share": told / of, "interval_95": [low, high]}

    false = {
        "an effect": share(2, 100, 0.006, 0.07),
        "no effect": share(2, 50, 0.011, 0.135),
        "all": share(4, 150, 0.01, 0.066),
    }
    power = {"0.1": share(300, 500, 0.55, 0.64), "2": share(300, 500, 0.55, 0.64)}
    found = {"false": false, "power": {**power, "all": share(600, 1000, 0.57, 0.63)}}
    return {**about(), "expected": 0.05, "samplers": {"tpe": {"20": found}}}


def false_alarms() -> dict[str, Any]:
    alarm = {"seed": 3, "check": "dead layers", "outcome": "warned", "found": "x"}
    studies = {
        "a": {"outcomes": {"passed": 9, "warned": 1}, "alarms": [{**alarm, "cause": "compared"}]},
        "b": {
            "outcomes": {"passed": 7, "warned": 1, "skipped": 2},
            "alarms": [{**alarm, "cause": None}],
        },
    }
    return {**about(), "expected": 0, "seeds": 10, "studies": studies, "false": 1}
