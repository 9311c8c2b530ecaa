"""Who won: the decisions inside a forward pass, by which crossed kinks are known.

A function with kinks is smooth as long as all its decisions stay the same: which of two numbers
was larger, on which side of its threshold each input of a ReLU was. So a finite difference over
two evaluations is exact to its order if both made the same decisions (CS231n, "Learning",
section "Gradient Checks", paragraph "Kinks in the objective").

Decisions are read from the operators that PyTorch runs, below autograd: those of modules,
functionals, losses and of the forward pass of a ``torch.autograd.Function`` alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


class Winners(TorchDispatchMode):  # type: ignore[no-untyped-call] # torch has none
    """Notes the decisions of everything that runs inside ``with winners:``.

    Attributes:
        decisions: What was noted, in order: signs, positions of maxima, results of comparisons.
        lowered: What was converted from double to a lower precision, a decision for each digit.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # torch has none
        self.decisions: list[Tensor] = []
        self.lowered: list[Tensor] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Runs one operator and notes its decisions."""
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__.rstrip("_")
        # Before it runs: it may overwrite its input.
        if name in _BY_INPUT:
            self.decisions.append(_BY_INPUT[name](*args, **kwargs))
        output = func(*args, **kwargs)
        if name in _BY_POSITION and isinstance(output, tuple):
            self.decisions.append(output[1].clone())
        elif name in _BY_OUTPUT:
            self.decisions.append(output.clone())
        elif name in ("max", "min", "median", "nanmedian"):
            self.decisions.append(args[0] == output)
        elif name == "_to_copy" and args[0].dtype == torch.float64 != output.dtype:
            self.decisions.append(output)
            if output.is_floating_point():
                self.lowered.append(output)
        return output

    def agree(self, other: Winners) -> bool:
        """Says whether two evaluations made the same decisions."""
        return _equal(self.decisions, other.decisions)

    def lowered_alike(self, other: Winners) -> bool:
        """Says whether what two evaluations converted to a lower precision is the same."""
        return _equal(self.lowered, other.lowered)


def _equal(first: list[Tensor], second: list[Tensor]) -> bool:
    return len(first) == len(second) and all(map(torch.equal, first, second))


def _between(inputs: Tensor, low: Any, high: Any) -> Tensor:
    """Returns 0, 1 or 2: below both thresholds, between them, above; None is no threshold."""
    place = torch.zeros_like(inputs, dtype=torch.int8)
    for threshold in (low, high):
        if threshold is not None:
            place += inputs > threshold
    return place


def _is_positive(inputs: Tensor, *_: Any, **__: Any) -> Tensor:
    return inputs > 0


def _is_largest(inputs: Tensor, dim: Any = (), keepdim: bool = False) -> Tensor:
    return inputs == inputs.amax(dim, keepdim=True)


def _is_smallest(inputs: Tensor, dim: Any = (), keepdim: bool = False) -> Tensor:
    return inputs == inputs.amin(dim, keepdim=True)


def _is_first_larger(first: Tensor, second: Tensor) -> Tensor:
    return first > second


def _is_near(
    output: Tensor, target: Tensor, reduction: int = 1, beta: float = 1.0, **named: float
) -> Tensor:
    return (output - target).abs() < named.get("delta", beta)


def _are_margins_kept(
    output: Tensor, target: Tensor, p: Any = 1, margin: float = 1.0, *_: Any, **__: Any
) -> Tensor:
    # Of all pairs of classes, more than the loss compares: a coordinate too many is left out.
    return output.unsqueeze(-1) - output.unsqueeze(-2) > margin


_BY_INPUT: Mapping[str, Callable[..., Tensor]] = {
    **dict.fromkeys(
        ["abs", "relu", "leaky_relu", "_prelu_kernel", "rrelu_with_noise", "elu"], _is_positive
    ),
    "clamp": lambda inputs, min=None, max=None: _between(inputs, min, max),  # noqa: A006
    "clamp_min": lambda inputs, low: _between(inputs, low, None),
    "clamp_max": lambda inputs, high: _between(inputs, None, high),
    "hardtanh": lambda inputs, low=-1, high=1: _between(inputs, low, high),
    "threshold": lambda inputs, threshold, value: inputs > threshold,
    **dict.fromkeys(["hardsigmoid", "hardswish"], lambda inputs: _between(inputs, -3, 3)),
    **dict.fromkeys(
        ["softshrink", "hardshrink"], lambda inputs, lambd=0.5: _between(inputs, -lambd, lambd)
    ),
    **dict.fromkeys(["maximum", "minimum", "fmax", "fmin"], _is_first_larger),
    "amax": _is_largest,
    "amin": _is_smallest,
    # Their derivative has no jump, but a kink of its own, which costs a difference its order.
    **dict.fromkeys(["smooth_l1_loss", "huber_loss"], _is_near),
    "multi_margin_loss": _are_margins_kept,
    "multilabel_margin_loss_forward": lambda output, *_: _are_margins_kept(output, output),
}

_BY_POSITION = frozenset(
    {
        *("max", "min", "sort", "topk", "kthvalue", "median", "nanmedian", "mode"),
        *("cummax", "cummin", "max_pool2d_with_indices", "max_pool3d_with_indices"),
        *("adaptive_max_pool2d", "adaptive_max_pool3d"),
        *("fractional_max_pool2d", "fractional_max_pool3d"),
    }
)

_BY_OUTPUT = frozenset(
    {
        *("gt", "ge", "lt", "le", "eq", "ne", "sign", "sgn", "heaviside", "argmax", "argmin"),
        *("round", "floor", "ceil", "trunc", "floor_divide", "bucketize", "searchsorted"),
        *("nonzero", "argsort"),
    }
)
