"""The rules, in the order of their importance: when each verdict is given, and what to do then."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nnstudy.diagnostics.verdicts import evidence as e
from nnstudy.diagnostics.verdicts.course import Course
from nnstudy.diagnostics.verdicts.verdict import Finding, Verdict


@dataclass(frozen=True)
class Rule:
    """When a verdict is given.

    Attributes:
        name: Of the verdict.
        find: Returns what speaks for it, or None.
        when: The condition in words, with its thresholds.
        source: Where it is from.
        advice: What to try.
        unless: Verdicts, of rules before this one, that take its place.
    """

    name: str
    find: Callable[[Course], Finding | None]
    when: str
    source: str
    advice: str
    unless: tuple[str, ...] = ()


_BROKEN = ("diverged", "at chance")
_RATE = ("diverged", "learning rate too high", "at chance")

RULES: tuple[Rule, ...] = (
    Rule(
        "diverged",
        e.diverged,
        "the loss became NaN or infinite",
        'CS231n, "Stage your search from coarse to fine"',
        "Divide the learning rate by 10, or clip the gradient.",
    ),
    Rule(
        "learning rate too high",
        e.rate_too_high,
        f"a mean update ratio of at least {e.LARGE_UPDATE:g}, and of {e.LARGE_REACH:g} over all"
        f" steps together; or at least {e.UNSETTLED_UPDATE:g} at the end while the training loss"
        f" rose at {e.BOUNCING:.0%} of the later validations",
        'CS231n, "Loss function" and "Ratio of weights:updates"',
        "Divide the learning rate by 3 to 10.",
        unless=("diverged",),
    ),
    Rule(
        "bad initialisation",
        e.bad_initialisation,
        f"at the first validation a layer saturated to {e.SATURATED_EARLY:.0%} that no update of"
        f" {e.SMALL_UPDATE:g} has made so, or one whose values have a standard deviation below"
        f" {e.QUIET:g}; or a first training loss of {e.LOUD:g} times that of knowing nothing",
        'Survey, on initial weights; CS231n, "Activation / Gradient distributions per layer" and'
        ' "Look for correct loss at chance performance"',
        "Scale the initial weights by the fan-in: he_normal for ReLU, glorot_uniform for tanh and"
        " sigmoid.",
        unless=("diverged", "learning rate too high"),
    ),
    Rule(
        "at chance",
        e.at_chance,
        f"answers at the end that agree with the truth no more than guesses: Cohen's kappa up to"
        f" {e.KAPPA:g}, for classes in equal shares",
        'Nielsen, "Broad strategy"; Cohen 1960',
        "Get a signal first: lower the learning rate and the regularisation by factors of 10, and"
        " try fewer classes, less data, a smaller network.",
        unless=("diverged",),
    ),
    Rule(
        "dead units",
        e.dead_units,
        f"{e.DEAD:.0%} of a layer's ReLU units gave 0 for every validation example at the end",
        'CS231n, "Neural Networks Part 1", on ReLU ("as much as 40 %")',
        "Lower the learning rate; or take leaky ReLU, or he_normal initial weights.",
        unless=("diverged",),
    ),
    Rule(
        "saturated units",
        e.saturated_units,
        f"{e.SATURATED:.0%} of a layer's sigmoid or tanh values were saturated at the end",
        "Glorot and Bengio 2010, section 3",
        "Lower the learning rate, start with smaller weights, or take ReLU or batch normalisation.",
        unless=("diverged",),
    ),
    Rule(
        "learning rate too low",
        e.rate_too_low,
        "the validation loss fell to the end, and the largest mean update ratio over all steps"
        f" together is below {e.SMALL_REACH:g}; or, where the training loss fell smoothly, below"
        f" {e.MIDDLING_REACH:g} if the second half made {e.FALLING:.0%} of its fall and below"
        f" {e.CALM_REACH:g} if it made {e.LINEAR:.0%} (a straight line: 50 %)",
        'CS231n, "Loss function" and "Ratio of weights:updates"',
        "Multiply the learning rate by 3 to 10.",
        unless=("diverged", "learning rate too high", "bad initialisation"),
    ),
    Rule(
        "underfitting",
        e.underfitting,
        f"after {e.FEW} validations or more, training accuracy below {e.CAPABLE:.0%}, a training"
        " error of two thirds of the validation error or more, and less than"
        f" {e.LEARNING:.0%} off the training loss in the last quarter",
        'CS231n, "Train/Val accuracy"',
        "Take a larger network, or less regularisation.",
        unless=(*_RATE, "bad initialisation"),
    ),
    Rule(
        "overfitting",
        e.overfitting,
        f"the validation loss ended {e.RISEN - 1:.0%} above its least while the training loss fell,"
        f" or training accuracy is {100 * e.WIDE_GAP:g} points above validation accuracy",
        'CS231n, "Train/Val accuracy"',
        "Regularise more (weight decay, dropout, augmentation), stop earlier, or collect more data.",
        unless=(*_RATE, "underfitting"),
    ),
    Rule(
        "oscillating",
        e.oscillating,
        f"the training loss rose at {e.BOUNCING:.0%} of the later validations",
        'CS231n, "Annealing the learning rate"',
        "Decay the learning rate over the training: a schedule, or halve it at a plateau.",
        unless=_BROKEN,
    ),
    Rule(
        "minibatch too noisy",
        e.noisy_minibatch,
        f"the minibatch loss wiggled by {e.WIGGLING:.0%} of its mean in the first epoch",
        'CS231n, "Loss function"',
        "Take larger minibatches, or a lower learning rate.",
        unless=_BROKEN,
    ),
    Rule(
        "noisy first layer",
        e.noisy_first_layer,
        f"Geary's C of the first layer's weights over the image is {e.NOISY:g} or more",
        'CS231n, "First-layer Visualizations"; Geary 1954',
        "Train longer or with a better rate, and regularise more.",
        unless=_BROKEN,
    ),
    Rule(
        "plateau",
        e.plateau,
        f"the last quarter took less than {e.STANDSTILL:.0%} off the validation loss, and off the"
        " training loss",
        'CS231n, "Summary"; Nielsen, on early stopping',
        "More epochs bring nothing: lower the rate at the plateau, or stop earlier.",
        unless=("diverged", "learning rate too low"),
    ),
    Rule(
        "still improving when stopped",
        e.still_improving,
        f"the last quarter took {e.IMPROVING:.0%} off the validation loss or more, the end is the"
        " best, and the epochs were over",
        'CS231n, "Stage your search from coarse to fine"',
        "Train longer.",
        unless=_BROKEN,
    ),
    Rule(
        "learning rate about right",
        e.rate_about_right,
        "there are update ratios, and none of the verdicts on the rate or the beginning",
        'CS231n, "Loss function" and "Ratio of weights:updates"',
        "Keep the learning rate, and look at the rest.",
        unless=(*_RATE, "bad initialisation", "learning rate too low"),
    ),
)
"""All rules; one that gives way to others stands behind them."""


def judge(course: Course, rules: Sequence[Rule] = RULES) -> list[Verdict]:
    """Returns the verdicts on a training, the most important first.

    Args:
        course: The training; may lack curves, and have none at all.
        rules: The rules that are asked, in this order.
    """
    verdicts: dict[str, Verdict] = {}
    for rule in rules:
        if any(name in verdicts for name in rule.unless):
            continue
        found = rule.find(course)
        if found is not None:
            figures = {name: float(f) for name, f in found.figures.items() if math.isfinite(f)}
            verdicts[rule.name] = Verdict(rule.name, found.evidence, rule.advice, figures)
    return list(verdicts.values())
