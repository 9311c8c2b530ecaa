"""Reports that are kept in the user's cache."""

from __future__ import annotations

import os
import stat
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nnstudy.preflight import Report, Result
from nnstudy.preflight.kept import KEPT_SECONDS, keep, key_of, recall
from nnstudy.study.building import Conditions

CONDITIONS = Conditions(epochs=5, metric="accuracy/valid", direction="maximize", device="cpu")
PASSED = Result("one", "code", "passed", "well", figures={"n": 1}, params={"lr": 0.1})
REPORT = Report("mine", ({"lr": 0.1},), (PASSED,), "2026-01-02T03:04:05+00:00", 1.5)


def test_what_was_kept_is_recalled(tmp_path: Path) -> None:
    keep("abc", REPORT, tmp_path / "kept")
    assert recall("abc", tmp_path / "kept") == REPORT
    assert recall("abd", tmp_path / "kept") is None


def test_it_is_the_owners_alone_and_in_her_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    keep("abc", REPORT)
    file = tmp_path / "nnstudy" / "preflight" / "abc.json"
    assert recall("abc") == REPORT
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"version": 99}', b"\xff\xfe"])
def test_a_damaged_file_is_none(tmp_path: Path, content: bytes) -> None:
    keep("abc", REPORT, tmp_path)
    (tmp_path / "abc.json").write_bytes(content)
    assert recall("abc", tmp_path) is None
    keep("abc", REPORT, tmp_path)
    assert recall("abc", tmp_path) == REPORT


def test_a_report_that_does_not_pass_is_not_recalled(tmp_path: Path) -> None:
    keep("abc", replace(REPORT, results=(replace(PASSED, outcome="failed"),)), tmp_path)
    assert recall("abc", tmp_path) is None


def test_old_reports_go_when_the_next_is_kept(tmp_path: Path) -> None:
    keep("old", REPORT, tmp_path)
    keep("new", REPORT, tmp_path)
    long_ago = time.time() - KEPT_SECONDS - 60
    os.utime(tmp_path / "old.json", (long_ago, long_ago))
    keep("newer", REPORT, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new.json", "newer.json"]


def test_where_it_cannot_be_kept_that_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    keep("abc", REPORT, tmp_path / "file")
    assert "could not be kept" in caplog.text
    assert recall("abc", tmp_path / "file") is None


@pytest.mark.parametrize(
    "changed",
    [
        {"sources": "other"},
        {"data": "other"},
        {"version": "0.2"},
        {"conditions": replace(CONDITIONS, epochs=6)},
        {"conditions": replace(CONDITIONS, device="cuda")},
    ],
)
def test_the_key_changes_with_whatever_a_check_may_depend_on(changed: dict[str, Any]) -> None:
    usual: dict[str, Any] = {
        "sources": "s",
        "data": "d",
        "conditions": CONDITIONS,
        "version": "0.1",
    }
    assert key_of(**usual) == key_of(**usual)
    assert key_of(**usual) != key_of(**usual | changed)


def test_the_key_changes_with_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    before = key_of("s", "d", CONDITIONS, "0.1")
    monkeypatch.setattr("torch.__version__", "9.9")
    assert key_of("s", "d", CONDITIONS, "0.1") != before
