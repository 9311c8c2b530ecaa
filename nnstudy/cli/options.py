"""Options that several commands take, and how their values are read."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import click
from click.shell_completion import CompletionItem

DEFAULT_DATABASE = "mlruns/optuna.db"

IN_MLFLOW = "mlflow"
"""Says that checkpoints are MLflow's artifacts."""

Command = TypeVar("Command", bound=Callable[..., Any])
Make: TypeAlias = Callable[..., Callable[[Command], Command]]
"""Makes an option: ``click.option``, or that of a topic."""


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


def study_option(command: Command, make: Make[Command] = click.option) -> Command:
    """Adds ``--study``: where the code of a stored study is."""
    return make(
        "--study",
        metavar="STUDY",
        help="The study here: a name or path/to/study.py. Default: as it was launched.",
    )(command)


def storage_option(command: Command, make: Make[Command] = click.option) -> Command:
    """Adds ``--storage``."""
    return make(
        "--storage",
        metavar="URL",
        envvar="NNSTUDY_STORAGE",
        show_envvar=True,
        help="Database of Optuna. Default: sqlite:///mlruns/optuna.db",
    )(command)


def tracking_options(command: Command, make: Make[Command] = click.option) -> Command:
    """Adds ``--tracking-uri`` and ``--artifacts``."""
    command = make(
        "--artifacts",
        metavar="DIR|URI",
        help="Root of MLflow's artifacts. Default: mlruns/artifacts",
    )(command)
    return make(
        "--tracking-uri",
        metavar="URI",
        envvar="MLFLOW_TRACKING_URI",
        show_envvar=True,
        help="Database or server of MLflow. Default: sqlite:///mlruns/mlflow.db",
    )(command)


def checkpoints_option(command: Command, make: Make[Command] = click.option) -> Command:
    """Adds ``--checkpoints``: where they are written, a directory or ``IN_MLFLOW``."""
    return make(
        "--checkpoints",
        metavar="DIR|mlflow",
        help="A directory that all workers share, or mlflow for MLflow's artifacts."
        " Default: mlruns/checkpoints",
    )(command)


def data_dir_option(command: Command, make: Make[Command] = click.option) -> Command:
    """Adds ``--data-dir``."""
    return make(
        "--data-dir",
        type=click.Path(path_type=Path, file_okay=False),
        envvar="NNSTUDY_DATA_DIR",
        show_envvar=True,
        help="Where data files are. Default: data",
    )(command)


def download_option(command: Command, make: Make[Command] = click.option) -> Command:
    """Adds ``--download``."""
    return make("--download", is_flag=True, help="Fetch data files that are missing.")(command)


def device_option(command: Command, make: Make[Command] = click.option) -> Command:
    """Adds ``--device``."""
    return make("--device", default="auto", metavar="DEVICE", help="auto, cpu, cuda or cuda:1.")(
        command
    )


def kept_code_option(command: Command) -> Command:
    """Adds ``--kept-code``."""
    return click.option(
        "--kept-code",
        is_flag=True,
        help="Run the study's code that MLflow keeps, verified by its hash, not a file here.",
    )(command)


def rebuilding_options(command: Command) -> Command:
    """Adds where a stored study is, and what its networks are rebuilt with."""
    command = kept_code_option(data_dir_option(device_option(command)))
    command = click.option(
        "--checkpoints",
        type=click.Path(path_type=Path, file_okay=False),
        help="Where the checkpoints are, if they have been moved.",
    )(command)
    return storage_option(tracking_options(command))


def rebuilding_fields(
    *, checkpoints: Path | None, data_dir: Path | None, device: str
) -> dict[str, Any]:
    """Returns the arguments ``settings`` and ``data_directory`` that networks are rebuilt by."""
    from dataclasses import replace

    from nnstudy.search.settings import Settings

    settings = Settings(device=device)
    return {
        "settings": replace(settings, checkpoints=checkpoints) if checkpoints else settings,
        "data_directory": data_dir,
    }


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
