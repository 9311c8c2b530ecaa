from __future__ import annotations

import sys
from pathlib import Path

import pytest

from nnstudy.errors import UserError
from nnstudy.study import discovery
from nnstudy.study.discovery import available_studies, find_study, shipped_directory

from .conftest import MINIMAL, Write


def test_working_directorys_study_hides_the_shipped_one_of_that_name(write: Write) -> None:
    path = write("studies/digits.py", '"""Mine.\n\nMore."""\n' + MINIMAL)
    info = find_study("digits", Path())
    assert (info.origin, info.summary) == ("studies", "Mine.")
    assert info.path is not None
    assert info.path.resolve() == path
    assert [i.origin for i in available_studies(Path()) if i.name == "digits"] == ["studies"]


def test_summaries_are_read_without_executing(write: Write) -> None:
    write("studies/danger.py", '"""Does harm."""\nfrom nnstudy import Study\nraise SystemExit(1)\n')
    found = {info.name: info for info in available_studies(Path())}
    assert found["danger"].summary == "Does harm."


def test_helper_modules_beside_studies_are_not_listed(write: Write) -> None:
    write("studies/layers.py", "import torch\n")
    write("studies/_private.py", MINIMAL)
    names = [info.name for info in available_studies(Path())]
    assert "layers" not in names
    assert "_private" not in names


def test_file_with_a_syntax_error_is_listed_as_unreadable(write: Write) -> None:
    write("studies/broken.py", "def Study(:\n")
    found = {info.name: info for info in available_studies(Path())}
    assert found["broken"].summary.startswith("cannot be read: invalid syntax")


def test_every_shipped_study_has_a_summary() -> None:
    shipped = [info for info in available_studies(Path("nowhere")) if info.origin == "shipped"]
    assert {"digits", "nielsen_mnist", "mnist_cnn", "diabetes"} <= {info.name for info in shipped}
    assert all(info.summary.endswith((".", "?")) for info in shipped)


def test_unknown_name_suggests_and_lists_what_exists_and_where(write: Write) -> None:
    write("studies/mine.py", MINIMAL)
    with pytest.raises(UserError) as caught:
        find_study("digit", Path())
    message = str(caught.value)
    assert "No study is called 'digit'. Did you mean digits" in message
    assert f"{Path('studies').absolute()}: mine\n" in message
    assert f"{shipped_directory()}: " in message
    assert "entry points 'nnstudy.studies' of installed packages: no study" in message
    assert message.endswith("make one: nnstudy new digit")


def test_unknown_name_points_to_the_file_of_that_name(write: Write) -> None:
    write("mine.py", MINIMAL)
    with pytest.raises(UserError, match=r"give its path, mine\.py"):
        find_study("mine", Path())


@pytest.mark.parametrize("name", ["../mine", "/etc/passwd", "a/b", "..", "", "x\x00"])
def test_name_that_leads_elsewhere_is_refused(write: Write, name: str) -> None:
    write("mine.py", MINIMAL)
    with pytest.raises(UserError, match=r"path, ending in '\.py'"):
        find_study(name, Path("studies"))


def test_shipped_studies_lie_in_the_package_when_installed_from_a_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / "site-packages" / "nnstudy" / "study" / "discovery.py"
    (tmp_path / "site-packages" / "studies").mkdir(parents=True)
    monkeypatch.setattr(discovery, "__file__", str(installed))
    assert shipped_directory() == installed.parents[1] / "studies"


def test_package_is_found_by_entry_point_without_importing_it(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_package(write, "raise SystemExit('imported')\n", '"""Theirs."""\n')
    monkeypatch.syspath_prepend(str(Path("site").absolute()))
    found = {info.name: info for info in available_studies(Path())}["theirs"]
    assert (found.origin, found.summary) == ("package their-studies", "Theirs.")
    assert "theirpkg" not in sys.modules


def test_announced_module_that_does_not_exist_is_listed_as_missing(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("site/gone-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: gone\nVersion: 1\n")
    write("site/gone-1.dist-info/entry_points.txt", "[nnstudy.studies]\ngone = nowhere.at_all\n")
    monkeypatch.syspath_prepend(str(Path("site").absolute()))
    found = {info.name: info for info in available_studies(Path())}["gone"]
    assert found.summary == "module nowhere.at_all not found"


def install_package(
    write: Write, init: str, study: str, value: str = "theirpkg.deep.study"
) -> None:
    """Lays a package with an entry point out as pip would, in the folder ``site``."""
    write("site/theirpkg/__init__.py", init)
    write("site/theirpkg/deep/__init__.py", "")
    write("site/theirpkg/deep/study.py", study)
    info = "site/their_studies-1.dist-info"
    write(f"{info}/METADATA", "Metadata-Version: 2.1\nName: their-studies\nVersion: 1\n")
    write(f"{info}/entry_points.txt", f"[nnstudy.studies]\ntheirs = {value}\n")
