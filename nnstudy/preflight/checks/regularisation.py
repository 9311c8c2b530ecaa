"""Whether penalties do what they say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from nnstudy.models import weights
from nnstudy.preflight.candidate import Candidate
from nnstudy.preflight.result import Check, Outcome, Result
from nnstudy.training.optimizers import LossPenalty, make_optimizer
from nnstudy.training.regularisation import penalty

TOLERANCE = 1e-4
"""Relative, of a step in double precision: a decay of 1e-10 of the weight is still exact to it."""

_ADVICE = (
    "The optimizer must be made of the parameters that Recipe(optimizer=...) is handed, in whose"
    " groups the decay is: a function that takes network.parameters() itself, or groups them anew,"
    " loses it. A weight_decay given to the optimizer as well is overruled by the groups'."
)
_Moves = dict[str, tuple[Tensor, Tensor]]
_Words = tuple[Outcome, str, str, dict[str, Any]]
_result = partial(Result, "regularisation", "code")


def run(candidate: Candidate) -> list[Result]:
    """Takes one step with a data gradient of zero, in double precision, and measures it.

    With w of a weight, eta the learning rate, d the decay (``l2`` / n) and s the L1 penalty
    (``l1`` / n), a step is to move weights by ``-eta d w - eta s sgn(w)``, and nothing else at
    all: so do SGD, and decoupled decay as in AdamW (Loshchilov and Hutter 2019). Where the decay
    is part of the gradient (Adam, RMSprop, Nesterov's momentum) the step is to be that of the
    same optimizer, without decay, for the gradient d w. L-BFGS has the penalty as a term of the
    loss, ``d/2 w^2 + s |w|``, of which twice as much is to be twice as large: CS231n, "Learning",
    section "Before learning: sanity checks".
    """
    recipe = replace(candidate.recipe(), max_norm=None, schedule=None)
    network, count = recipe.network.double(), len(candidate.data.train)
    strength = LossPenalty(recipe.weight_decay or recipe.l2 / count, recipe.l1 / count)
    optimizer, term = make_optimizer(recipe, network, count)
    result = partial(_result, params=candidate.params)
    own = max(float(group.get("weight_decay", 0.0)) for group in optimizer.param_groups)
    if not weights(network):
        return [result("skipped", "the network has no weights, only biases and the like")]
    if any(term):
        return [result(*_term_of_the_loss(network, term))]
    if own and not strength.weight_decay:
        return [
            result(
                "told",
                f"{type(optimizer).__name__} has a decay of its own, {own:g}, which acts on biases"
                " and normalisation parameters too; Recipe(weight_decay=...) acts on weights alone",
            )
        ]
    if not any(strength):
        return [result("skipped", "this point of the space has no penalty")]
    try:
        moves = _moves(optimizer, network, gradient=0.0)
    except TypeError as error:
        return [result("skipped", f"{type(optimizer).__name__} wants to be stepped: {error}")]
    return [result(*_judge(candidate, optimizer, network, moves, strength))]


def _term_of_the_loss(network: nn.Module, term: LossPenalty) -> _Words:
    once, twice = (penalty(network, k * term.weight_decay, k * term.l1).item() for k in (1, 2))
    found = f"the penalty adds {once:.4g} to the loss, twice the penalty {twice:.4g}"
    is_right = once > 0 and abs(twice / once - 2) < TOLERANCE
    return "passed" if is_right else "failed", found, "", {"once": once, "twice": twice}


def _judge(
    candidate: Candidate,
    optimizer: Optimizer,
    network: nn.Module,
    moves: _Moves,
    strength: LossPenalty,
) -> _Words:
    is_weight = {id(weight) for weight in weights(network) if weight.requires_grad}
    decaying = [name for name, p in network.named_parameters() if id(p) in is_weight]
    straying = [name for name, (_, move) in moves.items() if name not in decaying and move.any()]
    if straying:
        found = f"with a data gradient of zero a step moves {', '.join(straying)}"
        return "failed", found, _ADVICE, {"straying": straying}
    rates = {id(p): float(g["lr"]) for g in optimizer.param_groups for p in g["params"]}
    rate = {name: rates.get(id(p), 0.0) for name, p in network.named_parameters()}
    decay, l1 = strength
    shift = {name: -rate[name] * l1 * moves[name][0].sign() for name in decaying}
    plain = {name: -rate[name] * decay * moves[name][0] + shift[name] for name in decaying}
    kind = "-lr * decay * w" + (" - lr * l1 / n * sgn(w)" if l1 else "")
    difference, worst = _largest_difference(moves, plain)
    if difference > TOLERANCE and decay:
        part_of_gradient = _moves_for_gradient(candidate, decay)
        expected = {name: part_of_gradient[name][1] + shift[name] for name in decaying}
        difference, worst = _largest_difference(moves, expected)
        kind = f"the step of {type(optimizer).__name__} for a gradient of decay * w"
    figures = {"decay": decay, "l1": l1, "difference": difference, "weights": len(decaying)}
    if difference > TOLERANCE:
        found = (
            f"with a data gradient of zero {worst} does not move as a decay of {decay:.3g} and an"
            f" L1 penalty of {l1:.3g} have it (relative difference {difference:.1e})"
        )
        return "failed", found, _ADVICE, figures
    found = (
        f"with a data gradient of zero {len(decaying)} weights move by {kind} (relative difference"
        f" {difference:.0e}), {len(moves) - len(decaying)} biases and the like not at all"
    )
    return "passed", found, "", figures


def _moves(optimizer: Optimizer, network: nn.Module, gradient: float) -> _Moves:
    """Steps for a gradient proportional to the weights, zero for the rest.

    Returns:
        Each parameter before the step, and its move.
    """
    is_weight = {id(weight) for weight in weights(network)}
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    for parameter in network.parameters():
        factor = gradient if id(parameter) in is_weight else 0.0
        if parameter.requires_grad:
            parameter.grad = factor * parameter.detach()
    optimizer.step()
    return {
        name: (before[name], parameter.detach() - before[name])
        for name, parameter in network.named_parameters()
    }


def _moves_for_gradient(candidate: Candidate, decay: float) -> _Moves:
    """Returns how the same optimizer moves without decay for a gradient of decay times w."""
    recipe = candidate.plain_recipe()
    network = recipe.network.double()
    optimizer, _ = make_optimizer(recipe, network, len(candidate.data.train))
    for group in optimizer.param_groups:
        group["weight_decay"] = 0.0
    return _moves(optimizer, network, gradient=decay)


def _largest_difference(moves: _Moves, expected: Mapping[str, Tensor]) -> tuple[float, str]:
    """Returns the largest relative difference, and whose it is."""
    differences = {
        name: (
            (moves[name][1] - move).norm() / moves[name][1].norm().maximum(move.norm())
        ).nan_to_num()
        for name, move in expected.items()
    }
    worst = max(differences, key=lambda name: differences[name].item(), default="")
    return (differences[worst].item(), worst) if worst else (0.0, "")


CHECK = Check("regularisation", "code", run)
