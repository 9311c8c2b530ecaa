"""Ways to make one answer of several.

Each is a sum over the members, of their probabilities or of something else, and a function that
makes an answer of a sum. So a member more costs one addition, which is what makes greedy
selection quick, and a member that counts twice is one that is added twice.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import softmax

from nnstudy.ensembles.answers import Answers, Array
from nnstudy.errors import UserError
from nnstudy.training.losses import Link

Combine = Literal["probabilities", "logits", "geometric", "weighted", "vote"]

_NOTHING = 1e-4  # a weight with which a network costs its time and changes nothing

LEAST = float(np.finfo(np.float64).eps)
"""Probabilities below this count as this, as in scikit-learn's ``log_loss``."""


def fitting(how: Combine | Literal["weights"], task: str) -> Combine:
    """Returns the way, if it can be gone with a kind of data.

    Raises:
        UserError: If it cannot, or if weights of several networks are to be averaged.
    """
    if how == "weights":
        raise UserError(unrelated("several networks"))
    if task != "classification" and how in ("logits", "geometric", "vote"):
        raise UserError(
            f"--combine {how} is for classes, and these data are numbers: leave it out for their"
            " mean, or give weighted"
        )
    return how


def unrelated(networks: str) -> str:
    """Returns why the weights of networks that were trained apart are not averaged."""
    return (
        f"the weights of {networks} are not averaged, since they were trained apart: each training"
        " puts its hidden units in an order of its own, so that the mean of two is a network that"
        " neither has learnt. Average what they answer (--combine probabilities), or the weights"
        " of one training (--from average)"
    )


def contributions(answers: Answers, how: Combine) -> Array:
    """Returns what each network adds to the sum, ``(M, N, D)``.

    Args:
        answers: Of the networks.
        how: The way: ``probabilities`` and ``weighted`` add probabilities, ``geometric`` their
            logarithms, ``logits`` the scores, ``vote`` a vote, with the probabilities beside
            it. Numbers are added as they are.
    """
    probabilities = answers.probabilities
    if probabilities is None or how == "logits":
        return answers.scores
    if how == "geometric":
        return np.log(np.maximum(probabilities, LEAST))
    if how == "vote":
        votes = np.eye(probabilities.shape[-1])[probabilities.argmax(-1)]
        return np.concatenate([votes, probabilities], axis=-1)
    return probabilities


def answer(total: Array, count: float, how: Combine, *, classes: bool) -> Array:
    """Returns the answer that a sum of ``count`` contributions amounts to.

    Votes are told as ``(votes + mean probability) / (count + 1)``: as if the mean had one vote,
    which it splits. That decides between classes with equally many votes and no others, and no
    class has the probability 0.

    Args:
        total: The sum, ``(..., N, D)``.
        count: How many were added, each as often as it counts.
        how: The way.
        classes: Whether answers are probabilities of classes.

    Returns:
        Probabilities or numbers, ``(..., N, K)``.
    """
    mean = total / count
    if not classes or how in ("probabilities", "weighted"):
        return mean
    if how == "vote":
        votes, probabilities = np.split(mean, 2, axis=-1)
        return (count * votes + probabilities) / (count + 1)
    return np.asarray(softmax(mean, axis=-1))


def combine(answers: Answers, weights: Array, how: Combine) -> Array:
    """Returns one answer of several.

    Args:
        answers: Of M networks.
        weights: ``(M,)``, how often or how much each counts; 0: not at all.
        how: The way.

    Returns:
        Probabilities ``(N, C)``, or numbers ``(N, K)``.
    """
    members = np.flatnonzero(weights)
    total = np.tensordot(weights[members], contributions(answers.of(members), how), axes=1)
    classes = answers.probabilities is not None
    return answer(total, float(weights.sum()), how, classes=classes)


def losses(combined: Array, targets: NDArray[Any]) -> Array:
    """Returns what selection and weights make small: negative log-likelihood, or squared error.

    Args:
        combined: ``(..., N, C)`` probabilities where targets are ``(N,)`` classes, else
            ``(..., N, K)`` numbers.
        targets: The truth.

    Returns:
        Of each example, ``(..., N)``; squared errors are means over the K numbers.
    """
    if targets.ndim == 2:
        return np.asarray(np.square(combined - targets).mean(-1))
    chosen = combined[..., np.arange(len(targets)), targets]
    return np.asarray(-np.log(np.maximum(chosen, LEAST)))


def loss(combined: Array, targets: NDArray[Any]) -> Array:
    """Returns the mean of ``losses`` over the examples, ``(...)``."""
    return np.asarray(losses(combined, targets).mean(-1))


def fit_weights(answers: Answers) -> Array:
    """Returns the weights of the networks, none negative and 1 together, with the least loss.

    The loss of a weighted mean is convex in the weights, so there is one minimum (stacking with
    weights on the simplex: Breiman 1996, "Stacked regressions", for squared errors).

    Args:
        answers: Of M networks.

    Returns:
        ``(M,)``.
    """
    members, targets = len(answers), answers.targets
    if answers.probabilities is None:
        errors = (answers.scores - targets).reshape(members, -1)
        products = errors @ errors.T / errors.shape[1]

        def value(weights: Array) -> tuple[float, Array]:
            gradient = products @ weights
            return float(weights @ gradient), 2 * gradient
    else:
        likelihoods = np.maximum(answers.probabilities[:, np.arange(len(targets)), targets], LEAST)

        def value(weights: Array) -> tuple[float, Array]:
            mixed = weights @ likelihoods
            return float(-np.log(mixed).mean()), -(likelihoods / mixed).mean(-1)

    found = minimize(
        value,
        np.full(members, 1 / members),
        jac=True,
        method="SLSQP",
        bounds=[(0, 1)] * members,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": np.ones_like},
    )
    weights = np.where(found.x < _NOTHING, 0.0, found.x)
    return np.asarray(weights / weights.sum())


def class_probabilities(scores: Array, link: Link) -> Array:
    """Returns probabilities of classes from what a network gives.

    Args:
        scores: ``(..., C)``; ``(..., 1)`` is the score of class 1 of two.
        link: ``softmax``, or ``sigmoid`` where the network learnt each class by itself: then
            the C probabilities are divided by their sum.

    Returns:
        ``(..., C)``, or ``(..., 2)``.
    """
    if scores.shape[-1] == 1:
        scores = np.concatenate([np.zeros_like(scores), scores], axis=-1)
    elif link == "sigmoid":
        scores = -np.logaddexp(0, -scores)  # log sigmoid: scores far below 0 keep their order
    return np.asarray(softmax(scores, axis=-1))
