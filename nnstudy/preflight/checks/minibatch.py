"""Whether a minibatch of one works, and examples do not mix."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from nnstudy.preflight.candidate import Candidate
from nnstudy.preflight.checks.probing import as_tensor, draw
from nnstudy.preflight.result import Check, Result
from nnstudy.training.recipe import Recipe

EXAMPLES = 6
_EXCHANGED = 2  # others come before it and after it

TOLERANCE = 1e-3
"""Of the largest output. Kernels for one example sum in another order, which changes the last
digits of single precision (some 1e-6 of the largest); another example's influence is larger."""

_MIXING = (
    "Something in the forward pass works along the first dimension, which counts the examples: a"
    " softmax, norm, mean or attention over dim=0, a view or reshape in place of a transpose, a"
    " squeeze that drops the minibatch of one. What is learned then depends on who happens to be"
    " in the same minibatch."
)
_result = partial(Result, "minibatch", "code")


def run(candidate: Candidate) -> list[Result]:
    """Asks for the outputs of one example alone and in company.

    In evaluation an output depends on its own example alone. In training the same holds for the
    gradient by the inputs, unless a batch norm is there to mix them: A. Karpathy, "A Recipe for
    Training Neural Networks" (2019), "use backprop to chart dependencies". And where the last
    minibatch of an epoch has one example, training must stand it, which batch norm does not.
    """
    recipe = candidate.plain_recipe()
    is_class = candidate.data.task == "classification"
    inputs, targets = draw(candidate.data.train, EXAMPLES, candidate.device, classes=is_class)
    result = partial(_result, params=candidate.params)
    if len(inputs) <= _EXCHANGED:
        return [result("skipped", f"{len(inputs)} training examples are no company")]
    try:
        with torch.no_grad():
            alone = as_tensor(recipe.network.eval()(inputs[-1:]))
    except (RuntimeError, ValueError, IndexError) as error:
        what = f"one example alone cannot be evaluated: {_first_line(error)}"
        return [result("failed", what, _MIXING)]
    together, changed = _in_company(recipe.network, inputs)
    if alone.shape[1:] != together.shape[1:] or len(alone) != 1:
        shapes = f"{tuple(alone.shape)}, {len(inputs)} of shape {tuple(together.shape)}"
        return [result("failed", f"one example has outputs of shape {shapes}", _MIXING)]
    scale = together.abs().max().clamp(min=1e-30)
    alone_differs = ((alone - together[-1:]).abs().max() / scale).item()
    others = torch.arange(len(inputs)) != _EXCHANGED
    company_differs = ((changed - together)[others].abs().max() / scale).item()
    figures = {"alone": alone_differs, "company": company_differs}
    if not max(alone_differs, company_differs) <= TOLERANCE:
        return [
            result(
                "failed",
                f"in evaluation an output changes by {alone_differs:.1e} of the largest where its"
                f" example is alone, and by {company_differs:.1e} where another is exchanged",
                _MIXING,
                figures,
            )
        ]
    if (leak := _gradient_leak(recipe.network, inputs)) > 0:
        what = f"in training an output has a gradient of {leak:.1e} by another example's inputs"
        return [result("failed", what, _MIXING, figures)]
    last = len(candidate.data.train) % recipe.batch_size or recipe.batch_size
    refusal = _refusal(candidate, recipe, inputs[:1], targets[:1]) if last == 1 else None
    if refusal:
        return [
            result(
                "failed",
                f"{len(candidate.data.train)} training examples in minibatches of"
                f" {recipe.batch_size} leave one for the last, which cannot be trained on: {refusal}",
                "A batch norm cannot tell the spread of one number. Choose minibatch sizes whose"
                " remainder is not 1, or keep one example fewer (--examples), or use LayerNorm"
                " or GroupNorm.",
                figures,
            )
        ]
    return [
        result(
            "passed",
            f"outputs depend on their own example alone (to {max(figures.values()):.0e} of the"
            f" largest); the last minibatch of an epoch has {last}",
            figures=figures,
        )
    ]


@torch.no_grad()
def _in_company(network: nn.Module, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the outputs of all, and those with one example exchanged for the first."""
    exchanged = inputs.clone()
    exchanged[_EXCHANGED] = inputs[0]
    return network(inputs), network(exchanged)


def _gradient_leak(network: nn.Module, inputs: Tensor) -> float:
    """Returns the largest gradient of the others' outputs by one example."""
    mixes = any(isinstance(module, nn.modules.batchnorm._NormBase) for module in network.modules())
    if mixes or not inputs.is_floating_point():
        return 0.0
    inputs = inputs.clone().requires_grad_()
    outputs = network.train()(inputs)
    if not outputs.requires_grad:
        return 0.0
    others = torch.arange(len(inputs)) != _EXCHANGED
    (gradient,) = torch.autograd.grad(outputs[others].sum(), inputs, allow_unused=True)
    return 0.0 if gradient is None else gradient[_EXCHANGED].abs().max().item()


def _refusal(candidate: Candidate, recipe: Recipe, inputs: Tensor, targets: Tensor) -> str | None:
    try:
        candidate.loss(recipe)(recipe.network.train()(inputs), targets)
    except (RuntimeError, ValueError, IndexError) as error:
        return _first_line(error)
    return None


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error) or 'no message').splitlines()[0]}"


CHECK = Check("minibatch", "code", run)
