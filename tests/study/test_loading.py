from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path

import pytest

from nnstudy.errors import UserError
from nnstudy.study.loading import load_study
from nnstudy.study.locality import find_module_file

from .conftest import MINIMAL, Write
from .test_discovery import install_package


def refusal(reference: str) -> str:
    with pytest.raises(UserError) as caught:
        load_study(reference)
    return str(caught.value)


def test_study_is_loaded_by_name_and_by_path_alike(write: Write) -> None:
    path = write("studies/my-study.py", MINIMAL)
    for reference in ("my-study", "studies/my-study.py", str(path), "my-study:study"):
        loaded = load_study(reference)
        assert loaded.study.name == "mine"
        assert (loaded.path, loaded.object_name) == (path, "study")
        assert loaded.reference == f"{path}:study"


def test_reference_of_a_loaded_study_loads_it_from_anywhere(write: Write, tmp_path: Path) -> None:
    write("studies/mine.py", MINIMAL)
    loaded = load_study("mine")
    assert load_study(loaded.reference, directory=tmp_path / "elsewhere").study.name == "mine"


def test_shipped_study_is_loaded_by_name(tmp_path: Path) -> None:
    assert load_study("digits", directory=tmp_path).study.name == "digits"


def test_only_study_of_a_file_needs_no_name(write: Write) -> None:
    write("mine.py", MINIMAL.replace("study =", "anything ="))
    assert load_study("mine.py").object_name == "anything"


def test_several_studies_without_a_default_are_listed(write: Write) -> None:
    write("mine.py", MINIMAL.replace("study =", "one =") + "two = Study('two', recipe, data=1)\n")
    assert "has no variable 'study'. It holds: one, two. Choose with mine.py:one" in refusal(
        "mine.py"
    )
    assert load_study("mine.py:two").study.name == "two"


def test_missing_object_is_named_with_those_there_are(write: Write) -> None:
    write("mine.py", MINIMAL)
    assert "has no variable 'other'. It holds: study." in refusal("mine.py:other")


def test_object_that_is_no_study_is_named_with_its_type(write: Write) -> None:
    write("mine.py", "study = 3\n")
    assert "'study' in" in refusal("mine.py")
    assert "is no nnstudy.Study but a int. Nor does the file hold any" in refusal("mine.py")


@pytest.mark.parametrize("reference", ["mine.py:", "mine.py:a-b", "a:b:c", "digits:"])
def test_malformed_reference_is_refused(write: Write, reference: str) -> None:
    assert "expected NAME or path/to/study.py" in refusal(reference)


def test_missing_file_and_folder_are_told_apart(write: Write, tmp_path: Path) -> None:
    (tmp_path / "folder.py").mkdir()
    assert refusal("gone.py") == f"There is no study file gone.py (looked in {tmp_path})"
    assert refusal("folder.py") == "folder.py is a folder, not a study file"


def test_exception_in_a_file_is_shown_with_file_line_and_text(write: Write) -> None:
    path = write("mine.py", "import torch\n\nlayers = [units] * 2\n")
    assert refusal("mine.py") == (
        f"The study file {path} cannot be loaded: NameError: name 'units' is not defined\n"
        "  mine.py, line 3: layers = [units] * 2"
    )


def test_syntax_error_is_shown_with_file_line_and_text(write: Write) -> None:
    write("studies/mine.py", "x = 1\ndef recipe(trial, data:\n    pass\n")
    message = refusal("mine")
    assert "SyntaxError: '(' was never closed" in message
    assert message.endswith("  studies/mine.py, line 2: def recipe(trial, data:")


def test_only_the_users_own_frames_are_shown(write: Write) -> None:
    write("mine.py", "import layers\n")
    write("layers.py", "import json\n\nvalue = json.loads('{')\n")
    message = refusal("mine.py")
    assert message.splitlines()[1:] == [
        "  mine.py, line 1: import layers",
        "  layers.py, line 3: value = json.loads('{')",
    ]


def test_missing_module_is_explained(write: Write) -> None:
    write("mine.py", "import not_there_at_all\n")
    assert (
        "ModuleNotFoundError: No module named 'not_there_at_all' (neither installed nor beside"
        in refusal("mine.py")
    )


