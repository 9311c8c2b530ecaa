"""How a study is launched: where everything is kept and what overrides the study file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from nnstudy.data import Subset
from nnstudy.search.settings import Settings
from nnstudy.training.devices import Precision

_REMEMBERED = (
    "epochs",
    "seed",
    "subset",
    "selection",
    "validate_every",
    "precision",
    "deterministic",
)


@dataclass(frozen=True)
class LaunchOptions:
    """Options of a launch; None leaves it to the study, or to what is stored with it.

    Attributes:
        name: Run the study under another name.
        trials: Finished trials in all, across launches; scales the stages' shares.
        workers: Processes; default: one for each core, on CUDA one for each device.
        epochs: Largest number of epochs of a trial, in every stage.
        sampler: Sampler of every stage.
        sampler_options: Its options.
        pruner: Pruner of every stage.
        pruner_options: Its options.
        seed: Seed of the study.
        storage: URL of Optuna's storage.
        tracking_uri: URI of MLflow.
        artifacts: Root of MLflow's artifacts.
        data_directory: Where data files are.
        download: Whether missing data may be downloaded.
        subset: What of the data to take.
        selection: Share of the held-out examples that is kept for ensembles.
        validate_every: Training examples between two validations.
        precision: ``float32`` (the default) or ``mixed``.
        deterministic: Only deterministic algorithms.
        rehearse: Whether to try the recipe first.
        settings: Device, checkpoints and their rules.
    """

    name: str | None = None
    trials: int | None = None
    workers: int | None = None
    epochs: float | None = None
    sampler: str | None = None
    sampler_options: Mapping[str, Any] = field(default_factory=dict)
    pruner: str | None = None
    pruner_options: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    storage: str | None = None
    tracking_uri: str | None = None
    artifacts: str | None = None
    data_directory: Path | None = None
    download: bool = False
    subset: Subset = field(default_factory=Subset)
    selection: float | None = None
    validate_every: int | None = None
    precision: Precision | None = None
    deterministic: bool = False
    rehearse: bool = True
    settings: Settings = field(default_factory=Settings)

    def to_remember(self) -> dict[str, Any]:
        """Returns the options that make the search what it is, JSON-ready.

        They are stored with the study, so that a later launch need not repeat them.
        """
        given = {name: getattr(self, name) for name in _REMEMBERED if self._is_given(name)}
        if "subset" in given:
            given["subset"] = asdict(self.subset)
        return given

    def with_remembered(self, stored: Mapping[str, Any]) -> LaunchOptions:
        """Returns the options with those of an earlier launch that are not given now."""
        fields = {name: value for name, value in stored.items() if not self._is_given(name)}
        if "subset" in fields:
            classes = fields["subset"]["classes"]
            fields["subset"] = Subset(
                **{**fields["subset"], "classes": tuple(classes) if classes else None}
            )
        return replace(self, **fields)

    def _is_given(self, name: str) -> bool:
        return bool(getattr(self, name) != getattr(LaunchOptions(), name))
