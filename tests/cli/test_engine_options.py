"""Which engine runs the workers, as given on the command line."""

from __future__ import annotations

from typing import Any

import pytest

from nnstudy.cli import main
from nnstudy.cli.launch_fields import launch_fields
from nnstudy.cli.launch_options import ENGINES
from nnstudy.engines import LaunchOptions, RayOptions
from nnstudy.errors import UserError


def fields(*options: str) -> dict[str, Any]:
    return launch_fields(main.commands["launch"].make_context("launch", ["toy", *options]).params)


def test_without_options_it_is_what_the_library_does() -> None:
    given = LaunchOptions(**fields())
    assert (given.engine, given.ray, given.settings) == (
        "local",
        RayOptions(),
        LaunchOptions().settings,
    )
    assert LaunchOptions().engine in ENGINES


def test_options_of_ray_reach_the_launch() -> None:
    given = fields("--engine", "ray", "--address", "auto", "--gpus-per-trial", "0.25")
    assert given["engine"] == "ray"
    assert given["ray"] == RayOptions("auto", cpus_per_trial=1, gpus_per_trial=0.25)


@pytest.mark.parametrize("option", ["--address", "--cpus-per-trial", "--gpus-per-trial"])
def test_options_of_ray_without_ray_are_refused(option: str) -> None:
    with pytest.raises(
        UserError, match=f"^{option} is for workers that Ray runs: add --engine ray"
    ):
        fields(option, "1")


@pytest.mark.parametrize(
    ("cpus", "threads", "expected"),
    [(None, None, 1), ("3.5", None, 3), ("0.5", None, 1), ("4", "1", 1), (None, "2", 2)],
)
def test_a_trial_computes_with_as_many_threads_as_ray_gives_it_cpus_unless_told(
    cpus: str | None, threads: str | None, expected: int
) -> None:
    options = ["--engine", "ray"]
    options += ["--cpus-per-trial", cpus] if cpus else []
    options += ["--threads", threads] if threads else []
    assert fields(*options)["settings"].threads == expected
