"""What a gradient check found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from nnstudy.diagnostics.gradient.bands import Band, Bands
from nnstudy.diagnostics.gradient.differences import Comparison

Verdict = Literal["passed", "uncomfortable", "failed"]


@dataclass(frozen=True)
class TensorCheck:
    """What was found for one parameter tensor.

    Attributes:
        name: As in ``model.named_parameters()``.
        worst: The comparison of largest relative error; None where all were left out.
        band: Of that error; None likewise.
        coordinates: How many coordinates were compared.
        kinks: How many comparisons were left out because a kink may have been crossed.
        has_gradient: False if backpropagation does not reach the tensor.
    """

    name: str
    worst: Comparison | None
    band: Band | None
    coordinates: int
    kinks: int
    has_gradient: bool

    @property
    def is_zero(self) -> bool:
        """Whether there was nothing to compare but zeros."""
        return self.worst is not None and self.worst.is_zero

    @property
    def verdict(self) -> Verdict:
        """``failed`` if the gradient is wrong.

        ``uncomfortable`` also if nothing could be compared, or if backpropagation does not
        reach a tensor that the loss depends on, since a ``detach`` may be meant.
        """
        if self.band == "wrong" and self.has_gradient:
            return "failed"
        return "passed" if self.band in ("happy", "fine") else "uncomfortable"


@dataclass(frozen=True)
class GradientCheck:
    """What was found for all of them; ``str`` makes a table of it.

    Attributes:
        tensors: The trainable tensors, in the order of ``model.named_parameters()``.
        frozen: Names of those that need no gradient and were left out.
        without_gradient: Names of those that backpropagation does not reach.
        layers: Layers with weights.
        has_kinks: Whether the objective has kinks.
        bands: The limits that follow from these two.
        scale: What the loss was multiplied by; the figures are those before.
        functions: Names of the custom ``torch.autograd.Function`` classes that take part.
        evaluations: How often the loss was evaluated.
        together: Whether all tensors were only moved at once, since the network is slow.
        penalty: The check of the penalty alone, if one was given.
    """

    tensors: tuple[TensorCheck, ...]
    frozen: tuple[str, ...]
    layers: int
    has_kinks: bool
    bands: Bands
    scale: float
    functions: tuple[str, ...]
    evaluations: int
    together: bool
    penalty: GradientCheck | None = None

    @property
    def verdict(self) -> Verdict:
        """The worse of ``own_verdict`` and that of the penalty."""
        return _worst(self.own_verdict, self.penalty.verdict) if self.penalty else self.own_verdict

    @property
    def own_verdict(self) -> Verdict:
        """The worst verdict of a tensor; ``uncomfortable`` if there are nothing but zeros."""
        start: Verdict = "uncomfortable" if self.is_zero else "passed"
        return _worst(start, *(tensor.verdict for tensor in self.tensors))

    @property
    def is_zero(self) -> bool:
        """Whether all derivatives were zero, so that nothing was checked."""
        return all(tensor.is_zero for tensor in self.tensors)

    @property
    def without_gradient(self) -> tuple[str, ...]:
        """Names of the tensors that backpropagation does not reach."""
        return tuple(tensor.name for tensor in self.tensors if not tensor.has_gradient)

    def of(self, verdict: Verdict) -> tuple[TensorCheck, ...]:
        """Returns the tensors with a verdict, the worst first."""
        found = [tensor for tensor in self.tensors if tensor.verdict == verdict]
        return tuple(sorted(found, key=lambda t: -t.worst.error if t.worst else 0.0))

    def __str__(self) -> str:
        """Returns a table with one line a tensor, and what is to be said beside it."""
        rows = [_HEADER, *(_row(tensor) for tensor in self.tensors)]
        widths = [max(len(row[i]) for row in rows) for i in range(len(_HEADER))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
        kinks = "with" if self.has_kinks else "without"
        limits = self.bands
        lines.append(
            f"{self.own_verdict}: {self.layers} layers with weights, {kinks} kinks; up to"
            f" {limits.happy:g} happy, {limits.fine:g} fine, {limits.uncomfortable:g} uncomfortable"
        )
        if self.is_zero:
            lines.append("all derivatives are zero: nothing could be compared")
        if self.together:
            lines.append("all tensors were moved at once, since the network is slow")
        if self.frozen:
            lines.append(f"frozen: {', '.join(self.frozen)}")
        if self.without_gradient:
            lines.append(f"not reached by backpropagation: {', '.join(self.without_gradient)}")
        if self.penalty:
            lines += ["", "the penalty alone:", str(self.penalty)]
        return "\n".join(lines)


def _worst(*verdicts: Verdict) -> Verdict:
    order: tuple[Verdict, ...] = ("passed", "uncomfortable", "failed")
    return max(verdicts, key=order.index)


_HEADER = ("tensor", "band", "error", "analytic", "numerical", "where", "compared", "kinks")


def _row(tensor: TensorCheck) -> tuple[str, ...]:
    worst = tensor.worst
    if worst is None:
        return (tensor.name, "?", "", "", "", "", "0", str(tensor.kinks))
    where = "direction" if worst.index is None else str(list(worst.index))
    return (
        tensor.name,
        "zero" if tensor.is_zero else tensor.band or "?",
        f"{worst.error:.1e}",
        f"{worst.analytic:.6e}",
        f"{worst.numerical:.6e}",
        where,
        str(tensor.coordinates),
        str(tensor.kinks),
    )