def test_file_that_exits_does_not_end_the_program(write: Write) -> None:
    write("mine.py", "import sys\nsys.exit('bye')\n")
    assert "SystemExit: bye" in refusal("mine.py")


def test_refused_argument_is_shown_with_its_line(write: Write) -> None:
    write("mine.py", "from nnstudy import Stage\nStage(trials=0)\n")
    assert refusal("mine.py").endswith(
        "trials must be at least 1, got 0\n  mine.py, line 2: Stage(trials=0)"
    )


def test_failed_file_leaves_no_half_made_module(write: Write) -> None:
    write("mine.py", "raise ValueError('no')\n")
    refusal("mine.py")
    assert not [name for name in sys.modules if name.startswith("nnstudy_study_mine_")]


def test_modules_beside_the_file_and_in_the_working_directory_are_imported(write: Write) -> None:
    write("studies/mine.py", "import beside, below.inside\n" + MINIMAL)
    write("studies/beside.py", "value = 1\n")
    write("below/inside.py", "value = 2\n")
    loaded = load_study("mine")
    assert loaded.imported >= {"beside", "below.inside", loaded.module}


def test_recipe_may_import_when_it_is_called(write: Write) -> None:
    write(
        "studies/mine.py",
        MINIMAL.replace("raise NotImplementedError", "import late; return late.x"),
    )
    write("studies/late.py", "x = 7\n")
    recipe = load_study("mine").study.recipe
    assert recipe(None, None) == 7  # type: ignore[arg-type, comparison-overlap]  # no real trial


def test_study_called_like_a_library_does_not_stand_in_for_it(write: Write) -> None:
    write("studies/colorsys.py", MINIMAL)
    write("studies/unheard_of.py", MINIMAL)
    load_study("colorsys")
    assert Path("studies/colorsys.py").exists()
    assert find_module_file("colorsys") == Path(os.__file__).resolve().with_name("colorsys.py")
    assert find_module_file("unheard_of") == Path("studies/unheard_of.py").resolve()


def test_two_studies_modules_of_one_name_stay_apart(write: Write) -> None:
    text = "import helper\n" + MINIMAL + "study.description = helper.text\n"
    for folder in ("one", "two"):
        write(f"{folder}/mine.py", text)
        write(f"{folder}/helper.py", f"text = {folder!r}\n")
    assert load_study("one/mine.py").study.description == "one"
    assert load_study("two/mine.py").study.description == "two"


def test_edited_module_is_read_again(write: Write) -> None:
    write("mine.py", "import helper\n" + MINIMAL + "study.description = helper.text\n")
    write("helper.py", "text = 'old'\n")
    assert load_study("mine.py").study.description == "old"
    write("helper.py", "text = 'newer'\n")
    assert load_study("mine.py").study.description == "newer"


def test_objects_of_a_study_file_can_be_pickled_by_reference(write: Write) -> None:
    write("mine.py", MINIMAL)
    recipe = load_study("mine.py").study.recipe
    assert pickle.loads(pickle.dumps(recipe)) is recipe


@pytest.mark.parametrize("value", ["theirpkg.deep.study", "theirpkg.deep.study:study"])
def test_study_of_another_package_is_loaded_by_its_entry_point(
    write: Write, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    install_package(write, "", "from . import parts\n" + MINIMAL, value)
    path = write("site/theirpkg/deep/parts.py", "")
    monkeypatch.syspath_prepend(str(Path("site").absolute()))
    loaded = load_study("theirs")
    assert loaded.study.name == "mine"
    assert loaded.path == path.with_name("study.py")
    assert loaded.reference == "theirs:study"
    assert loaded.imported >= {"theirpkg", "theirpkg.deep.study", "theirpkg.deep.parts"}


def test_package_whose_import_fails_is_named_with_the_line(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_package(write, "", "1 / 0\n")
    monkeypatch.syspath_prepend(str(Path("site").absolute()))
    message = refusal("theirs")
    assert "The study 'theirs' of package their-studies" in message
    assert message.endswith("theirpkg/deep/study.py, line 1: 1 / 0")
