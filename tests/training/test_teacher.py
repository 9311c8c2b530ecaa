from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from nnstudy import Recipe, Split, Training
from nnstudy.data import Data, load
from nnstudy.data.augmentation import compose
from nnstudy.data.parts import TensorPart
from nnstudy.errors import UserError
from nnstudy.training import Teacher
from nnstudy.training.losses import BinaryCrossEntropy, Link, class_logits, mean_squared_error
from tests.launching import blobs

LINKS: list[Link] = ["softmax", "sigmoid"]


def minibatch(classes: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Scores of a network, probabilities of a teacher and labels, of five examples."""
    generator = torch.Generator().manual_seed(seed)
    scores, answers = torch.randn(2, 5, classes, generator=generator)
    return scores, (3 * answers).softmax(1), torch.randint(classes, (5,), generator=generator)


def targets_of(teacher: Teacher, labels: Tensor) -> Tensor:
    return teacher.taught(TensorPart(torch.zeros(len(labels), 1), labels)).targets


@given(classes=st.integers(2, 5), seed=st.integers(0, 1000), temperature=st.floats(1, 10))
def test_without_a_say_of_the_teacher_the_loss_is_the_hard_one(
    classes: int, seed: int, temperature: float
) -> None:
    scores, answers, labels = minibatch(classes, seed)
    teacher = Teacher(answers, mix=0, temperature=temperature)
    targets = targets_of(teacher, labels)
    assert torch.equal(teacher.truth(targets), labels)
    assert torch.equal(
        teacher.loss(F.cross_entropy, scores, targets), F.cross_entropy(scores, labels)
    )


@given(
    link=st.sampled_from(LINKS),
    classes=st.integers(2, 5),
    seed=st.integers(0, 1000),
    temperature=st.floats(1, 10),
)
def test_nothing_is_left_to_learn_of_a_teacher_that_answers_as_the_network_does(
    link: Link, classes: int, seed: int, temperature: float
) -> None:
    scores, _, labels = minibatch(classes, seed)
    scores.requires_grad_()
    answers = class_logits(scores, link).softmax(1).detach()
    teacher = Teacher(answers, mix=1, temperature=temperature, link=link)
    loss = teacher.loss(F.cross_entropy, scores, targets_of(teacher, labels))
    (gradient,) = torch.autograd.grad(loss, scores)
    assert loss.item() == pytest.approx(0, abs=1e-5)
    assert gradient.abs().max().item() < 1e-4


@given(classes=st.integers(2, 5), seed=st.integers(0, 1000))
def test_at_a_high_temperature_the_gradient_is_that_of_matching_scores(
    classes: int, seed: int
) -> None:
    # Hinton et al. 2015, section 2.1: (z - v) / (N T^2) for scores with mean 0, here times T^2.
    scores, answers, labels = minibatch(classes, seed)
    scores.requires_grad_()
    teacher = Teacher(answers, mix=1, temperature=1000)
    loss = teacher.loss(F.cross_entropy, scores, targets_of(teacher, labels))
    (gradient,) = torch.autograd.grad(loss, scores)
    apart = scores.detach() - answers.log()
    wanted = (apart - apart.mean(1, keepdim=True)) / (classes * len(labels))
    assert torch.allclose(gradient, wanted, atol=2e-2 * wanted.abs().max().item() + 1e-6)


@given(mix=st.floats(0, 1), seed=st.integers(0, 1000))
def test_the_loss_lies_between_the_hard_and_the_soft_one(mix: float, seed: int) -> None:
    scores, answers, labels = minibatch(3, seed)

    def loss(mix: float) -> float:
        teacher = Teacher(answers, mix=mix, temperature=4)
        return teacher.loss(F.cross_entropy, scores, targets_of(teacher, labels)).item()

    assert loss(mix) == pytest.approx(mix * loss(1) + (1 - mix) * loss(0), rel=1e-4, abs=1e-6)


def test_one_score_of_two_classes_learns_as_two_do() -> None:
    score, answers, labels = torch.randn(5, 1), torch.rand(5, 1), torch.randint(2, (5,))
    answers = torch.cat([1 - answers, answers], dim=1)
    both = torch.cat([torch.zeros(5, 1), score], dim=1)
    losses = []
    for outputs, link in ((score, "sigmoid"), (score.squeeze(1), "sigmoid"), (both, "softmax")):
        teacher = Teacher(answers, mix=1, temperature=2, link=link)  # type: ignore[arg-type]
        losses.append(teacher.loss(BinaryCrossEntropy(), outputs, targets_of(teacher, labels)))
    assert losses[0].item() == pytest.approx(losses[1].item()) == pytest.approx(losses[2].item())


def test_numbers_are_learnt_by_their_squared_distance() -> None:
    outputs, answers, targets = torch.randn(3, 5, 2)
    teacher = Teacher(answers, mix=0.25, link=None)
    taught = teacher.taught(TensorPart(torch.zeros(5, 1), targets))
    assert torch.equal(teacher.truth(taught.targets), targets)
    assert teacher.loss(mean_squared_error, outputs, taught.targets).item() == pytest.approx(
        0.25 * F.mse_loss(outputs, answers).item() + 0.75 * F.mse_loss(outputs, targets).item()
    )


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"mix": 1.5}, "mix"),
        ({"temperature": 0}, "temperature"),
        ({"answers": torch.ones(3)}, "a row for each"),
        ({"answers": torch.full((3, 2), torch.nan)}, "finite"),
    ],
)
def test_what_cannot_be_meant_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        Teacher(**{"answers": torch.ones(3, 2), **fields})


def test_answers_to_other_examples_are_refused() -> None:
    part = TensorPart(torch.zeros(4, 1), torch.tensor([0, 1, 0, 1]))
    with pytest.raises(UserError, match="answers 3 examples, and there are 4"):
        Teacher(torch.ones(3, 2)).taught(part)
    with pytest.raises(UserError, match="numbers alone"):
        Teacher(torch.ones(4, 2), link=None).taught(part)


# -- In a training --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data() -> Data:
    return load(blobs, Split(validation=0.2, selection=0.5))


def training(data: Data, teacher: Teacher | None, **fields: Any) -> Training:
    torch.manual_seed(0)
    recipe = Recipe(
        network=nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Dropout(0.1), nn.Linear(8, 3)),
        optimizer=partial(torch.optim.SGD, lr=0.1),
        batch_size=16,
        teacher=teacher,
        **fields,
    )
    return Training(recipe, data, epochs=3, seed=5, device="cpu")


def values(training: Training) -> list[dict[str, float]]:
    return [record.values for record in training]


def test_a_teacher_without_a_say_changes_no_bit(data: Data) -> None:
    answers = torch.rand(len(data.train), 3).softmax(1)
    assert values(training(data, Teacher(answers, mix=0))) == values(training(data, None))


def test_a_network_learns_what_its_teacher_says_and_is_told_of_by_the_truth(data: Data) -> None:
    wrong = F.one_hot((data.train.targets + 1) % 3, 3).float()
    taught = training(data, Teacher(wrong, mix=1))
    first, *_, last = values(taught)
    # It unlearns the truth, which the curves show, shuffled as the examples are.
    assert last["loss/train"] > first["loss/train"]
    assert last["accuracy/train"] < 1 / 3
    assert last["loss/valid"] > first["loss/valid"]
    outputs = taught.network.eval()(data.train.inputs)  # type: ignore[attr-defined]
    assert (outputs.argmax(1) == wrong.argmax(1)).float().mean() > 0.5


def test_a_taught_training_goes_on_as_if_it_had_not_been_stopped(data: Data) -> None:
    teacher = Teacher(torch.rand(len(data.train), 3).softmax(1), temperature=3)
    noisy = compose(lambda inputs: inputs + 0.1 * torch.randn_like(inputs))
    undisturbed = training(data, teacher, augmentation=noisy)
    wanted = values(undisturbed)
    stopped = training(data, teacher, augmentation=noisy)
    next(iter(stopped))
    other = training(data, teacher, augmentation=noisy)
    other.load_state_dict(stopped.state_dict())
    list(other)
    assert [record.values for record in other.history] == wanted


@settings(max_examples=10, deadline=None)
@given(share=st.sampled_from([0.3, 0.5, 1.0]))
def test_answers_follow_their_examples(data: Data, share: float) -> None:
    part = data.with_share(share).train
    answers = torch.arange(len(part)).float().unsqueeze(1).repeat(1, 3) + 1
    taught = Teacher(answers).taught(part)
    order = taught.order(torch.Generator().manual_seed(1))
    for (inputs, targets), index in zip(
        taught.minibatches(16, order), torch.split(order, 16), strict=True
    ):
        assert torch.equal(inputs, part.inputs[index])  # type: ignore[attr-defined]
        assert torch.allclose(targets[:, 1:].exp(), answers[index])
        assert torch.equal(targets[:, 0].long(), part.targets[index])
