"""More workers finish more trials, in proportion."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

from tests.faults.harness import report

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.mark.alone
def test_trials_per_second_grow_with_the_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    throughput = import_module("throughput")

    rates = {n: throughput.measure(n, tmp_path / str(n)) for n in throughput.WORKERS}

    shares = {n: rate / (n * rates[1]) for n, rate in rates.items()}
    report(f"share of linear: {shares}")
    assert min(shares.values()) >= throughput.EXPECTED
