"""A packed ensemble, logged with its run in MLflow and registered under the study's name."""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from torch import Tensor

from nnstudy.data import Data
from nnstudy.ensembles.ensemble import Ensemble
from nnstudy.ensembles.packaging.package import ARTIFACT, Package
from nnstudy.ensembles.packaging.packing import example_of, pack, refuse_other_answers
from nnstudy.ensembles.packaging.requirements import pinned_requirements
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


def publish(
    ensemble: Ensemble,
    sources: Sources,
    data: Data,
    settings: Settings,
    tracker: Tracker,
    run_id: str,
) -> LoggedModel:
    """Packs an ensemble, tries what was packed, logs and registers it.

    Args:
        ensemble: The ensemble.
        sources: The study's code.
        data: The study's data.
        settings: Where checkpoints are that have been moved.
        tracker: MLflow.
        run_id: The ensemble's run.

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
        refuse_other_answers(package.build(packed, say=lambda text: None), ensemble, data)
        return _log(tracker, run_id, package, packed, sources, example_of(data), scratch)


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
        tags={"nnstudy.digest": package.digest, "nnstudy.sources": package.code_hash},
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
