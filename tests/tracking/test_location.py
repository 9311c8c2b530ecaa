from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from nnstudy.errors import UserError
from nnstudy.secret_urls import mask
from nnstudy.tracking import Location


def test_default_is_a_sqlite_file_below_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    location = Location.resolve()
    assert location.sqlite_file == tmp_path / "mlruns" / "mlflow.db"
    assert location.artifacts == (tmp_path / "mlruns" / "artifacts").as_uri()


def test_environment_variable_is_respected_and_an_argument_beats_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking:5000/")
    assert Location.resolve().uri == "http://tracking:5000"
    assert Location.resolve("http://other:5000").uri == "http://other:5000"


def test_a_server_chooses_where_artifacts_go() -> None:
    location = Location.resolve("http://tracking:5000")
    assert location.is_server
    assert location.artifacts is None


def test_artifacts_may_be_a_uri() -> None:
    location = Location.resolve("sqlite:////data/mlflow.db", "s3://bucket/runs/")
    assert location.artifacts == "s3://bucket/runs"


def test_postgres_uri_gets_the_installed_driver() -> None:
    location = Location.resolve("postgres://user@host/runs")
    assert location.uri.startswith(("postgresql+psycopg://user@", "postgresql://user@"))


@pytest.mark.parametrize("uri", ["ftp://host/x", "./mlruns", "sqlite://", "sqlite:///:memory:"])
def test_unusable_uri_is_refused_with_the_cure(uri: str) -> None:
    with pytest.raises(UserError, match=r"give .*sqlite:///path/to/mlflow.db"):
        Location.resolve(uri)


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("postgresql://ann:s3cret@host:5432/runs", "postgresql://ann:***@host:5432/runs"),
        ("postgresql://ann:s/3@cr?et@host/runs", "postgresql://ann:***@host/runs"),
        (
            "postgresql://host/runs?user=ann&password=s3",
            "postgresql://host/runs?user=ann&password=***",
        ),
        ("http://ann:s3cret@host:5000", "http://ann:***@host:5000"),
        ("postgresql://ann@host/runs", "postgresql://ann@host/runs"),
        ("sqlite:////data/mlflow.db", "sqlite:////data/mlflow.db"),
    ],
)
def test_passwords_are_masked(uri: str, shown: str) -> None:
    assert mask(uri) == shown


@given(st.text(min_size=6).filter(lambda text: not set(text) & set("*\n")))
def test_no_password_survives_masking(password: str) -> None:
    assume(password not in "postgresql://ann:***@host/runs")
    assert password not in mask(f"postgresql://ann:{password}@host/runs")


def test_scrub_removes_the_password_from_what_other_libraries_say() -> None:
    location = Location.resolve("postgresql://ann:p%40ss-word@host/runs")
    text = location.scrub(f"cannot reach {location.uri}, password p@ss-word refused")
    assert "word refused" not in text
    assert "p%40ss" not in text
    assert "***" in text
