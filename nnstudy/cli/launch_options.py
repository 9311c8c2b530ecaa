"""The options of ``nnstudy launch`` and what they mean for ``nnstudy.launch``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nnstudy.cli.options import key_values, whole_numbers
from nnstudy.cli.topics import Function, topic_option

if TYPE_CHECKING:
    from nnstudy.search.settings import Settings

SAMPLERS = ("random", "tpe", "grid", "qmc", "cmaes", "gp")
PRUNERS = (
    *("none", "median", "percentile", "threshold", "patient"),
    *("successive-halving", "hyperband"),
)
IN_MLFLOW = "mlflow"

_COUNT = click.IntRange(min=1)
_search = topic_option("Search")
_data = topic_option("Data")
_training = topic_option("Training")
_storage = topic_option("Storage")
_output = topic_option("Output")


def _key_value_option(name: str, what: str) -> Any:
    return _search(
        name,
        multiple=True,
        callback=key_values,
        metavar="KEY=VALUE",
        help=f"Option of the {what}, as Optuna names it. May be repeated.",
    )


_OPTIONS = [
    _search(
        "--trials",
        type=_COUNT,
        metavar="N",
        help="Finished trials in all, over all launches and workers; stages keep their shares.",
    ),
    _search("--workers", type=_COUNT, metavar="N", help="Processes. Default: one for each core."),
    _search("--name", metavar="NAME", help="Search under another name, in a study of its own."),
    _search("--sampler", type=click.Choice(SAMPLERS), help="What chooses the points."),
    _key_value_option("--sampler-option", "sampler"),
    _search("--pruner", type=click.Choice(PRUNERS), help="What stops poor trials early."),
    _key_value_option("--pruner-option", "pruner"),
    _search(
        "--seed",
        type=click.IntRange(min=0),
        metavar="N",
        help="Where all random draws come from.",
    ),
    _search(
        "--no-preflight",
        is_flag=True,
        help="Do not try the recipe on a few minibatches before the search.",
    ),
    _data(
        "--data-dir",
        type=click.Path(path_type=Path, file_okay=False),
        envvar="NNSTUDY_DATA_DIR",
        show_envvar=True,
        help="Where data files are. Default: data",
    ),
    _data("--download", is_flag=True, help="Fetch data files that are missing."),
    _data(
        "--classes",
        callback=whole_numbers,
        metavar="N,N,...",
        help="Only these classes, for a quick study.",
    ),
    _data("--examples", type=_COUNT, metavar="N", help="Only so many training examples."),
    _data("--valid-examples", type=_COUNT, metavar="N", help="Only so many validation examples."),
    _data(
        "--selection",
        type=click.FloatRange(0, 1, max_open=True),
        metavar="SHARE",
        help="Share of the held-out examples that is kept for ensembles.",
    ),
    _training(
        "--epochs",
        type=click.FloatRange(0, min_open=True),
        metavar="N",
        help="Longest training, in epochs; may be a fraction.",
    ),
    _training(
        "--validate-every",
        type=_COUNT,
        metavar="N",
        help="Training examples between two validations. Default: an epoch.",
    ),
    _training(
        "--device",
        default="auto",
        show_default=True,
        metavar="DEVICE",
        help="auto, cpu, cuda or cuda:1.",
    ),
    _training(
        "--precision",
        type=click.Choice(["float32", "mixed"]),
        help="Numbers to compute with; mixed needs CUDA. Default: float32",
    ),
    _training("--deterministic", is_flag=True, help="Only algorithms that repeat exactly."),
    _training(
        "--threads",
        type=_COUNT,
        default=1,
        show_default=True,
        metavar="N",
        help="CPU threads of a worker.",
    ),
    _storage(
        "--storage",
        metavar="URL",
        envvar="NNSTUDY_STORAGE",
        show_envvar=True,
        help="Database of Optuna. Default: sqlite:///mlruns/optuna.db",
    ),
    _storage(
        "--tracking-uri",
        metavar="URI",
        envvar="MLFLOW_TRACKING_URI",
        show_envvar=True,
        help="Database or server of MLflow. Default: sqlite:///mlruns/mlflow.db",
    ),
    _storage(
        "--artifacts",
        metavar="DIR|URI",
        help="Root of MLflow's artifacts. Default: mlruns/artifacts",
    ),
    _storage(
        "--checkpoints",
        metavar="DIR|mlflow",
        help="A directory that all workers share, or mlflow for MLflow's artifacts."
        " Default: mlruns/checkpoints",
    ),
    _storage(
        "--keep-best",
        type=_COUNT,
        default=1,
        show_default=True,
        metavar="K",
        help="How many of a trial's best epochs keep their weights.",
    ),
    _storage(
        "--keep-every",
        type=click.IntRange(min=0),
        default=0,
        metavar="N",
        help="Keep the weights of each N-th epoch too.",
    ),
    _storage(
        "--disk-limit",
        metavar="SIZE",
        help="What all checkpoints of the study may take, such as 2GB.",
    ),
    _output("--quiet", "-q", is_flag=True, help="Only errors and one line at the end."),
    _output("--json", "as_json", is_flag=True, help="One JSON object a line, for machines."),
]


def launch_options(command: Function) -> Function:
    """Adds the options."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def launch_fields(given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the fields of ``LaunchOptions`` that parsed options mean.

    Raises:
        UserError: If the limit on disk space is no size.
    """
    from nnstudy.data import Subset

    return {
        "name": given["name"],
        "trials": given["trials"],
        "workers": given["workers"],
        "epochs": given["epochs"],
        "sampler": given["sampler"],
        "sampler_options": given["sampler_option"],
        "pruner": given["pruner"],
        "pruner_options": given["pruner_option"],
        "seed": given["seed"],
        "storage": given["storage"],
        "tracking_uri": given["tracking_uri"],
        "artifacts": given["artifacts"],
        "data_directory": given["data_dir"],
        "download": given["download"],
        "subset": Subset(given["classes"], given["examples"], given["valid_examples"]),
        "selection": given["selection"],
        "validate_every": given["validate_every"],
        "precision": given["precision"],
        "deterministic": given["deterministic"],
        "rehearse": not given["no_preflight"],
        "settings": _settings(given),
    }


def _settings(given: Mapping[str, Any]) -> Settings:
    from nnstudy.search.settings import Settings
    from nnstudy.training.checkpoints import parse_size

    chosen = given["checkpoints"]
    places: dict[str, Any] = {"upload": chosen == IN_MLFLOW}
    if chosen and chosen != IN_MLFLOW:
        places["checkpoints"] = Path(chosen)
    return Settings(
        device=given["device"],
        keep_best=given["keep_best"],
        keep_every=given["keep_every"],
        disk_limit=parse_size(given["disk_limit"]) if given["disk_limit"] else None,
        threads=given["threads"],
        **places,
    )
