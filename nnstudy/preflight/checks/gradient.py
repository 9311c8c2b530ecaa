"""Whether backpropagation gives the gradient of the loss."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

from nnstudy.diagnostics import GradientCheck, TensorCheck, gradient_check
from nnstudy.errors import UserError
from nnstudy.preflight.candidate import Candidate
from nnstudy.preflight.checks.probing import draw
from nnstudy.preflight.result import Check, Outcome, Result
from nnstudy.training import regularisation
from nnstudy.training.optimizers import make_optimizer

EXAMPLES = 3
"""CS231n, "Learning", section "Gradient Checks": "~2 or 3 datapoints"."""

_NAMED = 3  # tensors whose figures are told

_OUTCOMES: dict[str, Outcome] = {
    "passed": "passed",
    "uncomfortable": "warned",
    "failed": "failed",
}
_result = partial(Result, "gradient", "code")


def run(candidate: Candidate) -> list[Result]:
    """Compares backpropagation with differences of the loss, see ``gradient_check``.

    The loss is that on the data alone. Dropout stays as it is, with the same random numbers at
    each evaluation, so that its gradient is checked too. Where penalties are terms of the loss,
    as with L-BFGS, they are checked apart.
    """
    recipe = candidate.recipe()
    classes = candidate.data.task == "classification"
    batch = draw(candidate.data.train, EXAMPLES, candidate.device, classes=classes)
    try:
        _, strengths = make_optimizer(recipe, recipe.network, len(candidate.data.train))
        penalty = partial(regularisation.penalty, **strengths._asdict())
        check = gradient_check(
            recipe.network.train(),
            candidate.loss(recipe),
            batch,
            penalty=penalty if any(strengths) else None,
            seed=candidate.seed,
        )
    except UserError as error:
        return [_result("skipped", str(error), params=candidate.params)]
    of_data = _judge(check, "loss on the data", candidate)
    return [of_data, _judge(check.penalty, "penalty", candidate)] if check.penalty else [of_data]


def _judge(check: GradientCheck, what: str, candidate: Candidate) -> Result:
    suspects = check.of("failed") or check.of("uncomfortable")
    return _result(
        _OUTCOMES[check.own_verdict],
        f"{what}: {_found(check, suspects)}",
        _advice(check, suspects),
        _figures(check),
        candidate.params,
    )


def _found(check: GradientCheck, suspects: tuple[TensorCheck, ...]) -> str:
    if check.is_zero:
        return "all derivatives are zero, so that there was nothing to compare"
    if suspects:
        shown = "; ".join(_describe(tensor) for tensor in suspects[:_NAMED])
        more = f"; and {len(suspects) - _NAMED} more" if len(suspects) > _NAMED else ""
        return f"{len(suspects)} of {len(check.tensors)} tensors disagree. {shown}{more}"
    largest = max(tensor.worst.error for tensor in check.tensors if tensor.worst)
    zeros = [tensor.name for tensor in check.tensors if tensor.is_zero]
    error = f"up to {largest:.1e}" if largest else "below rounding"
    return (
        f"all {len(check.tensors)} tensors agree{', moved at once' if check.together else ''}, relative errors {error} (fine up to"
        f" {check.bands.fine:g})"
    ) + (f"; zero all over: {', '.join(zeros)}" if zeros else "")


def _describe(tensor: TensorCheck) -> str:
    worst = tensor.worst
    if worst is None:
        return f"{tensor.name}: a kink beside every coordinate"
    where = "along a direction" if worst.index is None else f"at {list(worst.index)}"
    return (
        f"{tensor.name} {where}: {worst.analytic:.4g} by backpropagation, {worst.numerical:.4g} by"
        f" differences, relative error {worst.error:.1e}"
    )


def _advice(check: GradientCheck, suspects: tuple[TensorCheck, ...]) -> str:
    if check.is_zero:
        return "The loss does not move with the weights: look at the loss, and at dead layers."
    if not suspects:
        return ""
    if not any(tensor.has_gradient for tensor in suspects):
        return (
            "The loss depends on these tensors, but backpropagation does not reach them: look for"
            " detach(), .data, item(), numpy() and no_grad() on the way. Freeze them"
            " (requires_grad=False) if they are not meant to learn."
        )
    last = [tensor.name for tensor in check.tensors if tensor in suspects][-1]
    functions = ", ".join(check.functions)
    return (
        f"The backward pass of {last} or of what follows it is probably wrong; what lies before it"
        " in the network is wrong for the same reason. Look at custom autograd functions"
        + (
            f" (here: {functions}), whose inputs torch.autograd.gradcheck tries,"
            if functions
            else ""
        )
        + " and for .data, detach() and numpy() in the forward pass. If the gradient differs on"
        " purpose, as in an estimator that goes straight through a rounding, use --no-preflight."
    )


def _figures(check: GradientCheck) -> dict[str, Any]:
    return {
        "verdict": check.own_verdict,
        "layers": check.layers,
        "has_kinks": check.has_kinks,
        "functions": list(check.functions),
        "frozen": list(check.frozen),
        "without_gradient": list(check.without_gradient),
        "tensors": {tensor.name: _figures_of(tensor) for tensor in check.tensors},
    }


def _figures_of(tensor: TensorCheck) -> dict[str, Any]:
    worst = tensor.worst
    numbers = {
        "error": worst.error if worst else None,
        "analytic": worst.analytic if worst else None,
        "numerical": worst.numerical if worst else None,
    }
    finite = {
        name: value if value is not None and math.isfinite(value) else None
        for name, value in numbers.items()
    }
    return {
        "verdict": tensor.verdict,
        **finite,
        "coordinates": tensor.coordinates,
        "kinks": tensor.kinks,
    }


CHECK = Check("gradient", "code", run)
