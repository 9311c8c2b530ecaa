"""What a quick look at a study found, and what to do next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nnstudy.diagnostics.chance import Comparison
from nnstudy.engines.short_training import Course


@dataclass(frozen=True)
class ShortRun:
    """One training at one rate.

    Attributes:
        rate: The learning rate; None where it is not known.
        params: What the recipe was given; empty for the linear model.
        course: How it went.
    """

    rate: float | None
    params: Mapping[str, Any]
    course: Course


@dataclass(frozen=True)
class Learner:
    """A model that was tried at several rates.

    Attributes:
        name: ``linear softmax``, ``linear regression`` or ``recipe``.
        weights: Numbers that it learns; None where they are not known.
        runs: Its trainings.
        best: The one that is judged: the best by the examples that are validated on.
        verdict: That against chance; None where it cannot be judged.
        why_not: What it cannot be judged for, or nothing.
    """

    name: str
    weights: int | None
    runs: tuple[ShortRun, ...]
    best: ShortRun
    verdict: Comparison | None
    why_not: str = ""

    @property
    def better(self) -> bool | None:
        """Whether it is better than chance; None where that cannot be said."""
        if self.verdict is None or not (self.verdict.better or self.verdict.could_be):
            return None
        return self.verdict.better

    def told(self) -> str:
        """Returns the verdict in words."""
        if self.verdict is None:
            return f"not judged: {self.why_not}"
        return f"{_figures(self.verdict)}: {_word(self.better)}"


@dataclass(frozen=True)
class QuickResult:
    """What a quick look at a study found.

    Attributes:
        study: Name of the study.
        classes: Names of the classes; empty for numbers.
        examples: Training examples.
        valid_examples: Examples that were validated on.
        judged_examples: Examples that the verdicts are about.
        passes: Passes over the training examples, at most.
        seconds_each: Seconds of a training, at most.
        linear: The linear model.
        recipe: The recipe where its network is smallest.
        notes: What could not be done.
        seconds: How long it took.
        run_id: MLflow's id of the run.
        tracking: URI of MLflow, its password masked.
    """

    study: str
    classes: tuple[str, ...]
    examples: int
    valid_examples: int
    judged_examples: int
    passes: float
    seconds_each: float
    linear: Learner
    recipe: Learner
    notes: tuple[str, ...]
    seconds: float
    run_id: str
    tracking: str

    @property
    def learners(self) -> tuple[Learner, Learner]:
        """Both models."""
        return self.linear, self.recipe

    @property
    def better(self) -> bool | None:
        """Whether any of them is better than chance; None where that cannot be said."""
        answers = [learner.better for learner in self.learners]
        if any(answers):
            return True
        return None if None in answers else False

    def conclusion(self) -> str:
        """Returns what the two verdicts mean together."""
        if self.recipe.better:
            also = "" if self.linear.better else ", which a linear model does not"
            return f"the recipe learns{also}"
        if self.linear.better:
            if self.recipe.better is None:
                return "there is something to learn; of the recipe it cannot be said"
            return "there is something to learn, and the recipe does not learn it"
        if self.better is None:
            return "it cannot be said whether anything learns"
        return "nothing was seen to learn"

    def next_steps(self) -> Sequence[tuple[str, str]]:
        """Returns commands to go on with, each with what it is for; the first one first."""
        check = ("check", "what is wrong in data, losses and gradients, before any budget is spent")
        rates = ("lr-find", "the rates at which the loss falls at all")
        if self.recipe.better:
            return [check]
        if self.linear.better:
            return [rates, check]
        return [check, rates]

    def cannot_tell(self) -> list[str]:
        """Returns what to change where there are too few examples for an answer."""
        few = [
            learner.name
            for learner in self.learners
            if learner.verdict and learner.better is None and not learner.verdict.could_be
        ]
        if not few:
            return []
        return [
            f"{self.judged_examples} examples are too few for {' and '.join(few)}: not even with"
            " all answers right would the interval leave chance behind. Give more"
            " (--valid-examples), or classes that are about as frequent (--classes)"
        ]


def _figures(verdict: Comparison) -> str:
    interval = f"95 % interval {_number(verdict, verdict.low)} to {_number(verdict, verdict.high)}"
    if verdict.measure == "accuracy":
        return (
            f"{verdict.correct} of {verdict.examples} right, {verdict.value:.1%} ({interval}),"
            f" chance {verdict.chance:.1%}"
        )
    return (
        f"squared errors {verdict.value:.3f} times those of the mean ({interval}), on"
        f" {verdict.examples} examples"
    )


def _number(verdict: Comparison, value: float) -> str:
    return f"{value:.1%}" if verdict.measure == "accuracy" else f"{value:.3f}"


def _word(better: bool | None) -> str:
    if better is None:
        return "cannot be said"
    return "better than chance" if better else "not better than chance"
