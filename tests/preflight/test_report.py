"""What follows from what checks found."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnstudy.errors import UserError
from nnstudy.preflight import Report, Result
from nnstudy.preflight.report import judge
from nnstudy.preflight.result import Kind, Outcome

A, B, C = ({"lr": value} for value in (0.1, 0.01, 1.0))


def found(
    outcome: Outcome,
    kind: Kind = "code",
    params: dict[str, Any] | None = None,
    text: str = "",
    check: str = "one",
) -> Result:
    advice = "Mend it." if outcome in ("failed", "warned") else ""
    return Result(check, kind, outcome, text or outcome, advice, params=params or {})


def outcomes(*results: Result) -> list[Outcome]:
    return [result.outcome for result in judge(results)]


def test_a_failure_of_code_at_one_point_is_a_failure() -> None:
    (result,) = judge([found("passed", params=A), found("failed", params=B)])
    assert result.outcome == "failed"
    assert result.found == "failed (at 1 of 2 sampled points: lr=0.01)"
    assert result.advice == "Mend it."


def test_a_configuration_that_fails_at_some_points_is_a_warning_that_names_them() -> None:
    (result,) = judge(
        [
            found("failed", "configuration", A),
            found("passed", "configuration", B),
            found("failed", "configuration", C),
        ]
    )
    assert result.outcome == "warned"
    assert result.found.endswith("(at 2 of 3 sampled points: lr=0.1 | lr=1)")


def test_configurations_that_all_fail_are_a_failure() -> None:
    (result,) = judge([found("failed", "configuration", point) for point in (A, B, C)])
    assert (result.outcome, result.found) == ("failed", "failed")  # no point is worth naming


def test_a_point_that_was_skipped_does_not_save_the_others() -> None:
    skipped = found("skipped", "configuration", B)
    assert outcomes(found("failed", "configuration", A), skipped) == ["failed"]


def test_statistics_only_warn() -> None:
    assert outcomes(found("failed", "statistics")) == ["warned"]


def test_one_point_that_passes_says_more_than_those_that_were_skipped() -> None:
    assert outcomes(found("skipped", params=A), found("passed", params=B)) == ["passed"]


def test_all_that_a_check_says_of_a_point_is_told() -> None:
    (result,) = judge([found("warned", text="lr is linear"), found("warned", text="wd is linear")])
    assert result.found == "lr is linear; wd is linear"
    assert result.advice == "Mend it."


def test_results_of_two_names_stay_apart_and_in_order() -> None:
    results = judge(
        [
            found("passed", params=A, check="memory"),
            found("warned", params=A, check="building"),
            found("passed", params=B, check="memory"),
        ]
    )
    assert [(result.check, result.outcome) for result in results] == [
        ("memory", "passed"),
        ("building", "warned"),
    ]


def report(*results: Result) -> Report:
    return Report("mine", (A, B), results, "2026-01-02T03:04:05+00:00", 1.25)


@given(
    st.lists(
        st.builds(
            Result,
            check=st.text(max_size=5),
            kind=st.sampled_from(["code", "configuration", "statistics"]),
            outcome=st.sampled_from(["passed", "told", "warned", "failed", "skipped"]),
            found=st.text(),
            advice=st.text(),
            figures=st.dictionaries(st.text(), st.floats(allow_nan=False)),
            params=st.dictionaries(st.text(), st.integers()),
        )
    )
)
def test_a_report_survives_json(results: list[Result]) -> None:
    made = report(*results)
    assert Report.from_dict(json.loads(json.dumps(made.to_dict()))) == made


def test_a_report_of_another_version_is_not_read() -> None:
    with pytest.raises(UserError, match="version 99"):
        Report.from_dict(report().to_dict() | {"version": 99})


def test_a_report_passes_unless_something_failed() -> None:
    assert report(found("passed"), found("warned"), found("skipped")).passed
    failing = report(found("passed"), found("failed"))
    assert not failing.passed
    assert failing.counted() == "1 failed, 1 passed"


def test_the_markdown_has_a_row_for_each_result_and_the_advice() -> None:
    text = report(found("passed"), found("failed", text="a|b\nc")).to_markdown()
    assert "| passed | one | passed |" in text
    assert r"| failed | one | a\|b<br>c |" in text
    assert "- **one**: Mend it." in text
    assert "1. lr=0.1" in text
