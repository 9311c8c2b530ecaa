"""The options of ``nnstudy launch`` and of the commands that take some of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import click

from nnstudy.cli.options import (
    Duration,
    checkpoints_option,
    data_dir_option,
    device_option,
    download_option,
    key_values,
    names,
    storage_option,
    tracking_options,
    whole_numbers,
)
from nnstudy.cli.topics import Function, topic_option

SAMPLERS = ("random", "tpe", "grid", "qmc", "cmaes", "gp")
PRUNERS = (
    *("none", "median", "percentile", "threshold", "patient"),
    *("successive-halving", "hyperband"),
)
PLANS = ("one-at-a-time",)
ENGINES = ("local", "ray")

_COUNT = click.IntRange(min=1)
_search = topic_option("Search")
_data = topic_option("Data")
_training = topic_option("Training")
_storage = topic_option("Storage")
_engine = topic_option("Engine")
_output = topic_option("Output")


def _key_value_option(name: str, what: str) -> Any:
    return _search(
        name,
        multiple=True,
        callback=key_values,
        metavar="KEY=VALUE",
        help=f"Option of the {what}, as Optuna names it. May be repeated.",
    )


_OF_DATA_AND_DEVICE: list[Callable[[Any], Any]] = [
    partial(data_dir_option, make=_data),
    partial(download_option, make=_data),
    partial(device_option, make=partial(_training, show_default=True)),
    _training(
        "--threads",
        type=_COUNT,
        metavar="N",
        help="CPU threads of a worker. Default: 1; with Ray, the CPUs of a trial.",
    ),
]

_OF_WHAT_IS_TRAINED = [
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
        help="Longest training, in epochs; may be a fraction. Shorter stages keep their share.",
    ),
    _training(
        "--validate-every",
        type=_COUNT,
        metavar="N",
        help="Training examples between two validations. Default: an epoch.",
    ),
    _training(
        "--precision",
        type=click.Choice(["float32", "mixed"]),
        help="Numbers to compute with; mixed needs CUDA. Default: float32",
    ),
]

_OF_EACH_WORKER: list[Callable[[Any], Any]] = [
    _search(
        "--timeout",
        type=Duration(),
        metavar="TIME",
        help="End after 30s, 10m or 8h, as on Ctrl-C; launching again goes on.",
    ),
    partial(storage_option, make=_storage),
    partial(tracking_options, make=_storage),
    partial(checkpoints_option, make=_storage),
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
    _storage(
        "--checkpoint-every",
        type=Duration(),
        default="10m",
        show_default=True,
        metavar="TIME",
        help="Write a checkpoint inside an epoch after so long.",
    ),
    _storage(
        "--patience",
        type=Duration(),
        default="10m",
        show_default=True,
        metavar="TIME",
        help="Wait so long for a database, server or disk that is away.",
    ),
    _output("--quiet", "-q", is_flag=True, help="Only errors and one line at the end."),
    _output("--json", "as_json", is_flag=True, help="One JSON object a line, for machines."),
]

_WORKERS = _search(
    "--workers", type=_COUNT, metavar="N", help="Processes. Default: one for each core."
)
_DETERMINISTIC = _training(
    "--deterministic", is_flag=True, help="Only algorithms that repeat exactly."
)
_OF_ANY_SEARCH = [
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
        help="Do not check the study before the search.",
    ),
]

_OF_ONE_SEARCH = [
    _search(
        "--quick",
        is_flag=True,
        help="No search: tell in seconds whether anything learns, on few examples of two classes.",
    ),
    _search(
        "--ensemble",
        is_flag=True,
        help="When the search is complete, make one better model of its networks.",
    ),
    _search(
        "--trials",
        type=_COUNT,
        metavar="N",
        help="Finished trials in all, over all launches and workers; stages keep their shares.",
    ),
    _search(
        "--stages",
        metavar="N|TxE,...",
        help="How many stages, coarse to fine, or trials x epochs of each: 20x1,10x5,5x30.",
    ),
    _search(
        "--plan",
        type=click.Choice(PLANS),
        help="Stages as a person would go on: rate, then decay, then minibatch, then finer.",
    ),
    _search(
        "--plan-option",
        multiple=True,
        callback=key_values,
        metavar="KEY=VALUE",
        help="Which parameter is what: rate=NAME, decay=NAME, batch_size=NAME; or trials=N.",
    ),
    _WORKERS,
    _search("--name", metavar="NAME", help="Search under another name, in a study of its own."),
    _data(
        "--folds",
        type=_COUNT,
        metavar="K",
        help="Cross-validate each trial with K folds, in K times the epochs.",
    ),
    _search("--sampler", type=click.Choice(SAMPLERS), help="What chooses the points."),
    _key_value_option("--sampler-option", "sampler"),
    _search(
        "--stop-when-flat",
        "flat_trials",
        type=_COUNT,
        metavar="N",
        help="End a stage when the best has not improved over N trials.",
    ),
    _search(
        "--extend-borders",
        is_flag=True,
        help="Go on in wider ranges, in a stage of its own, where the best lie on the border.",
    ),
    _search(
        "--max-epochs-total",
        type=click.FloatRange(0, min_open=True),
        metavar="N",
        help="Epochs that all trials together may train, in all launches.",
    ),
]

_OF_A_RACE = [
    _search(
        "--samplers",
        callback=names,
        metavar="NAME,NAME,...",
        help="Which samplers race. Default: random,tpe",
    ),
    _search(
        "--seeds",
        type=click.IntRange(min=2),
        metavar="N",
        help="Searches of each sampler, each with random draws of its own. Default: 5",
    ),
    _search("--trials", type=_COUNT, metavar="N", help="Finished trials of each search."),
    _WORKERS,
    _search("--name", metavar="NAME", help="Name of the race. Default: STUDY-race"),
    _search(
        "--sampler-option",
        multiple=True,
        callback=key_values,
        metavar="NAME.KEY=VALUE",
        help="Option of a sampler, such as tpe.multivariate=true. May be repeated.",
    ),
]

_OF_ENGINES = [
    _engine(
        "--engine",
        type=click.Choice(ENGINES),
        default="local",
        show_default=True,
        help="What runs the workers: processes of this machine, or Ray.",
    ),
    _engine(
        "--address",
        metavar="ADDRESS",
        help="Ray cluster: auto, host:port or ray://host:port."
        " Default: RAY_ADDRESS, else a Ray of its own.",
    ),
    _engine(
        "--cpus-per-trial",
        type=click.FloatRange(0, min_open=True),
        metavar="N",
        help="CPUs that Ray gives to each worker. Default: 1",
    ),
    _engine(
        "--gpus-per-trial",
        type=click.FloatRange(0),
        metavar="N",
        help="GPUs that Ray gives to each worker; 0.25 lets four share one. Default: 0",
    ),
]


def launch_options(command: Function) -> Function:
    """Adds the options of a launch."""
    return _added(
        [
            *_OF_ONE_SEARCH,
            *_OF_ANY_SEARCH,
            *_OF_WHAT_IS_TRAINED,
            *_OF_DATA_AND_DEVICE,
            _DETERMINISTIC,
            *_OF_ENGINES,
            *_OF_EACH_WORKER,
        ],
        command,
    )


def race_options(command: Function) -> Function:
    """Adds the options of a race."""
    return _added(
        [
            *_OF_A_RACE,
            *_OF_ANY_SEARCH,
            *_OF_WHAT_IS_TRAINED,
            *_OF_DATA_AND_DEVICE,
            _DETERMINISTIC,
            *_OF_EACH_WORKER,
        ],
        command,
    )


def confirm_options(command: Function) -> Function:
    """Adds the options that say where and how a confirmation runs."""
    return _added([_WORKERS, *_OF_DATA_AND_DEVICE, *_OF_ENGINES, *_OF_EACH_WORKER], command)


def worker_options(command: Function) -> Function:
    """Adds the options that say where and how one worker works."""
    return _added([*_OF_DATA_AND_DEVICE, *_OF_EACH_WORKER], command)


def check_options(command: Function) -> Function:
    """Adds the options of a launch that a check depends on."""
    return _added([*_OF_WHAT_IS_TRAINED, *_OF_DATA_AND_DEVICE], command)


def _added(options: Sequence[Callable[[Function], Function]], command: Function) -> Function:
    for option in reversed(options):
        command = option(command)
    return command
