"""Pre-flight finds nothing wrong with shipped studies: one seed, of one study of each kind.

The benchmark has more seeds, and the others.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STUDIES = (
    "cifar_resnet",
    "dead_start_mnist",
    "diabetes",
    "digits",
    "losses_digits",
    "mnist_cnn",
    "rows_mnist",
)


@pytest.mark.slow
@pytest.mark.parametrize("study", STUDIES)
def test_no_false_alarm_on_a_shipped_study(study: str, mnist: Path) -> None:
    benchmark = ROOT / "benchmarks" / "false_alarms.py"
    done = subprocess.run(
        [
            sys.executable,
            str(benchmark),
            "--study",
            str(ROOT / "studies" / f"{study}.py"),
            "--seeds",
            "1",
        ],
        env={**os.environ, "NNSTUDY_DATA_DIR": str(mnist), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["outcomes"]["passed"] >= 5
    assert [alarm for alarm in found["alarms"] if not alarm["cause"]] == []
