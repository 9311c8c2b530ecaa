"""The checks, one file each, in the order in which a person would do them."""

from __future__ import annotations

from nnstudy.preflight.checks import (
    activity,
    building,
    chance,
    gradient,
    inputs,
    labels,
    leaks,
    learning,
    minibatch,
    order,
    outputs,
    overfitting,
    regularisation,
    space,
)
from nnstudy.preflight.result import Check

ALL: tuple[Check, ...] = (
    # The data, as the network gets them.
    inputs.CHECK,
    leaks.CHECK,
    order.CHECK,
    # The space.
    space.CHECK,
    building.CHECK,
    # What sampled recipes are before they learn, and whether they can.
    outputs.CHECK,
    *chance.CHECKS,
    activity.CHECK,
    regularisation.CHECK,
    minibatch.CHECK,
    gradient.CHECK,
    *learning.CHECKS,
    overfitting.CHECK,
    labels.CHECK,
)
