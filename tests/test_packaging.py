"""What an installed package has."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a wheel, as pip lays them out."""
    directory = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(directory)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = directory.glob("*.whl")
    target = directory / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    return target


@pytest.mark.slow
def test_shipped_studies_are_found_when_installed_from_a_wheel(
    installed: Path, tmp_path: Path
) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "nnstudy", "list"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed)},
        check=True,
        capture_output=True,
        text=True,
    )

    names = {path.stem for path in (ROOT / "studies").glob("*.py")}
    assert {line.split()[0] for line in run.stdout.splitlines() if " shipped " in line} == names


@pytest.mark.slow
def test_a_wheel_has_type_information_and_no_tests(installed: Path) -> None:
    assert (installed / "nnstudy" / "py.typed").exists()
    assert (installed / "nnstudy" / "study" / "template.py.txt").exists()
    assert not (installed / "tests").exists()


def test_layers_are_entered_from_above_only() -> None:
    run = subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports")],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )

    assert run.returncode == 0, run.stdout
