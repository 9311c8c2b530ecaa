"""The ensemble as a model of MLflow: loaded from its package, asked for rows."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.pyfunc.model import PythonModel, PythonModelContext
from mlflow.types import DataType
from mlflow.types.schema import Array, ColSpec, Schema, TensorSpec

from nnstudy.ensembles.packaging.answering import CLASS, CLASS_NAME, DTYPES, Answerer
from nnstudy.ensembles.packaging.module import DISAGREEMENT, ENTROPY, MEAN, PROBABILITIES, STD
from nnstudy.ensembles.packaging.package import ARTIFACT, Package

_log = logging.getLogger(__name__)


class EnsembleModel(PythonModel):
    """What ``mlflow.pyfunc.load_model`` and ``mlflow models serve`` call."""

    def load_context(self, context: PythonModelContext) -> None:
        """Reads the package, and says which code it runs to rebuild the networks."""
        directory = Path(context.artifacts[ARTIFACT])
        self._answerer = Answerer.load(directory, say=_log.warning)

    def predict(
        self,
        context: PythonModelContext,
        model_input: np.ndarray,  # a bare type, as MLflow looks for it
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Returns a row for each input; see ``Answerer.answer``."""
        return self._answerer.answer(model_input)


def signature_of(package: Package) -> ModelSignature:
    """Returns what the model takes and gives, as MLflow writes it down."""
    dtype = np.dtype(DTYPES[package.kind])
    inputs = Schema([TensorSpec(dtype, (-1, *package.data["shape"]))])
    numbers = Array(DataType.double)
    outputs: list[ColSpec | TensorSpec] = (
        [
            ColSpec("long", CLASS),
            ColSpec("string", CLASS_NAME),
            ColSpec(numbers, PROBABILITIES),
            ColSpec("double", ENTROPY),
            ColSpec("double", DISAGREEMENT),
        ]
        if package.classes
        else [ColSpec(numbers, name) for name in (MEAN, STD, DISAGREEMENT)]
    )
    return ModelSignature(inputs, Schema(outputs))
