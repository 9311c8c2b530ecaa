"""The loop: what it yields, that it can be stopped and continued, and what it refuses."""

from __future__ import annotations

import copy
import itertools
import math
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nnstudy import Callback, EarlyStopping, Recipe, datasets, losses, models, schedules
from nnstudy.data import Data, Split, Subset, load, tensors
from nnstudy.errors import UserError
from nnstudy.training import Diverged, Record, Training
from nnstudy.training.checkpoints import read, write

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def digits() -> Data:
    return load(datasets.digits, Split(), Subset(examples=200, valid_examples=60))


def sgd(lr: float = 0.05, **options: Any) -> Callable[[Any], torch.optim.Optimizer]:
    return partial(torch.optim.SGD, lr=lr, **options)


def make(
    data: Data, *, dropout: float = 0.0, batch_norm: bool = False, seed: int = 0, **fields: Any
) -> Recipe:
    torch.manual_seed(seed)
    network = models.mlp(data.shape, [16], data.outputs, dropout=dropout, batch_norm=batch_norm)
    return Recipe(**{"network": network, "optimizer": sgd(), "batch_size": 32, **fields})


def numbers(records: list[Record]) -> list[tuple[Any, ...]]:
    return [(r.step, r.epoch, r.examples_seen, r.values, r.low_point) for r in records]


def test_training_learns_digits_and_yields_a_record_an_epoch(digits: Data) -> None:
    training = Training(make(digits), digits, epochs=15, device="cpu")

    records = list(training)

    assert [r.step for r in records] == list(range(1, 16))
    assert [r.epoch for r in records] == [float(e) for e in range(1, 16)]
    assert [r.examples_seen for r in records] == [200 * e for e in range(1, 16)]
    assert records[-1].values["accuracy/valid"] > 0.7
    assert records[-1].values["loss/train"] < records[0].values["loss/train"] / 2
    assert training.history == records
    assert training.ended == "epochs"
    assert all(later.seconds > earlier.seconds for earlier, later in itertools.pairwise(records))


def test_validation_every_n_examples_and_fractions_of_an_epoch(digits: Data) -> None:
    often = Training(make(digits), digits, epochs=2, validate_every=64, device="cpu")
    short = Training(make(digits), digits, epochs=0.5, device="cpu")

    records = list(often)

    # 200 examples in minibatches of 32 are 7 an epoch, the last one of 8; a validation comes
    # with the first minibatch that makes 64, 128, 192, ... examples full.
    assert [round(r.epoch * 7) for r in records] == [2, 4, 6, 9, 11, 13, 14]
    assert [r.step for r in records] == [1, 2, 3, 4, 5, 6, 7]
    assert [round(r.epoch * 7) for r in short] == [4]


@pytest.mark.parametrize(
    "fields",
    [
        {"optimizer": sgd(momentum=0.9, nesterov=True), "schedule": schedules.cosine()},
        {"optimizer": partial(torch.optim.AdamW, lr=1e-2), "weight_decay": 1e-2},
        {"optimizer": partial(torch.optim.Adam, lr=1e-2, fused=True), "average": 0.9},
        {"dropout": 0.3, "batch_norm": True, "l1": 1e-2, "max_norm": 2.0, "clip_norm": 1.0},
        {"optimizer": partial(torch.optim.RMSprop, lr=1e-3), "schedule": schedules.plateau()},
        {"schedule": schedules.warmup(schedules.warm_restarts(first=2), epochs=1)},
        {"augmentation": lambda images: images + 0.1 * torch.randn_like(images)},
    ],
    ids=["cosine", "adamw", "fused-ema", "dropout-norms", "plateau", "restarts", "augmented"],
)
@pytest.mark.parametrize("stop_after", [1, 4])
def test_a_training_continued_from_a_file_gives_the_numbers_of_an_undisturbed_one(
    digits: Data, tmp_path: Path, fields: dict[str, Any], stop_after: int
) -> None:
    rule = EarlyStopping(patience=4)

    def training() -> Training:
        return Training(
            make(digits, **fields), digits, epochs=7, seed=3, early_stopping=rule, device="cpu"
        )

    undisturbed = training()
    expected = list(undisturbed)

    first = training()
    records = []
    for record in first:
        records.append(record)
        if record.step == stop_after:
            break
    write(tmp_path / "last.safetensors", first.state_dict())
    random.random(), np.random.rand(3), torch.rand(5)
    second = training()
    second.load_state_dict(read(tmp_path / "last.safetensors")[0])
    records += list(second)

    assert numbers(records) == numbers(expected)
    assert_equal(second.network.state_dict(), undisturbed.network.state_dict())
    assert_equal(
        second.optimizer.state_dict()["state"], undisturbed.optimizer.state_dict()["state"]
    )


