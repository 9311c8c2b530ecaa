"""Answers of made-up networks, for laws that hold whatever networks answer."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from scipy.special import softmax

from nnstudy.ensembles.answers import Answers


def classifiers(
    members: int, examples: int, classes: int = 3, *, seed: int = 0, skill: float = 1.0
) -> Answers:
    """Networks that know the class to some degree, each with errors of its own."""
    generator = np.random.default_rng(seed)
    targets = generator.integers(classes, size=examples)
    scores = generator.normal(size=(members, examples, classes))
    scores += skill * np.eye(classes)[targets] * generator.uniform(0.2, 1.5, (members, 1, 1))
    scores *= generator.uniform(0.5, 3, (members, 1, 1))
    return Answers(scores, softmax(scores, axis=-1), targets)


def regressors(members: int, examples: int, *, seed: int = 0) -> Answers:
    """Networks that know two numbers, each with errors of its own."""
    generator = np.random.default_rng(seed)
    targets = generator.normal(size=(examples, 2))
    scores = targets + generator.normal(size=(members, examples, 2)) * generator.uniform(
        0.2, 1, (members, 1, 1)
    )
    return Answers(scores, None, targets)


@st.composite
def any_answers(draw: st.DrawFn, least: int = 1, most: int = 6) -> Answers:
    """Of classifiers or regressors, good ones and bad ones."""
    members, examples = draw(st.integers(least, most)), draw(st.integers(1, 25))
    seed = draw(st.integers(0, 10_000))
    if draw(st.booleans()):
        return regressors(members, examples, seed=seed)
    classes, skill = draw(st.integers(2, 4)), draw(st.floats(-1, 6))
    return classifiers(members, examples, classes, seed=seed, skill=skill)
