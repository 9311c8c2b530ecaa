"""What speaks for each verdict: one function each, and the thresholds.

A threshold without another source is ours, tuned on one part of the trainings of
``benchmarks/verdicts.py``, whose other part tells how often the rules are right.
"""

from __future__ import annotations

import math

from nnstudy.diagnostics.verdicts.course import Course, at
from nnstudy.diagnostics.verdicts.verdict import Finding

LARGE_UPDATE = 0.1
"""Update ratio from which a rate is too high, 100 times the rough target of CS231n."""
LARGE_REACH = 10.0
"""Reach (``Course.reach``) up to which large updates may be meant, as those of L-BFGS."""
UNSETTLED_UPDATE = 0.008
"""Update ratio at the end that is too high where the training loss bounces."""
SMALL_REACH = 4.0
"""Reach below which weights went nowhere: 4,000 steps at the rough target of 1e-3."""
MIDDLING_REACH = 10.0
"""Reach below which a training loss that still falls means too low a rate."""
CALM_REACH = 40.0
"""Reach below which a training loss that falls linearly does."""
FALLING = 0.05
"""Share of the fall in the second half of the training from which the loss still falls."""
LINEAR = 0.25
"""The same from which it falls rather linearly; a half of it is a straight line."""
BOUNCING = 0.3
"""Share of rising steps in the second half from which the loss bounces; 0.5 is wandering."""
SMOOTH = 0.1
"""The same up to which the loss is smooth."""
BEST = 1.02
"""Last over least validation loss up to which the last is the best, but for noise."""
KAPPA = 0.05
"""Agreement of answers with the truth, beyond guessing, up to which they are guesses."""
ERODING = 0.01
"""Share of the weights that weight decay takes at a step from which it is worth a word."""
DEAD = 0.4
"""Share of dead units of a layer at the end."""
SATURATED = 0.8
"""Share of saturated values of a layer at the end."""
SATURATED_EARLY = 0.5
"""The same at the first validation, when a healthy network is not yet sure of anything."""
SMALL_UPDATE = 0.03
"""Update ratio below which the first epoch did not saturate what had not begun so."""
LOUD = 1.25
"""First training loss, in losses of knowing nothing, from which initial weights are too large."""
QUIET = 0.01
"""Standard deviation of a layer's values at the first validation that says next to nothing."""
CAPABLE = 0.9
"""Training accuracy from which a network is large enough for its data."""
FEW = 4
"""Validations before which it is too early to call a network too small."""
LEARNING = 0.1
"""Share of the training loss gained in the last quarter from which a network still learns."""
TRACKING = 2 / 3
"""Share of the training error in the validation error from which the one tracks the other."""
RISEN = 1.05
"""Last over least validation loss from which it has risen again."""
WIDE_GAP = 0.1
"""Training minus validation accuracy from which the gap is wide."""
WIGGLING = 0.5
"""Wiggle of the minibatch loss from which steps are mostly noise."""
NOISY = 0.9
"""Noise of the first layer from which nothing is seen in it; random weights have 1."""
STANDSTILL = 0.01
"""Share of the validation loss gained in the last quarter below which nothing moves."""
IMPROVING = 0.03
"""The same from which more epochs are worth their time."""


def diverged(course: Course) -> Finding | None:
    if course.ended != "diverged":
        return None
    epoch = math.floor(course.epochs) + 1
    return Finding(f"the loss became NaN or infinite at epoch {epoch}", {"epoch": epoch})


def rate_too_high(course: Course) -> Finding | None:
    largest, reach, rises = course.largest_update, course.reach, course.rises
    if largest is None:
        return None
    if largest >= LARGE_UPDATE and (reach is None or reach >= LARGE_REACH):
        return Finding(
            f"steps changed the weights by {largest:.2g} of their size; about 0.001 is usual",
            {"update_ratio": largest},
        )
    last = course.update_ratio[-1][1]
    if rises is not None and rises >= BOUNCING and last >= UNSETTLED_UPDATE:
        return Finding(
            f"the training loss rose at {rises:.0%} of the later validations, and steps still"
            f" changed the weights by {last:.2g} of their size",
            {"rises": rises, "update_ratio": last},
        )
    return None


def bad_initialisation(course: Course) -> Finding | None:
    saturated, spread = course.first("saturated", max), course.first("activation_std", min)
    largest = course.largest_update
    if (
        saturated is not None
        and saturated[1] >= SATURATED_EARLY
        and (largest is None or largest < SMALL_UPDATE)
    ):
        layer, share = saturated
        return Finding(
            f"{share:.0%} of layer {layer} were saturated at the first validation",
            {"saturated": share},
        )
    if course.chance_loss and course.train_loss:
        loss = course.train_loss[0][1]
        if loss >= LOUD * course.chance_loss:
            times = loss / course.chance_loss
            return Finding(
                f"the first training loss was {loss:.3g}, {times:.2g} times that of knowing nothing",
                {"loss": loss},
            )
    if spread is not None and spread[1] < QUIET:
        layer, deviation = spread
        return Finding(
            f"layer {layer} gave nearly the same for every example at the first validation"
            f" (standard deviation {deviation:.1g})",
            {"activation_std": deviation},
        )
    return None