@settings(max_examples=10, deadline=None)
@given(minibatch=st.integers(1, 20))
def test_a_training_can_be_continued_after_any_minibatch(minibatch: int) -> None:
    data = load(datasets.digits, Split(), Subset(examples=200, valid_examples=60))
    fields: dict[str, Any] = {"dropout": 0.4, "optimizer": sgd(momentum=0.9)}
    kept: dict[str, Any] = {}

    class Keep(Callback):
        def on_step_end(self, training: Training) -> None:
            if training.position == minibatch:
                kept.update(copy.deepcopy(training.state_dict()))

    expected = list(
        Training(make(data, callbacks=[Keep()], **fields), data, epochs=3, device="cpu")
    )
    continued = Training(make(data, **fields), data, epochs=3, device="cpu")
    continued.load_state_dict(kept)
    list(continued)

    assert numbers(continued.history) == numbers(expected)


def test_what_a_consumer_draws_between_records_changes_nothing(digits: Data) -> None:
    recipe = {"dropout": 0.4}
    quiet = list(Training(make(digits, **recipe), digits, epochs=3, seed=1, device="cpu"))
    noisy = []
    for record in Training(make(digits, **recipe), digits, epochs=3, seed=1, device="cpu"):
        torch.rand(record.step)
        np.random.rand(3)
        noisy.append(record)

    assert numbers(noisy) == numbers(quiet)


def test_seeds_give_different_orders(digits: Data) -> None:
    one = list(Training(make(digits), digits, epochs=1, seed=1, device="cpu"))
    two = list(Training(make(digits), digits, epochs=1, seed=2, device="cpu"))

    assert one[0].values["loss/train"] != two[0].values["loss/train"]


def test_early_stopping_ends_the_training_and_a_cap_limits_it(digits: Data) -> None:
    still = make(digits, optimizer=sgd(lr=1e-12))
    training = Training(
        still, digits, epochs=50, early_stopping=EarlyStopping(patience=3), device="cpu"
    )
    capped = Training(
        make(digits), digits, epochs=50, early_stopping=EarlyStopping(max_epochs=2), device="cpu"
    )

    assert len(list(training)) == 4
    assert training.ended == "early stopping"
    assert len(list(capped)) == 2


def test_a_diverging_loss_names_its_epoch(digits: Data) -> None:
    training = Training(
        make(digits, optimizer=sgd(lr=1e30), loss=losses.Quadratic()),
        digits,
        epochs=3,
        device="cpu",
    )

    with pytest.raises(Diverged, match="epoch 1") as divergence:
        list(training)

    assert divergence.value.epoch == 1


def test_lambda_of_the_sources_is_weight_decay_times_the_number_of_examples(digits: Data) -> None:
    one = Training(make(digits, l2=10.0), digits, epochs=2, device="cpu")
    other = Training(make(digits, weight_decay=10.0 / 200), digits, epochs=2, device="cpu")

    assert numbers(list(one)) == numbers(list(other))


def test_weight_decay_moves_weights_and_leaves_biases(digits: Data) -> None:
    class Silent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.flatten = nn.Flatten()
            self.linear = nn.Linear(64, 10)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            outputs: torch.Tensor = self.linear(self.flatten(images)) * 0.0
            return outputs

    recipe = make(digits, network=Silent(), optimizer=sgd(lr=0.5), weight_decay=0.1, batch_size=200)
    before = copy.deepcopy(recipe.network.state_dict())
    list(Training(recipe, digits, epochs=1, device="cpu"))
    after = recipe.network.state_dict()

    torch.testing.assert_close(after["linear.weight"], before["linear.weight"] * (1 - 0.5 * 0.1))
    assert torch.equal(after["linear.bias"], before["linear.bias"])


def test_lbfgs_fits_a_linear_regression_with_its_penalty() -> None:
    torch.manual_seed(0)
    inputs = torch.randn(80, 3)
    data = load(tensors(inputs, inputs @ torch.tensor([[1.0], [-2.0], [0.5]]), normalise="none"))
    recipe = Recipe(
        network=nn.Linear(3, 1),
        optimizer=partial(torch.optim.LBFGS, lr=1.0, max_iter=20),
        batch_size=len(data.train),
        weight_decay=1e-9,
    )

    records = list(Training(recipe, data, epochs=3, device="cpu"))

    assert records[-1].values["loss/valid"] < 1e-6
    assert "accuracy/valid" not in records[-1].values


