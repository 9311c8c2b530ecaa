"""How a study is launched: where everything is kept and what overrides the study file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from nnstudy.data import Subset
from nnstudy.errors import UserError
from nnstudy.search.settings import Settings
from nnstudy.training.devices import Precision

_REMEMBERED = (
    "stages",
    "plan",
    "plan_options",
    "epochs",
    "seed",
    "subset",
    "selection",
    "folds",
    "validate_every",
    "precision",
    "deterministic",
)


@dataclass(frozen=True)
class RayOptions:
    """Which Ray runs the workers, and what of it each of them has.

    Attributes:
        address: An existing cluster: ``auto`` (the one of this machine), ``host:port`` or
            ``ray://host:port``; None: the environment variable ``RAY_ADDRESS``, else a Ray of
            the launch's own on this machine.
        cpus_per_trial: CPUs of each worker.
        gpus_per_trial: GPUs of each worker; a fraction lets several share one.
    """

    address: str | None = None
    cpus_per_trial: float = 1.0
    gpus_per_trial: float = 0.0

    def __post_init__(self) -> None:
        """Raises UserError where a value cannot be meant."""
        if not self.cpus_per_trial > 0:
            raise UserError(
                f"a trial needs CPUs: --cpus-per-trial must be above 0, got {self.cpus_per_trial:g}"
            )
        gpus = self.gpus_per_trial
        if not gpus >= 0 or (gpus > 1 and gpus != int(gpus)):
            raise UserError(
                f"--gpus-per-trial must be a share of one GPU or a whole number, got {gpus:g}"
            )


@dataclass(frozen=True)
class LaunchOptions:
    """Options of a launch; None leaves it to the study, or to what is stored with it.

    Attributes:
        name: Run the study under another name.
        trials: Finished trials in all, across launches; scales the stages' shares.
        max_epochs_total: Epochs that all trials of all stages may train together, across
            launches.
        flat_trials: A stage ends when the best has not improved over so many finished trials.
        extend_borders: Where good values crowd an edge of a range when a stage has ended, the search
            goes on in the wider range, in a stage of its own.
        timeout: Seconds after which the launch ends as on Ctrl-C: after the current epochs,
            with all saved.
        workers: Processes; default: one for each core, on CUDA one for each device.
        stages: How many stages, or the trials and epochs of each, as ``20x1,10x5,5x30``.
        plan: Name of a plan that makes the stages, ``one-at-a-time``.
        plan_options: Its options, see ``nnstudy.study.plans.planned``.
        epochs: Largest number of epochs of a trial in the longest stage; the others keep their
            proportion to it.
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
        folds: With how many folds each trial is cross-validated.
        validate_every: Training examples between two validations.
        precision: ``float32`` (the default) or ``mixed``.
        deterministic: Only deterministic algorithms.
        preflight: Whether to try the recipe first, and to check study and data.
        settings: Device, checkpoints and their rules.
        engine: What runs the workers: ``local`` processes, or ``ray``.
        ray: Which Ray, and what each worker has.
    """

    name: str | None = None
    trials: int | None = None
    max_epochs_total: float | None = None
    flat_trials: int | None = None
    extend_borders: bool = False
    timeout: float | None = None
    workers: int | None = None
    stages: str | None = None
    plan: str | None = None
    plan_options: Mapping[str, Any] = field(default_factory=dict)
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
    folds: int | None = None
    validate_every: int | None = None
    precision: Precision | None = None
    deterministic: bool = False
    preflight: bool = True
    settings: Settings = field(default_factory=Settings)
    engine: Literal["local", "ray"] = "local"
    ray: RayOptions = field(default_factory=RayOptions)

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
