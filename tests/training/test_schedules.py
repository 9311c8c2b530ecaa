from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts, ReduceLROnPlateau, StepLR

from nnstudy.errors import UserError
from nnstudy.training import schedules
from nnstudy.training.recipe import Steps
from nnstudy.training.schedules import MakeSchedule, RunningSchedule, adapt, low_point

LR = 0.2

EVERY: dict[str, Callable[[], MakeSchedule]] = {
    "constant": schedules.constant,
    "step": lambda: schedules.step(every=2, factor=0.5),
    "exponential": lambda: schedules.exponential(0.3),
    "inverse_time": lambda: schedules.inverse_time(0.3),
    "plateau": lambda: schedules.plateau(patience=1),
    "cosine": schedules.cosine,
    "warm_restarts": lambda: schedules.warm_restarts(first=1, factor=2),
    "one_cycle": schedules.one_cycle,
    "momentum": schedules.momentum,
    "warmup of cosine": lambda: schedules.warmup(schedules.cosine(), epochs=1.5),
    "warmup of plateau": lambda: schedules.warmup(schedules.plateau(patience=0), epochs=1.5),
    "warmup of restarts": lambda: schedules.warmup(schedules.warm_restarts(), epochs=1),
    "warmup of one_cycle": lambda: schedules.warmup(schedules.one_cycle(), epochs=0.5),
    "together": lambda: schedules.together(
        schedules.warmup(schedules.plateau(patience=0)), schedules.momentum()
    ),
}


def sgd(lr: float = LR, **settings: Any) -> Optimizer:
    settings = {"momentum": 0.9} | settings
    groups = [{"params": [nn.Parameter(torch.zeros(1))]}, {"params": [nn.Parameter(torch.ones(1))]}]
    return torch.optim.SGD(groups, lr=lr, **settings)


def start(make: MakeSchedule, epochs: int, per_epoch: int, optimizer: Optimizer) -> RunningSchedule:
    return adapt(make(optimizer, Steps(epochs * per_epoch, per_epoch)))


def rates(make: MakeSchedule, epochs: int = 6, per_epoch: int = 4) -> list[float]:
    """The rate that each minibatch is trained with, and the one after the last."""
    optimizer = sgd()
    schedule = start(make, epochs, per_epoch, optimizer)
    seen = [optimizer.param_groups[0]["lr"]]
    for _ in range(epochs * per_epoch):
        optimizer.step()
        schedule.step()
        assert optimizer.param_groups[0]["lr"] == optimizer.param_groups[1]["lr"]
        seen.append(optimizer.param_groups[0]["lr"])
    return seen


def test_constant_keeps_the_rate() -> None:
    assert set(rates(schedules.constant())) == {LR}


