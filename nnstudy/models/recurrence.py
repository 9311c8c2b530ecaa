"""Recurrent networks: plain, LSTM and GRU."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from nnstudy.errors import UserError
from nnstudy.models.arguments import check_dropout, check_sizes

CELLS: dict[str, Callable[..., nn.RNNBase]] = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}


class Recurrent(nn.Module):
    """A recurrent layer or several, and a linear layer on the last state of the topmost."""

    def __init__(
        self, features: int, outputs: int, cell: str, units: int, layers: int, dropout: float
    ):
        super().__init__()
        # PyTorch drops out between recurrent layers and warns where there is one only.
        between = dropout if layers > 1 else 0.0
        self.cell = CELLS[cell](features, units, layers, batch_first=True, dropout=between)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.output = nn.Linear(units, outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        """Maps sequences ``(N, T, F)`` or images ``(N, 1, H, W)`` to ``(N, outputs)``."""
        sequence = inputs.squeeze(1) if inputs.ndim == 4 else inputs
        states: Tensor = self.cell(sequence)[0]
        output: Tensor = self.output(self.dropout(states[:, -1]))
        return output


def recurrent(
    shape: Sequence[int],
    outputs: int,
    cell: str = "lstm",
    units: int = 64,
    layers: int = 1,
    dropout: float = 0.0,
) -> Recurrent:
    """Makes a recurrent network that answers after the last element of a sequence.

    Args:
        shape: Shape of one input: (steps, features), or (1, height, width) for a grey image,
            which is read as ``height`` rows of ``width`` pixels.
        outputs: Number of outputs, which are linear: ``(N, outputs)``.
        cell: ``"lstm"``, ``"gru"`` or ``"rnn"`` (plain, with tanh).
        units: Size of the state of each layer.
        layers: Recurrent layers, one on top of the other.
        dropout: Share of the units dropped in training, between layers and before the
            output, in [0, 1).

    Returns:
        The network.

    Raises:
        UserError: If an argument is out of range, the cell is unknown or the input is no
            sequence.
    """
    check_sizes("recurrent", shape=shape, units=[units], layers=[layers], outputs=[outputs])
    check_dropout("recurrent", dropout)
    if cell not in CELLS:
        raise UserError(f"Unknown cell {cell!r}; known are {', '.join(CELLS)}")
    is_grey_image = len(shape) == 3 and shape[0] == 1
    if not is_grey_image and len(shape) != 2:
        raise UserError(
            "recurrent takes sequences of shape (steps, features) or images of shape"
            f" (1, height, width), got inputs of shape {tuple(shape)}"
        )
    return Recurrent(shape[-1], outputs, cell, units, layers, dropout)
