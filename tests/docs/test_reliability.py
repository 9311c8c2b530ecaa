"""The account of what is promised names tests that exist, and every test of a fault."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.docs.markdown import ROOT, section

PAGE = ROOT / "docs" / "reliability.md"
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE.read_text())
PROMISES = section(PAGE, "## What is promised").split("\n### ")[1:]


@pytest.mark.parametrize(("file", "name"), sorted(set(NAMED)))
def test_named_test_exists(file: str, name: str) -> None:
    assert name in named_in(ROOT / file)


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.partition("\n")[0])
def test_promise_names_a_test(promise: str) -> None:
    assert re.search(r"^- `tests/", promise, re.MULTILINE)


def test_every_test_of_a_fault_is_named() -> None:
    files = (ROOT / "tests" / "faults").glob("test_*.py")
    there_are = {(str(f.relative_to(ROOT)), name) for f in files for name in named_in(f)}
    assert there_are
    assert there_are <= set(NAMED)


def named_in(file: Path) -> set[str]:
    return {
        node.name
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }
