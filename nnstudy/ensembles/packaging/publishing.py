"""A packed ensemble, logged with its run in MLflow and registered under the study's name."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from torch import Tensor, nn

from nnstudy.data import Data
from nnstudy.ensembles.ensemble import Ensemble
from nnstudy.ensembles.packaging.exporting import export
from nnstudy.ensembles.packaging.module import Normalise
from nnstudy.ensembles.packaging.package import ARTIFACT, Package
from nnstudy.ensembles.packaging.packing import example_of, pack, refuse_other_answers
from nnstudy.ensembles.packaging.requirements import pinned_requirements
from nnstudy.ensembles.packaging.stacking import Layout, quickest
from nnstudy.errors import UserError
from nnstudy.search.keeping import fetch_checkpoint
from nnstudy.search.settings import Settings
from nnstudy.study.sources import Sources
from nnstudy.tracking import Tracker
from nnstudy.tracking.models import LoggedModel, log_model

if TYPE_CHECKING:
    from mlflow.models import Model

MODEL_NAME = "ensemble"
_SCRIPT = Path(__file__).with_name("model.py")
_NOT_SOURCE = ("__pycache__", "*.pyc", "studies")


@dataclass(frozen=True)
class Published:
    """An ensemble that can be used.

    Attributes:
        model: What MLflow has of it.
        layout: How its members are computed, and what was measured for that.
        not_exported: Why it could not be exported; None where it was, or was not to be.
    """

    model: LoggedModel
    layout: Layout
    not_exported: str | None


def publish(
    ensemble: Ensemble,
    sources: Sources,
    data: Data,
    settings: Settings,
    tracker: Tracker,
    run_id: str,
    export_to: Path | None = None,
) -> Published:
    """Packs an ensemble, tries what was packed, logs and registers it.

    Args:
        ensemble: The ensemble.
        sources: The study's code.
        data: The study's data.
        settings: Where checkpoints are that have been moved.
        tracker: MLflow.
        run_id: The ensemble's run.
        export_to: Where to write it as a program of ``torch.export``; None: it is not.

    Raises:
        UserError: If its networks cannot be rebuilt without the data, weights are missing, or
            MLflow cannot be reached.
    """
    with TemporaryDirectory(prefix="nnstudy-") as directory:
        scratch, packed = Path(directory), Path(directory) / ARTIFACT
        packed.mkdir()

        def fetch(place: str) -> Path:
            return fetch_checkpoint(tracker, place, scratch / "fetched")

        package = pack(ensemble, sources, data, settings, fetch, packed)
        # The same code has just been run to choose the members.
        networks = package.networks(packed, say=lambda text: None)
        examples = example_of(data)
        normalised = Normalise(data.normalisation)(examples)
        layout = quickest(networks, normalised, classes=package.classes)
        package = replace(package, layout=layout)
        package.save(packed)
        refuse_other_answers(package.assemble(networks), ensemble, data)
        model = _log(tracker, run_id, package, packed, sources, examples, scratch)
        why_not = _export(package, networks, examples, export_to) if export_to else None
    return Published(model, layout, why_not)


def _export(
    package: Package, networks: Sequence[nn.Module], examples: Tensor, path: Path
) -> str | None:
    """Returns why it could not be exported, or None."""
    # A program has no Python whose time stacking saves, and more networks can be exported so.
    in_turn = replace(package, layout=Layout())
    try:
        export(in_turn.assemble(networks), examples, path)
    except UserError as error:
        return str(error)
    return None


def _log(
    tracker: Tracker,
    run_id: str,
    package: Package,
    packed: Path,
    sources: Sources,
    example: Tensor,
    scratch: Path,
) -> LoggedModel:
    import mlflow.pyfunc

    from nnstudy.ensembles.packaging.pyfunc import signature_of

    def save(path: Path, model: Model) -> None:
        mlflow.pyfunc.save_model(
            path,
            python_model=str(_SCRIPT),
            artifacts={ARTIFACT: str(packed)},
            # nnstudy is on no index, and another version might build other networks.
            code_paths=[str(_own_source(scratch))],
            signature=signature_of(package),
            input_example=example.numpy(),
            pip_requirements=pinned_requirements(sources),
            mlflow_model=model,
        )

    return log_model(
        tracker,
        run_id,
        MODEL_NAME,
        save,
        scratch / "model",
        registered=package.study,
        tags={
            "nnstudy.digest": package.digest,
            "nnstudy.sources": package.code_hash,
            "nnstudy.layout": "stacked" if package.layout.stacked else "in turn",
        },
    )


def _own_source(scratch: Path) -> Path:
    """Copies the source of this package, as it is imported, without what an ensemble needs not."""
    return Path(
        shutil.copytree(
            Path(__file__).parents[2],
            scratch / "nnstudy",
            ignore=shutil.ignore_patterns(*_NOT_SOURCE),
        )
    )
