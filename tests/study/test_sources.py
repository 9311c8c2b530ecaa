from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from nnstudy.errors import UserError
from nnstudy.study import sources
from nnstudy.study.loading import load_study
from nnstudy.study.sources import Sources, collect_sources

from .conftest import MINIMAL, Write
from .test_discovery import install_package


@pytest.fixture
def project(write: Write) -> Path:
    """A study that imports in every way, and files that it does not import."""
    late = MINIMAL.replace("raise NotImplementedError", "from lazily import imported")
    top = "import importlib, torch\nimport lib.layers\nfrom beside import value\n"
    path = write("studies/mine.py", top + "importlib.import_module('by_name')\n" + late)
    write("studies/beside.py", "from lib import blocks as value\n")
    write("studies/by_name.py", "")
    write("studies/other_study.py", MINIMAL)
    write("studies/.env", "SECRET=1")
    write("lib/__init__.py", "from .losses import hinge\n")
    write("lib/layers.py", "from . import blocks\n")
    write("lib/blocks.py", "")
    write("lib/losses.py", "hinge = 1\n")
    write("lib/unused.py", "")
    write("lazily/imported.py", "SECRET = open('studies/.env').read()\n")
    write("venv/pyvenv.cfg", "")
    write("venv/somelib.py", "")
    return path


def test_the_file_and_all_it_imports_are_collected_and_nothing_else(project: Path) -> None:
    collected = collect_sources(load_study("mine"))
    assert collected.main == "mine.py"
    assert list(collected.files) == [
        "beside.py",
        "by_name.py",
        "lazily/imported.py",
        "lib/__init__.py",
        "lib/blocks.py",
        "lib/layers.py",
        "lib/losses.py",
        "mine.py",
    ]
    assert collected.files["mine.py"] == project.read_text()


def test_library_in_a_virtual_environment_of_the_project_is_left_out(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path("venv").absolute()))
    project.write_text("import somelib\n" + MINIMAL)
    assert list(collect_sources(load_study("mine")).files) == ["mine.py"]


def test_hash_is_the_same_wherever_the_study_is_launched(project: Path) -> None:
    first = collect_sources(load_study("mine"))
    again = collect_sources(load_study("mine"))
    shutil.copytree(Path.cwd(), Path("copy"), ignore=shutil.ignore_patterns("copy"))
    copied = collect_sources(load_study("mine", directory=Path("copy").absolute()))
    assert first.hash == again.hash == copied.hash


def test_differences_name_the_files(project: Path) -> None:
    before = collect_sources(load_study("mine")).per_file
    Path("lib/blocks.py").write_text("size = 3\n")
    Path("lib/losses.py").write_text("from .fresh import hinge\n")
    Path("lib/fresh.py").write_text("hinge = 2\n")
    Path("studies/beside.py").unlink()
    text = project.read_text().replace("from beside import value\n", "")
    project.write_text(text)
    after = collect_sources(load_study("mine"))
    assert after.differences(before) == [
        "beside.py removed",
        "lib/blocks.py changed",
        "lib/fresh.py added",
        "lib/losses.py changed",
        "mine.py changed",
    ]
    assert after.differences(after.per_file) == []


def test_written_sources_load_on_their_own(project: Path, tmp_path: Path) -> None:
    collected = collect_sources(load_study("mine"))
    kept = collected.write_to(tmp_path / "kept")
    for folder in ("studies", "lib", "lazily"):
        shutil.rmtree(folder)
    loaded = load_study(str(kept), directory=kept.parent)
    assert loaded.study.name == "mine"
    assert collect_sources(loaded).hash == collected.hash


def test_text_in_another_encoding_survives(write: Write, tmp_path: Path) -> None:
    path = write("mine.py", MINIMAL)
    path.write_bytes(b"# coding: latin-1\nname = 'caf\xe9'\n" + MINIMAL.encode())
    collected = collect_sources(load_study("mine.py"))
    assert "café" in collected.files["mine.py"]
    assert collected.write_to(tmp_path / "kept").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("name", ["../out.py", "/out.py", "a/../../out.py"])
def test_tampered_sources_write_nothing(tmp_path: Path, name: str) -> None:
    kept = tmp_path / "kept"
    with pytest.raises(UserError, match="leads out of"):
        Sources("a.py", {"a.py": "", name: ""}).write_to(kept)
    assert not kept.exists()


def test_too_large_sources_are_refused_with_the_largest_named(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("mine.py", "import table\n" + MINIMAL)
    write("table.py", f"rows = {'0' * 3000!r}\n")
    monkeypatch.setattr(sources, "MAX_BYTES", 2000)
    loaded = load_study("mine.py")
    with pytest.raises(UserError, match=r"largest: table\.py \(0\.0 MB\), mine\.py"):
        collect_sources(loaded)


def test_broken_module_that_is_only_imported_when_needed_is_kept(write: Write) -> None:
    write("mine.py", MINIMAL.replace("raise NotImplementedError", "import broken"))
    write("broken.py", "def (\n")
    assert list(collect_sources(load_study("mine.py")).files) == ["broken.py", "mine.py"]


def test_package_study_keeps_the_imported_files_of_its_package(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_package(write, "from . import parts\n", MINIMAL)
    write("site/theirpkg/parts.py", "")
    write("site/theirpkg/unused.py", "")
    monkeypatch.syspath_prepend(str(Path("site").absolute()))
    collected = collect_sources(load_study("theirs"))
    assert collected.main == "theirpkg/deep/study.py"
    assert list(collected.files) == [
        "theirpkg/__init__.py",
        "theirpkg/deep/__init__.py",
        "theirpkg/deep/study.py",
        "theirpkg/parts.py",
    ]


def test_shipped_study_is_kept_without_the_library(tmp_path: Path) -> None:
    assert list(collect_sources(load_study("digits", directory=tmp_path)).files) == ["digits.py"]
