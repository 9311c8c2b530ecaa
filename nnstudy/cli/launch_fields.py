"""What the options of ``nnstudy launch``, and of commands like it, mean for ``nnstudy.engines``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnstudy.cli.options import IN_MLFLOW
from nnstudy.errors import UserError

if TYPE_CHECKING:
    from nnstudy.engines.options import RayOptions
    from nnstudy.search.settings import Settings

_OF_RAY = ("address", "cpus_per_trial", "gpus_per_trial")


def launch_fields(given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the fields of ``LaunchOptions`` that parsed options mean.

    Raises:
        UserError: If the limit on disk space is no size, or an option of Ray has no Ray.
    """
    return {
        "stages": given["stages"],
        "plan": given["plan"],
        "plan_options": given["plan_option"],
        "sampler": given["sampler"],
        "sampler_options": given["sampler_option"],
        "max_epochs_total": given["max_epochs_total"],
        "flat_trials": given["flat_trials"],
        "extend_borders": given["extend_borders"],
        "folds": given["folds"],
        "engine": given["engine"],
        "ray": _ray(given),
        **_any_search(given),
    }


def race_fields(given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the arguments of ``nnstudy.engines.race`` that parsed options mean.

    Raises:
        UserError: If the limit on disk space is no size, or an option has no sampler.
    """
    by_sampler: dict[str, dict[str, Any]] = {}
    for key, value in given["sampler_option"].items():
        sampler, dot, option = key.partition(".")
        if not dot:
            raise UserError(f"whose option is {key}? Name the sampler: tpe.{key}=...")
        by_sampler.setdefault(sampler, {})[option] = value
    return {
        "samplers": given["samplers"],
        "seeds": given["seeds"],
        "sampler_options": by_sampler,
        **_any_search(given),
    }


def _any_search(given: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": given["name"],
        "trials": given["trials"],
        "workers": given["workers"],
        "pruner": given["pruner"],
        "pruner_options": given["pruner_option"],
        "seed": given["seed"],
        "deterministic": given["deterministic"],
        "preflight": not given["no_preflight"],
        **_what_is_trained(given),
        **worker_fields(given),
    }


def confirm_fields(given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the fields of ``LaunchOptions`` that the options of a confirmation mean.

    Raises:
        UserError: As ``launch_fields``.
    """
    return {
        "workers": given["workers"],
        "engine": given["engine"],
        "ray": _ray(given),
        **worker_fields(given),
    }


def check_fields(given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the fields of ``LaunchOptions`` that the options of a check mean."""
    from nnstudy.search.settings import Settings

    return {
        "data_directory": given["data_dir"],
        "download": given["download"],
        "settings": Settings(device=given["device"], threads=given["threads"] or 1),
        **_what_is_trained(given),
    }


def _what_is_trained(given: Mapping[str, Any]) -> dict[str, Any]:
    from nnstudy.data import Subset

    return {
        "epochs": given["epochs"],
        "subset": Subset(given["classes"], given["examples"], given["valid_examples"]),
        "selection": given["selection"],
        "validate_every": given["validate_every"],
        "precision": given["precision"],
    }


def worker_fields(given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the fields of ``LaunchOptions`` that the options of a worker mean."""
    return {
        "storage": given["storage"],
        "tracking_uri": given["tracking_uri"],
        "artifacts": given["artifacts"],
        "data_directory": given["data_dir"],
        "download": given["download"],
        "timeout": given["timeout"],
        "settings": _settings(given),
    }


def _ray(given: Mapping[str, Any]) -> RayOptions:
    from nnstudy.engines.options import RayOptions

    asked = {name: given[name] for name in _OF_RAY if given[name] is not None}
    if asked and given["engine"] != "ray":
        option = next(iter(asked)).replace("_", "-")
        raise UserError(f"--{option} is for workers that Ray runs: add --engine ray")
    return RayOptions(**asked)


def _settings(given: Mapping[str, Any]) -> Settings:
    from nnstudy.search.settings import Settings
    from nnstudy.training.checkpoints import parse_size

    chosen = given["checkpoints"]
    threads = given["threads"]
    if threads is None:
        threads = max(1, int(given.get("cpus_per_trial") or 1))
    places: dict[str, Any] = {"upload": chosen == IN_MLFLOW}
    if chosen and chosen != IN_MLFLOW:
        places["checkpoints"] = Path(chosen)
    return Settings(
        device=given["device"],
        keep_best=given["keep_best"],
        keep_every=given["keep_every"],
        disk_limit=parse_size(given["disk_limit"]) if given["disk_limit"] else None,
        threads=threads,
        checkpoint_every=given["checkpoint_every"],
        patience=given["patience"],
        **places,
    )
