from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnstudy.errors import UserError
from nnstudy.study.names import validate_name


@pytest.mark.parametrize("name", ["digits", "a", "9", "my-study_2.1", "_x", "a" * 100])
def test_name_of_letters_digits_and_marks_is_accepted(name: str) -> None:
    assert validate_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".hidden",
        "-option",
        "../x",
        "a/b",
        "a\\b",
        "/etc/passwd",
        "a b",
        "é",
        "a\n",
        "x.py",
        "a:b",
    ],
)
def test_name_that_could_leave_its_folder_or_be_misread_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=r"name|study"):
        validate_name(name)


def test_too_long_name_is_refused_with_its_length() -> None:
    with pytest.raises(UserError, match=r"stage name .* has 101 characters: 100 are the most"):
        validate_name("a" * 101, "stage")


@given(st.text(max_size=120))
def test_accepted_name_is_one_harmless_path_component(name: str) -> None:
    try:
        validate_name(name)
    except UserError:
        return
    assert name.isascii()
    assert len(name) <= 100
    assert not set(name) & set("/\\: \0\n")
    assert name not in (".", "..")
    assert name[0] not in ".-"