def at_chance(course: Course) -> Finding | None:
    curve = course.curve("accuracy/train") or course.curve("accuracy/valid")
    if not curve or course.chance is None:
        return None
    accuracy, chance = curve[-1][1], course.chance
    if (accuracy - chance) / (1 - chance) > KAPPA:
        return None
    evidence = f"accuracy was {accuracy:.1%} at the end; guessing has {chance:.1%}"
    decay = course.decay_per_step or 0.0
    if decay >= ERODING:
        evidence += f". Weight decay takes {decay:.0%} of the weights at each step"
    return Finding(evidence, {"accuracy": accuracy, "decay_per_step": decay})


def dead_units(course: Course) -> Finding | None:
    worst = course.last("dead", max)
    if worst is None or worst[1] < DEAD:
        return None
    layer, share = worst
    return Finding(f"{share:.0%} of the units of layer {layer} gave nothing but 0", {"dead": share})


def saturated_units(course: Course) -> Finding | None:
    worst = course.last("saturated", max)
    if worst is None or worst[1] < SATURATED:
        return None
    layer, share = worst
    return Finding(f"{share:.0%} of layer {layer} were saturated at the end", {"saturated": share})


def rate_too_low(course: Course) -> Finding | None:
    fall, reach = course.late_fall, course.reach
    smooth = course.rises is None or course.rises <= SMOOTH
    if fall is None or not course.ends_best(BEST):
        return None
    if reach is None:
        slow = smooth and fall >= LINEAR
    else:
        slow = reach < SMALL_REACH or (
            smooth
            and (
                (reach < MIDDLING_REACH and fall >= FALLING)
                or (reach < CALM_REACH and fall >= LINEAR)
            )
        )
    if not slow:
        return None
    evidence = f"the second half of the training made {fall:.0%} of the fall of the loss"
    figures = {"late_fall": fall}
    if course.largest_update is not None:
        evidence += f", with steps of at most {course.largest_update:.1g} of the weights' size"
        figures["update_ratio"] = course.largest_update
    return Finding(evidence, figures)


def underfitting(course: Course) -> Finding | None:
    train, valid = course.curve("accuracy/train"), course.curve("accuracy/valid")
    gain = course.late_train_gain
    if len(train) < FEW or not valid or (gain is not None and gain >= LEARNING):
        return None
    reached, validated = train[-1][1], valid[-1][1]
    if reached >= CAPABLE or 1 - reached < TRACKING * (1 - validated):
        return None
    return Finding(
        f"training accuracy was {reached:.1%} at the end, validation accuracy {validated:.1%}",
        {"train": reached, "valid": validated},
    )


def overfitting(course: Course) -> Finding | None:
    train, valid, gap = course.train_loss, course.valid_loss, course.gap
    if len(train) > 1 and len(valid) > 1:
        epoch, least = min(valid, key=lambda point: point[1])
        last = valid[-1][1]
        if 0 < RISEN * least <= last and train[-1][1] < at(train, epoch):
            return Finding(
                f"the validation loss rose from {least:.3g} at epoch {epoch:g} to {last:.3g},"
                " while the training loss fell",
                {"epoch": epoch, "least": least, "last": last},
            )
    if gap is not None and gap >= WIDE_GAP:
        return Finding(
            f"training accuracy was {100 * gap:.1f} points above validation accuracy",
            {"gap": gap},
        )
    return None


def oscillating(course: Course) -> Finding | None:
    rises = course.rises
    if rises is None or rises < BOUNCING:
        return None
    return Finding(
        f"the training loss rose at {rises:.0%} of the later validations", {"rises": rises}
    )


def noisy_minibatch(course: Course) -> Finding | None:
    wiggle = course.curve("wiggle/loss")
    if not wiggle or wiggle[0][1] < WIGGLING:
        return None
    return Finding(
        f"the loss wiggled from minibatch to minibatch by {wiggle[0][1]:.0%} of its mean",
        {"wiggle": wiggle[0][1]},
    )


def noisy_first_layer(course: Course) -> Finding | None:
    noise = course.first_layer_noise
    if noise is None or noise < NOISY:
        return None
    return Finding(
        f"neighbouring weights of the first layer were as different as random ones ({noise:.2f},"
        " where random is 1 and smooth 0)",
        {"noise": noise},
    )


def plateau(course: Course) -> Finding | None:
    gain, train_gain = course.late_gain, course.late_train_gain
    if gain is None or gain >= STANDSTILL:
        return None
    if train_gain is not None and train_gain >= STANDSTILL:
        return None
    return Finding(
        f"the last quarter of the training took {max(0.0, gain):.1%} off the validation loss, and"
        " no more off the training loss",
        {"gain": gain} | ({} if train_gain is None else {"train_gain": train_gain}),
    )


def still_improving(course: Course) -> Finding | None:
    gain = course.late_gain
    if course.ended not in ("epochs", "stopped") or not course.ends_best(BEST):
        return None
    if gain is None or gain < IMPROVING:
        return None
    return Finding(
        f"the last quarter of the training took {gain:.1%} off the validation loss", {"gain": gain}
    )


def rate_about_right(course: Course) -> Finding | None:
    largest, fall = course.largest_update, course.late_fall
    if largest is None or fall is None:
        return None
    return Finding(
        f"the first half of the training made {1 - fall:.0%} of the fall of the loss, with steps"
        f" of at most {largest:.1g} of the weights' size",
        {"late_fall": fall, "update_ratio": largest},
    )
