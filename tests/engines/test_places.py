"""What lies in the file system, for workers on other machines."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from nnstudy.engines.orders import Orders
from nnstudy.engines.places import make_directories, places, refuse_missing, warning_for
from nnstudy.errors import UserError
from nnstudy.search.settings import Settings

HERE = socket.gethostname()


def orders(directory: Path, **fields: Any) -> Orders:
    on_disk = {
        "storage": f"sqlite:///{directory / 'optuna.db'}",
        "tracking_uri": f"sqlite:///{directory / 'mlflow.db'}",
        "artifacts": (directory / "arti facts").as_uri(),
        "settings": Settings(checkpoints=directory / "checkpoints"),
    }
    return Orders(
        **{"reference": "toy", "name": "toy", "data_directory": None, **on_disk, **fields}
    )


SERVED = {
    "storage": "postgresql://ada:secret@db.example.org/optuna",
    "tracking_uri": "http://mlflow.example.org:5000",
    "artifacts": None,
    "settings": Settings(upload=True),
}


def test_files_and_directories_are_found_by_the_option_that_gives_them(tmp_path: Path) -> None:
    assert places(orders(tmp_path)) == {
        "--storage": tmp_path / "optuna.db",
        "--tracking-uri": tmp_path / "mlflow.db",
        "--artifacts": tmp_path / "arti facts",
        "--checkpoints": tmp_path / "checkpoints",
    }
    assert places(orders(tmp_path, **SERVED)) == {}
    assert places(orders(tmp_path, **{**SERVED, "artifacts": "s3://bucket/mlflow"})) == {}


def test_other_machines_are_warned_of_by_name_with_what_they_must_see(tmp_path: Path) -> None:
    assert warning_for({HERE}, orders(tmp_path)) is None
    assert warning_for({HERE, "other"}, orders(tmp_path, **SERVED)) is None
    warning = warning_for({HERE, "other", "another"}, orders(tmp_path))
    assert warning is not None
    assert "may run on another, other, which must see" in warning
    assert f"{tmp_path / 'optuna.db'}, or give a database server" in warning
    assert "secret" not in warning


def test_a_worker_that_does_not_see_them_says_which_and_what_to_do(tmp_path: Path) -> None:
    here = orders(tmp_path)
    for option in ("--storage", "--tracking-uri", "--artifacts"):
        with pytest.raises(UserError, match=f"{option} is not on the machine {HERE}"):
            refuse_missing(here)
        if option == "--artifacts":
            make_directories(here)
        else:
            places(here)[option].touch()
    refuse_missing(here)
