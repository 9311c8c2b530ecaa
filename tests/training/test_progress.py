"""Where a training stands inside its budget."""

from __future__ import annotations

import itertools
import math

from hypothesis import given
from hypothesis import strategies as st

from nnstudy.training.progress import Budget


def validations(budget: Budget) -> list[int]:
    """The positions of all validations."""
    positions = [0]
    while positions[-1] < budget.steps:
        positions.append(budget.next_validation(positions[-1]))
    return positions[1:]


@given(
    examples=st.integers(1, 500),
    batch_size=st.integers(1, 600),
    epochs=st.floats(0.05, 6),
    every=st.one_of(st.none(), st.integers(1, 800)),
)
def test_steps_grow_to_the_same_last_one_for_every_minibatch_size(
    examples: int, batch_size: int, epochs: float, every: int | None
) -> None:
    budget = Budget.of(examples, batch_size, epochs, every)
    positions = validations(budget)
    steps = [budget.step_at(position) for position in positions]

    assert steps[-1] == budget.validations
    assert budget.validations == Budget.of(examples, 1, epochs, every).validations
    for numbers in (positions, steps):
        assert all(earlier < later for earlier, later in itertools.pairwise(numbers))


@given(
    examples=st.integers(50, 500),
    sizes=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    every=st.integers(40, 300),
)
def test_a_step_means_the_same_number_of_examples_for_every_minibatch_size(
    examples: int, sizes: tuple[int, int], every: int
) -> None:
    for size in sizes:
        budget = Budget.of(examples, size, 3, every)
        for position in validations(budget)[:-1]:
            seen = budget.examples_at(position)
            assert 0 <= seen - budget.step_at(position) * every < size


@given(examples=st.integers(1, 300), batch_size=st.integers(1, 300), epochs=st.integers(1, 5))
def test_without_an_interval_steps_are_epochs(examples: int, batch_size: int, epochs: int) -> None:
    budget = Budget.of(examples, batch_size, epochs, None)
    per_epoch = math.ceil(examples / batch_size)

    assert validations(budget) == [per_epoch * epoch for epoch in range(1, epochs + 1)]
    assert [budget.step_at(p) for p in validations(budget)] == list(range(1, epochs + 1))
    assert budget.examples_at(per_epoch) == examples
