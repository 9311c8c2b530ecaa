"""The loss at initialisation against the loss at chance."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor

from nnstudy.preflight.candidate import Candidate
from nnstudy.preflight.checks.probing import draw, squash, uninformed_outputs
from nnstudy.preflight.result import Check, Result
from nnstudy.training.recipe import Loss
from nnstudy.training.seeds import derived_generator

EXAMPLES = 256

SPREAD = 2.0
"""The largest standard deviation that outputs may have before any learning.

He et al. 2015 (arXiv:1502.01852, section 2.2) start units with a variance of 2 for inputs of
variance 1, the largest of the usual initialisations; twice that leaves room for chance. Standard
normal weights have a variance as large as their number of inputs.
"""

_result = partial(Result, "loss at chance", "configuration")


def run(candidate: Candidate) -> list[Result]:
    """Compares the loss of the untrained network with that of one that knows nothing.

    CS231n, "Learning", section "Before learning: sanity checks": small initial weights mean
    small scores, so that no class is preferred, and the data loss alone should be what chance
    gives. That is ln C for cross-entropy with C classes, ln 2 for each output of a binary
    cross-entropy, margin * (C - 1) for the hinge of Weston and Watkins (divided by C in PyTorch's
    ``MultiMarginLoss``), and for squared errors the second moment of the targets about the
    initial output. It is computed by handing the loss the outputs of a network that knows
    nothing, so that a loss of one's own has one too.

    Outputs of standard deviation ``SPREAD`` about those of no knowledge give the largest loss
    that is let pass.
    """
    classes = candidate.data.task == "classification"
    recipe = candidate.plain_recipe()
    loss = candidate.loss(recipe)
    inputs, targets = draw(candidate.data.train, EXAMPLES, candidate.device, classes=classes)
    knowing_nothing = uninformed_outputs(candidate, inputs)
    with torch.no_grad():
        outputs = recipe.network.train()(inputs)
        base = knowing_nothing if classes else outputs.mean(0, keepdim=True).expand_as(outputs)
        initial, chance = loss(outputs, targets).item(), loss(base, targets).item()
        limit = _largest(loss, base, targets)
    figures = {"initial": initial, "chance": chance, "limit": limit}
    name = _name(chance, base) if classes else "of the targets about the mean initial output"
    found = f"{initial:.4g} before any learning, {chance:.4g} at chance" + (name and f" ({name})")
    if math.isfinite(initial) and not math.isfinite(chance):
        return [
            _result(
                "skipped",
                f"the loss at chance is {chance}: a network without weights has no outputs",
                figures=figures,
                params=candidate.params,
            )
        ]
    if not initial <= limit:
        return [
            _result(
                "failed",
                f"{found}; up to {limit:.4g} would be usual",
                "The initial weights are too large for the number of inputs of each unit, or the"
                " inputs are not normalised: the network is sure of itself before it has seen"
                " anything. Use an initialiser that divides by the square root of the fan-in"
                " (PyTorch's default does), and normalise the inputs.",
                figures,
                candidate.params,
            )
        ]
    best_constant = min(chance, _by_frequency(loss, base, targets)) if classes else chance
    if initial < best_constant / 2:
        return [
            _result(
                "told",
                f"{found}: less than half of what any constant answer gives ({best_constant:.4g})."
                " Weights that were trained before start like this; if these were not, the inputs"
                " hold the answer",
                figures=figures,
                params=candidate.params,
            )
        ]
    return [_result("passed", found, figures=figures, params=candidate.params)]


def _largest(loss: Loss, base: Tensor, targets: Tensor) -> float:
    noise = torch.randn(base.shape, generator=derived_generator(0)).to(base) * SPREAD
    through = squash(base)
    return float(loss(base + noise if through is None else through(noise), targets))


def _by_frequency(loss: Loss, base: Tensor, targets: Tensor) -> float:
    """Returns the loss of answering every class as often as it is there."""
    columns = base.shape[-1] if base.ndim > 1 else 1
    if columns == 1:
        return float(loss(base, targets))
    counts = torch.bincount(targets, minlength=columns)[:columns] + 1
    scores = (counts / counts.sum()).log().to(base).expand_as(base)
    through = squash(base)
    return float(loss(scores if through is None else through(scores), targets))


def _name(chance: float, outputs: Tensor) -> str:
    """Returns which of the well-known losses at chance this is, or nothing."""
    count = outputs.shape[-1] if outputs.ndim > 1 else 1
    known = {
        "ln 2": math.log(2),
        f"ln {count}": math.log(count),
        f"{count} x ln 2": count * math.log(2),
        f"{count} - 1": count - 1,
        f"({count} - 1) / {count}": (count - 1) / count,
    }
    names = [name for name, value in known.items() if math.isclose(value, chance, rel_tol=1e-4)]
    return names[-1] if names else ""


def run_commonest(candidate: Candidate) -> list[Result]:
    """Tells what always giving the same answer scores: what a network has to beat."""
    tell = partial(Result, "commonest class", "statistics")
    data = candidate.data
    if data.task != "classification":
        inputs, targets = draw(data.validation, EXAMPLES, candidate.device, classes=False)
        nothing = uninformed_outputs(candidate, inputs)
        if nothing.numel() != targets.numel():
            return [tell("skipped", "outputs are not one for each number of a target")]
        mean = data.train.targets.mean(0).to(targets).expand_as(targets).reshape(nothing.shape)
        value = candidate.loss(candidate.recipe())(mean, targets).item()
        found = f"always answering the mean has a loss of {value:.4g} on validation examples"
        return [tell("told", found, figures={"loss": value})]
    counts = torch.bincount(data.train.targets, minlength=data.classes or 0)
    commonest = int(counts.argmax())
    share = float((data.validation.targets == commonest).double().mean())
    figures = {
        "classes": int((counts > 0).sum()),
        "commonest": data.class_names[commonest],
        "accuracy": share,
    }
    found = (
        f"{figures['classes']} classes; always answering {data.class_names[commonest]!r}, the"
        f" commonest, has an accuracy of {share:.1%} on the validation part"
    )
    missing = [name for name, count in zip(data.class_names, counts, strict=True) if not count]
    if missing:
        return [
            tell(
                "warned",
                f"{found}. No training example has the class {', '.join(missing)}",
                "A class that is never seen is never learned: shuffle before splitting, or leave"
                " the class out (--classes).",
                figures,
            )
        ]
    return [tell("told", found, figures=figures)]


CHECKS = (
    Check("loss at chance", "configuration", run),
    Check("commonest class", "statistics", run_commonest),
)
