"""The one module answers as what ensembles are chosen and measured by."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from nnstudy.data import Normalisation, TensorPart
from nnstudy.ensembles.answers import Answers
from nnstudy.ensembles.combination import Combine, class_probabilities
from nnstudy.ensembles.packaging.module import (
    ClassCombination,
    EnsembleModule,
    InTurn,
    Normalise,
    NumberCombination,
)
from nnstudy.ensembles.procedure import Fitted
from nnstudy.ensembles.uncertainty import uncertainty
from tests.ensembles.answering import classifiers, regressors

CLASS_COMBINATIONS: list[Combine] = ["probabilities", "logits", "geometric", "weighted", "vote"]


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(CLASS_COMBINATIONS),
    st.integers(1, 6),
    st.integers(2, 5),
    st.floats(0.1, 5),
    st.integers(0, 1000),
)
def test_classes_are_combined_calibrated_and_doubted_alike(
    how: Combine, members: int, classes: int, temperature: float, seed: int
) -> None:
    answers = classifiers(members, 9, classes, seed=seed, skill=4.0)
    generator = np.random.default_rng(seed)
    links = ["sigmoid" if generator.random() < 0.5 else "softmax" for _ in range(members)]
    probabilities = np.stack(
        [class_probabilities(s, link) for s, link in zip(answers.scores, links, strict=True)]
    )
    answers = Answers(answers.scores, probabilities, answers.targets)
    counts = generator.integers(1, 4, members).astype(float)
    fitted = Fitted(counts / counts.sum(), counts, how, temperature)
    weights = torch.from_numpy(counts if how == "vote" else fitted.weights)
    found = ClassCombination(weights, links, how, temperature)(torch.from_numpy(answers.scores))
    doubt = uncertainty(answers, fitted)
    np.testing.assert_allclose(found["probabilities"], fitted.predict(answers).mean, atol=1e-12)
    np.testing.assert_allclose(found["entropy"], doubt.total, atol=1e-10)
    np.testing.assert_allclose(found["disagreement"], doubt.disagreement, atol=1e-10)


def test_numbers_are_combined_alike_in_the_units_of_the_targets() -> None:
    answers = regressors(4, 20, seed=2)
    weights = np.array([0.4, 0.3, 0.2, 0.1])
    fitted = Fitted(weights, weights, "weighted", noise=0.3)
    scale = Normalisation(torch.tensor([5.0, -1.0]).double(), torch.tensor([10.0, 2.0]).double())
    module = NumberCombination(torch.from_numpy(weights), 0.3, scale)
    found = module(torch.from_numpy(answers.scores))
    wanted = fitted.predict(answers)
    np.testing.assert_allclose(found["mean"], wanted.mean * [10, 2] + [5, -1])
    assert wanted.variance is not None
    np.testing.assert_allclose(found["std"], np.sqrt(wanted.variance) * [10, 2])
    plain = NumberCombination(torch.from_numpy(weights), 0.3, None)(
        torch.from_numpy(answers.scores)
    )
    between = plain["disagreement"].square().mean(1)
    np.testing.assert_allclose(between, uncertainty(answers, fitted).disagreement)


@pytest.mark.parametrize(
    "raw",
    [
        torch.arange(0, 240, dtype=torch.uint8).reshape(20, 3, 2, 2),
        torch.rand(20, 5).double() * 1e3 + 1e5,
        torch.arange(60).reshape(20, 3),
    ],
    ids=["bytes", "numbers", "indices"],
)
@pytest.mark.parametrize("mode", ["standardise", "unit", "none"])
def test_inputs_are_normalised_as_those_that_were_learnt_from(raw: Tensor, mode: str) -> None:
    normalisation = Normalisation.fit([raw], mode)  # type: ignore[arg-type]
    part = TensorPart(raw, torch.zeros(20)).normalised(normalisation)
    seen, _ = next(part.minibatches(20))
    found = Normalise(normalisation)(raw)
    assert found.dtype == seen.dtype
    torch.testing.assert_close(found, seen, rtol=1e-5, atol=1e-6)


def test_one_score_of_two_classes_stands_beside_two() -> None:
    class Score(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return inputs[:, 0]

    class Scores(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return torch.stack([0 * inputs[:, 0], inputs[:, 0]], 1)

    combine = ClassCombination(torch.ones(2), ["softmax", "softmax"], "probabilities", 1.0)
    module = EnsembleModule(Normalise(None), InTurn([Score(), Scores()], classes=True), combine)
    inputs = torch.tensor([[-2.0], [0.0], [3.0]])
    found = module(inputs)
    torch.testing.assert_close(found["probabilities"][:, 1], inputs[:, 0].double().sigmoid())
    assert float(found["disagreement"].max()) < 1e-12
