"""Plans: stages that follow a recipe of the literature, ready to be launched."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from nnstudy.errors import UserError
from nnstudy.study.stage import Stage

ONE_AT_A_TIME = "one-at-a-time"

_MOST_DECADES = 12
_ROLES = {
    "rate": ("the learning rate", ("lr", "learning_rate", "eta", "rate", "alpha", "step_size")),
    "decay": (
        "the weight decay",
        ("weight_decay", "lmbda", "lambda", "lam", "l2", "decay", "wd", "l2_penalty"),
    ),
    "batch_size": (
        "the size of the minibatch",
        ("batch_size", "minibatch_size", "mini_batch_size", "minibatch", "batch"),
    ),
}


def one_at_a_time(
    rate: str = "lr",
    decay: str | None = "weight_decay",
    batch_size: str | None = None,
    *,
    epochs: float = 10,
    trials: int = 20,
    sampler: str | Any = "tpe",
    pruner: str | Any = "median",
) -> tuple[Stage, ...]:
    """Returns stages that search as a person would who changes one thing at a time.

    First the order of magnitude of the learning rate, without weight decay; then that of the
    decay, at the best rate; then, if it is asked for, the size of the minibatch, by elapsed time;
    then rate and decay together, finer, within a factor of ten of the best. All other parameters are held at the study's ``start``. (M. Nielsen, "Neural Networks and Deep
    Learning", chapter 3, "How to choose a neural network's hyper-parameters?", where lambda is
    divided by the number of training examples, as ``Recipe(l2=...)`` is.)

    Args:
        rate: Parameter that is the learning rate, on a log scale.
        decay: Parameter that is the weight decay, on a log scale; None: there is none.
        batch_size: Parameter that is the size of the minibatch; None: it is not searched.
        epochs: Largest number of epochs of every trial.
        trials: Of the last stage; the others have as many as they have points.
        sampler: Of the last stage.
        pruner: Of the last stage.
    """
    decades: dict[str, Any] = {
        "trials": _MOST_DECADES,
        "epochs": epochs,
        "sampler": "grid",
        "sampler_options": {"points": "decades"},
        "pruner": "none",
    }
    stages = [Stage("rate", only=[rate], hold={decay: 0} if decay else {}, **decades)]
    if decay:
        stages.append(Stage("decay", only=[decay], **decades))
    if batch_size:
        stages.append(Stage("minibatch", epochs=epochs, only=[batch_size], scaled=[rate]))
    last = Stage(
        "refine",
        trials=trials,
        epochs=epochs,
        sampler=sampler,
        pruner=pruner,
        only=[rate, decay] if decay else [rate],
        around=10,
    )
    return (*stages, last)


def planned(
    plan: str, options: Mapping[str, Any], parameters: Collection[str], stages: Sequence[Stage]
) -> tuple[tuple[Stage, ...], str]:
    """Returns the stages of a plan for a study, and in words which parameters it took for what.

    Args:
        plan: Its name.
        options: Names of parameters by what they are, ``{"rate": "lr_sgd", "decay": None}``, and
            ``trials`` of the last stage; what is left out is told by the parameters' names.
        parameters: What the recipe asks for.
        stages: The study's own, whose longest training is taken over.

    Raises:
        UserError: If there is no such plan or option, or it cannot be told which parameter is
            meant.
    """
    if plan != ONE_AT_A_TIME:
        raise UserError(f"there is no plan {plan!r}; there is: {ONE_AT_A_TIME}")
    if unknown := [name for name in options if name not in (*_ROLES, "trials")]:
        known = ", ".join((*_ROLES, "trials"))
        raise UserError(f"the plan {plan} has no option {unknown[0]!r}; it has: {known}")
    roles = {role: _parameter(role, options, parameters) for role in _ROLES}
    taken = {name: role for role, name in roles.items() if name is not None}
    if len(taken) < sum(name is not None for name in roles.values()):
        raise UserError(f"the plan {plan} needs a parameter of its own for each of {roles}")
    trials = options.get("trials", 20)
    if type(trials) is not int:
        raise UserError(f"the plan's trials must be a whole number, got {trials!r}")
    rate = roles["rate"]
    assert rate is not None
    epochs = max(stage.epochs for stage in stages)
    made = one_at_a_time(rate, roles["decay"], roles["batch_size"], epochs=epochs, trials=trials)
    told = ", ".join(f"{name} is {_ROLES[role][0]}" for name, role in taken.items())
    return made, f"plan {plan}: {told}; stages {', '.join(stage.name for stage in made)}"


def _parameter(role: str, options: Mapping[str, Any], parameters: Collection[str]) -> str | None:
    """Returns the parameter that has a role, None where there is none and need be none."""
    what, usual = _ROLES[role]
    asked = f"The recipe asks for: {', '.join(parameters) or 'none'}"
    if role in options:
        name = options[role]
        if name is None and role != "rate":
            return None
        if name not in parameters:
            close = get_close_matches(str(name), parameters, n=1)
            hint = f" Did you mean {close[0]}?" if close else ""
            raise UserError(
                f"--plan-option {role}={name}: there is no such parameter.{hint} {asked}"
            )
        return str(name)
    found = [name for name in parameters if name.lower().rstrip("_") in usual]
    if len(found) == 1:
        return found[0]
    if not found and role == "batch_size":
        return None
    none = "" if role == "rate" else f", or {role}=null to leave it out"
    raise UserError(f"which parameter is {what}? {asked}. Say --plan-option {role}=NAME{none}")
