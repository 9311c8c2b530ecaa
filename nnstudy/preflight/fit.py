"""Whether inputs, network, loss and targets fit one another."""

from __future__ import annotations

import torch
from torch import Tensor

from nnstudy.data import Data
from nnstudy.errors import UserError
from nnstudy.training import Training
from nnstudy.training.evaluation import evaluation_batch_size

_MISFITS = (RuntimeError, ValueError, IndexError, TypeError, UserError)


def refuse_misfit(training: Training, data: Data) -> None:
    """Tries one minibatch of the validation part, and says in shapes what does not fit.

    Args:
        training: Not begun; its network is left in training mode.
        data: The study's data.

    Raises:
        UserError: If the network does not take the inputs, or the loss its outputs. The
            cause is what was raised.
    """
    size = min(training.recipe.batch_size, evaluation_batch_size(training.network, training.device))
    inputs, targets = next(iter(data.validation.minibatches(size, device=training.device)))
    training.network.eval()  # a batch norm must not see what training has not seen
    with torch.no_grad():
        try:
            outputs = training.network(inputs)
        except _MISFITS as error:
            raise UserError(
                f"the network does not take inputs of shape {_shape(inputs)}, a minibatch of"
                f" {data.name!r}: {_what(error)}"
            ) from error
        try:
            training.loss(outputs, targets)
        except _MISFITS as error:
            raise UserError(
                f"the network's outputs {_kind(outputs)} do not fit the loss and the targets"
                f" {_kind(targets)} of {data.name!r}, for which a network needs {data.outputs}"
                f" outputs: {_what(error)}"
            ) from error
    training.network.train()


def _kind(value: object) -> str:
    if not isinstance(value, Tensor):
        return f"({type(value).__name__})"
    return f"of shape {_shape(value)} ({str(value.dtype).removeprefix('torch.')})"


def _shape(value: Tensor) -> str:
    return str(tuple(value.shape))


def _what(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error) or 'no message').splitlines()[0]}"
