"""Options that several commands take, and how their values are read."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

DEFAULT_DATABASE = "mlruns/optuna.db"

Command = TypeVar("Command", bound=Callable[..., Any])


def complete_study(
    _ctx: click.Context, _param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Completes the names of studies that can be launched, and paths of files."""
    from nnstudy.study.discovery import available_studies

    items = [
        CompletionItem(info.name, help=info.summary)
        for info in available_studies()
        if info.name.startswith(incomplete)
    ]
    return items or [CompletionItem(incomplete, type="file")]


def storage_option(command: Command) -> Command:
    """Adds ``--storage``."""
    return click.option(
        "--storage",
        metavar="URL",
        envvar="NNSTUDY_STORAGE",
        show_envvar=True,
        help="Database of Optuna. Default: sqlite:///mlruns/optuna.db",
    )(command)


def tracking_options(command: Command) -> Command:
    """Adds ``--tracking-uri`` and ``--artifacts``."""
    command = click.option(
        "--artifacts",
        metavar="DIR|URI",
        help="Root of MLflow's artifacts. Default: mlruns/artifacts",
    )(command)
    return click.option(
        "--tracking-uri",
        metavar="URI",
        envvar="MLFLOW_TRACKING_URI",
        show_envvar=True,
        help="Database or server of MLflow. Default: sqlite:///mlruns/mlflow.db",
    )(command)


def json_option(command: Command) -> Command:
    """Adds ``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")(
        command
    )


_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd]?)")
_SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class Duration(click.ParamType[float]):
    """A length of time: ``90``, ``30s``, ``10m``, ``1.5h``, ``2d``; in seconds where no unit is."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Returns seconds."""
        if isinstance(value, int | float):
            return float(value)
        match = _DURATION.fullmatch(str(value).strip().lower())
        seconds = float(match[1]) * _SECONDS[match[2]] if match else 0.0
        if not seconds > 0:
            self.fail(f"{value!r} is no length of time, such as 30s, 10m or 1.5h", param, ctx)
        return seconds


def key_values(
    _ctx: click.Context, _param: click.Parameter, given: Sequence[str]
) -> dict[str, Any]:
    """Reads ``KEY=VALUE`` texts: the value as JSON where it is JSON, else as a string.

    Raises:
        click.BadParameter: If one has no key or no equals sign.
    """
    pairs = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise click.BadParameter(f"{text!r} is not KEY=VALUE, such as lr=0.01")
        pairs[key.strip()] = parse_value(value.strip())
    return pairs


def parse_value(text: str) -> Any:
    """Returns what a text means: 0.1, true, null, [1, 2] as JSON has them, else the text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def whole_numbers(
    _ctx: click.Context, _param: click.Parameter, given: str | None
) -> tuple[int, ...] | None:
    """Reads whole numbers with commas in between.

    Raises:
        click.BadParameter: If something else is in between.
    """
    if given is None:
        return None
    try:
        return tuple(int(part) for part in given.split(","))
    except ValueError:
        raise click.BadParameter(f"{given!r} is no list of whole numbers, such as 0,1") from None


def names(
    _ctx: click.Context, _param: click.Parameter, given: str | None
) -> tuple[str, ...] | None:
    """Reads names with commas in between."""
    return None if given is None else tuple(part.strip() for part in given.split(","))