def test_step_multiplies_every_so_many_epochs() -> None:
    wanted = [LR * 0.5 ** (t // 8) for t in range(25)]
    assert rates(schedules.step(every=2, factor=0.5)) == pytest.approx(wanted)


def test_exponential_is_its_formula_in_epochs() -> None:
    wanted = [LR * math.exp(-0.3 * t / 4) for t in range(25)]
    assert rates(schedules.exponential(0.3)) == pytest.approx(wanted)


def test_inverse_time_is_its_formula_in_epochs() -> None:
    wanted = [LR / (1 + 0.3 * t / 4) for t in range(25)]
    assert rates(schedules.inverse_time(0.3)) == pytest.approx(wanted)


def test_cosine_ends_at_the_lowest_rate() -> None:
    wanted = [0.01 + (LR - 0.01) * (1 + math.cos(math.pi * t / 24)) / 2 for t in range(25)]
    assert rates(schedules.cosine(lowest=0.01)) == pytest.approx(wanted)


def test_warm_restarts_make_each_cycle_longer() -> None:
    wanted = [LR * (1 + math.cos(math.pi * t / 4)) / 2 for t in range(4)]
    wanted += [LR * (1 + math.cos(math.pi * t / 8)) / 2 for t in range(8)]
    assert rates(schedules.warm_restarts(first=1, factor=2), epochs=3)[:12] == pytest.approx(wanted)


@pytest.mark.parametrize("warmup", [0, 1])
def test_low_points_are_where_cycles_of_warm_restarts_end(warmup: int) -> None:
    optimizer = sgd()
    make = schedules.together(
        schedules.warmup(schedules.warm_restarts(first=1, factor=2), epochs=warmup),
        schedules.momentum(),
    )
    schedule = start(make, 8, 4, optimizer)
    low = [low_point(schedule)]
    for _ in range(32):
        optimizer.step()
        schedule.step()
        low.append(low_point(schedule))
    ends = [4, 12, 28] if not warmup else [8, 16, 32]
    assert [t for t, is_low in enumerate(low) if is_low] == ends


def test_low_point_knows_pytorchs_own_scheduler_and_no_other() -> None:
    optimizer = sgd()
    restarts = CosineAnnealingWarmRestarts(optimizer, 1)
    other = adapt(StepLR(optimizer, 1))
    optimizer.step()
    restarts.step()
    other.step()
    assert low_point(restarts)
    assert not low_point(other)


def test_one_cycle_rises_to_the_optimizers_rate_and_falls_below_the_first() -> None:
    optimizer = sgd()
    schedule = start(schedules.one_cycle(rise=0.25), 10, 8, optimizer)
    seen = []
    for _ in range(80):
        seen.append((optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["momentum"]))
        optimizer.step()
        schedule.step()
    assert seen[0] == pytest.approx((LR / 25, 0.95))
    assert seen[19] == pytest.approx((LR, 0.85))
    assert seen[79] == pytest.approx((LR * 4e-6, 0.95))
    # Smith and Topin's shape with cosine annealing, as in PyTorch's documentation.
    half = LR / 25 + (LR - LR / 25) * (1 - math.cos(math.pi * 10 / 19)) / 2
    assert seen[10][0] == pytest.approx(half)


def test_one_cycle_gives_no_momentum_to_an_optimizer_that_has_none() -> None:
    optimizer = sgd(momentum=0)
    start(schedules.one_cycle(), 2, 2, optimizer)
    assert optimizer.param_groups[0]["momentum"] == 0
    start(schedules.one_cycle(), 2, 2, torch.optim.Adagrad([nn.Parameter(torch.zeros(1))], lr=0.1))


@given(total=st.integers(1, 60), rise=st.floats(0.01, 0.99) | st.just(0.25) | st.just(0.5))
def test_one_cycle_takes_any_number_of_steps(total: int, rise: float) -> None:
    seen = rates(schedules.one_cycle(rise=rise), epochs=1, per_epoch=total)
    assert all(math.isfinite(rate) and 0 <= rate <= LR * (1 + 1e-6) for rate in seen[:-1])


def test_plateau_halves_when_the_validation_loss_stops_improving() -> None:
    optimizer = sgd()
    schedule = start(schedules.plateau(factor=0.5, patience=1), 6, 4, optimizer)
    seen = []
    for loss in [1.0, 0.9, 0.95, math.nan, 0.9, 0.9]:
        for _ in range(4):
            optimizer.step()
            schedule.step()
        schedule.validated(loss)
        seen.append(optimizer.param_groups[0]["lr"])
    assert seen == [LR, LR, LR, LR / 2, LR / 2, LR / 4]


def test_a_users_plateau_scheduler_is_stepped_once_a_validation() -> None:
    optimizer = sgd()
    schedule = adapt(ReduceLROnPlateau(optimizer, factor=0.1, patience=0))
    schedule.validated(1.0)
    schedule.step()
    schedule.step()
    assert optimizer.param_groups[0]["lr"] == LR
    schedule.validated(1.0)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(LR / 10)


def test_warmup_rises_linearly_and_then_the_other_schedule_has_the_rest() -> None:
    seen = rates(schedules.warmup(schedules.cosine(), epochs=1))
    assert seen[:4] == pytest.approx([LR * (t + 1) / 5 for t in range(4)])
    wanted = [LR * (1 + math.cos(math.pi * t / 20)) / 2 for t in range(21)]
    assert seen[4:] == pytest.approx(wanted, abs=1e-12)


def test_warmup_without_length_changes_nothing() -> None:
    assert rates(schedules.warmup(schedules.cosine(), epochs=0)) == rates(schedules.cosine())


def test_warmup_longer_than_the_training_only_rises() -> None:
    seen = rates(schedules.warmup(schedules.one_cycle(), epochs=100), epochs=2)
    assert seen == sorted(seen)


def test_validations_in_the_warmup_do_not_count_for_a_plateau() -> None:
    optimizer = sgd()
    make = schedules.warmup(schedules.plateau(patience=0), epochs=2)
    schedule = start(make, 6, 4, optimizer)
    seen = []
    for loss in [0.1, 5.0, 1.0, 1.0]:
        for _ in range(4):
            schedule.step()
        schedule.validated(loss)
        seen.append(optimizer.param_groups[0]["lr"])
    # The second validation falls on the warm-up's end and sets the mark; the third betters it.
    assert seen == pytest.approx([LR * 5 / 9, LR, LR, LR / 2])


def test_warmup_writes_into_a_rate_that_is_a_tensor() -> None:
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.Adam([parameter], lr=torch.tensor(LR))
    rate = optimizer.param_groups[0]["lr"]
    schedule = start(schedules.warmup(schedules.constant(), epochs=1), 2, 3, optimizer)
    assert float(rate) == pytest.approx(LR / 4)
    schedule.step()
    assert float(rate) == pytest.approx(LR / 2)
    assert optimizer.param_groups[0]["lr"] is rate


def test_momentum_is_annealed_linearly_from_the_first_step_to_the_last() -> None:
    optimizer = sgd(momentum=0.5, nesterov=True)
    schedule = start(schedules.momentum(0.5, 0.99), 2, 8, optimizer)
    seen = []
    for _ in range(16):
        seen.append(optimizer.param_groups[0]["momentum"])
        schedule.step()
    assert seen == pytest.approx([0.5 + 0.49 * t / 15 for t in range(16)])
    schedule.step()
    assert optimizer.param_groups[1]["momentum"] == 0.99


def test_momentum_may_end_before_the_training_does() -> None:
    optimizer = sgd()
    schedule = start(schedules.momentum(0.5, 0.9, epochs=1), 3, 5, optimizer)
    for _ in range(4):
        schedule.step()
    assert optimizer.param_groups[0]["momentum"] == pytest.approx(0.9)


def test_momentum_of_adam_is_its_first_beta() -> None:
    optimizer = torch.optim.Adam([nn.Parameter(torch.zeros(1))], betas=(0.9, 0.95))
    start(schedules.momentum(0.5, 0.99), 2, 8, optimizer)
    assert optimizer.param_groups[0]["betas"] == (0.5, 0.95)


def test_momentum_of_an_optimizer_without_one_is_refused() -> None:
    optimizer = torch.optim.Adagrad([nn.Parameter(torch.zeros(1))])
    with pytest.raises(UserError, match="Adagrad has no momentum"):
        start(schedules.momentum(), 2, 8, optimizer)


def distance_to_the_notes(make: MakeSchedule) -> float:
    """How far SGD under a schedule strays from ``v = mu v - lr g; w += v`` on a quadratic."""
    parameter = nn.Parameter(torch.tensor([1.0, -2.0], dtype=torch.float64))
    curvature = torch.tensor([1.0, 3.0], dtype=torch.float64)
    optimizer = torch.optim.SGD([parameter], lr=0.1, momentum=0.5)
    schedule = start(make, 4, 5, optimizer)
    weights, velocity = parameter.detach().clone(), torch.zeros(2, dtype=torch.float64)
    for _ in range(20):
        group = optimizer.param_groups[0]
        velocity = group["momentum"] * velocity - group["lr"] * curvature * weights
        weights = weights + velocity
        parameter.grad = curvature * parameter.detach()
        optimizer.step()
        schedule.step()
    return float((parameter.detach() - weights).norm())


def test_pytorchs_momentum_equals_the_notes_only_while_the_rate_is_constant() -> None:
    annealed = schedules.momentum(0.5, 0.99)
    assert distance_to_the_notes(annealed) < 1e-14
    assert distance_to_the_notes(schedules.together(annealed, schedules.step(every=1))) > 1e-3


@given(
    name=st.sampled_from(sorted(EVERY)),
    epochs=st.integers(1, 5),
    per_epoch=st.integers(1, 6),
    losses=st.lists(st.sampled_from([0.5, 1.0, 2.0, math.nan]), min_size=5, max_size=5),
    data=st.data(),
)
@settings(deadline=None, max_examples=150)
def test_a_schedule_goes_on_from_its_state_exactly(
    name: str, epochs: int, per_epoch: int, losses: list[float], data: st.DataObject
) -> None:
    total = epochs * per_epoch
    stop = data.draw(st.integers(0, total))

    def train(
        optimizer: Optimizer, schedule: RunningSchedule, first: int, last: int
    ) -> list[tuple[float, float, bool]]:
        seen = []
        for done in range(first, last):
            group = optimizer.param_groups[1]
            seen.append((group["lr"], group["momentum"], low_point(schedule)))
            optimizer.step()
            schedule.step()
            if (done + 1) % per_epoch == 0:
                schedule.validated(losses[done // per_epoch])
        return seen

    whole = sgd()
    uninterrupted = train(whole, start(EVERY[name](), epochs, per_epoch, whole), 0, total)

    first = sgd()
    first_schedule = start(EVERY[name](), epochs, per_epoch, first)
    seen = train(first, first_schedule, 0, stop)
    state = json.dumps(first_schedule.state_dict())
    second = sgd()
    second_schedule = start(EVERY[name](), epochs, per_epoch, second)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    second_schedule.load_state_dict(json.loads(state))
    seen += train(second, second_schedule, stop, total)

    assert seen == uninterrupted
    assert second.param_groups[1]["lr"] == whole.param_groups[1]["lr"]


@pytest.mark.parametrize(
    "make",
    [
        lambda: schedules.step(every=0),
        lambda: schedules.step(factor=0),
        lambda: schedules.exponential(-1),
        lambda: schedules.inverse_time(-1),
        lambda: schedules.plateau(factor=1),
        lambda: schedules.plateau(patience=-1),
        lambda: schedules.warm_restarts(first=0),
        lambda: schedules.warm_restarts(factor=0),
        lambda: schedules.one_cycle(rise=0),
        lambda: schedules.one_cycle(start=2),
        lambda: schedules.one_cycle(end=0),
        lambda: schedules.momentum(end=1),
        lambda: schedules.momentum(epochs=0),
        lambda: schedules.warmup(schedules.cosine(), epochs=-1),
    ],
)
def test_settings_that_cannot_be_meant_are_refused_at_once(make: Callable[[], object]) -> None:
    with pytest.raises(UserError, match=r"schedules\.\w+\(\w+=...\) must be .*, got"):
        make()


def test_what_cannot_be_stepped_or_saved_is_refused() -> None:
    with pytest.raises(UserError, match="returned NoneType, which has no step"):
        adapt(None)