def test_gradient_clipping_bounds_the_first_step(digits: Data) -> None:
    recipe = make(digits, optimizer=sgd(lr=1.0), clip_norm=1e-3, batch_size=200)
    before = [p.detach().clone() for p in recipe.network.parameters()]
    list(Training(recipe, digits, epochs=1, device="cpu"))
    moved = [p.detach() - q for p, q in zip(recipe.network.parameters(), before, strict=True)]

    norm = math.sqrt(sum(float((m**2).sum()) for m in moved))

    assert norm == pytest.approx(1e-3, rel=1e-3)


def test_metrics_and_callbacks_of_the_user(digits: Data) -> None:
    calls: list[str] = []

    class Listener:
        def on_train_begin(self, training: Training) -> None:
            calls.append("train begins")

        def on_epoch_begin(self, training: Training) -> None:
            calls.append("epoch begins")

        def on_validation_end(self, training: Training, record: Record) -> None:
            record.values["my/number"] = 42.0

        def on_train_end(self, training: Training) -> None:
            calls.append("train ends")

    def mistakes(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return (outputs.argmax(1) != targets).sum()

    recipe = make(digits, metrics={"mistakes": mistakes}, callbacks=[Listener()])
    record = list(Training(recipe, digits, epochs=2, device="cpu"))[-1]

    assert record.values["mistakes/valid"] == pytest.approx(
        60 * (1 - record.values["accuracy/valid"])
    )
    assert record.values["my/number"] == 42.0
    assert calls == ["train begins", "epoch begins", "epoch begins", "train ends"]


def test_low_points_of_warm_restarts_are_marked(digits: Data) -> None:
    recipe = make(digits, schedule=schedules.warm_restarts(first=2, factor=2))

    records = list(Training(recipe, digits, epochs=6, device="cpu"))

    assert [r.step for r in records if r.low_point] == [2, 6]


def test_a_watched_metric_that_is_missing_is_named_with_those_there_are(digits: Data) -> None:
    training = Training(
        make(digits),
        digits,
        epochs=1,
        early_stopping=EarlyStopping(),
        metric="f1/valid",
        device="cpu",
    )

    with pytest.raises(UserError, match=r"f1/valid.*accuracy/valid"):
        list(training)


def test_mixed_precision_on_the_cpu_is_refused(digits: Data) -> None:
    with pytest.raises(UserError, match="CUDA"):
        Training(make(digits), digits, device="cpu", precision="mixed")


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"batch_size": 0}, "batch_size"),
        ({"weight_decay": 0.1, "l2": 1.0}, "weight_decay or l2"),
        ({"l1": -1.0}, "l1"),
        ({"clip_norm": 0.0}, "clip_norm"),
        ({"average": 1.0}, "average"),
        ({"network": "mlp"}, "network"),
        ({"optimizer": "sgd"}, "optimizer"),
    ],
)
def test_a_recipe_that_cannot_be_meant_is_refused(
    digits: Data, fields: dict[str, Any], named: str
) -> None:
    with pytest.raises(UserError, match=named):
        make(digits, **fields)


def assert_equal(one: Any, other: Any) -> None:
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_equal(one[key], other[key])
    else:
        assert one == other


def test_an_optimizer_without_weight_decay_is_refused_only_where_some_is_asked_for(
    digits: Data,
) -> None:
    class Bare(torch.optim.Optimizer):
        def __init__(self, parameters: Any) -> None:
            super().__init__(parameters, {"lr": 0.1})

    Training(make(digits, optimizer=Bare), digits, device="cpu")
    with pytest.raises(UserError, match="Bare has no weight decay"):
        Training(make(digits, optimizer=Bare, weight_decay=0.1), digits, device="cpu")


def test_max_norm_holds_after_each_step_with_l1_too(digits: Data) -> None:
    recipe = make(digits, optimizer=sgd(lr=0.5), l1=1.0, max_norm=0.5)
    list(Training(recipe, digits, epochs=1, device="cpu"))

    for parameter in recipe.network.parameters():
        if parameter.ndim == 2:
            assert float(parameter.detach().norm(dim=1).max()) <= 0.5 + 1e-6
