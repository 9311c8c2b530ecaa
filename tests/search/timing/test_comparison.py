"""Which arm is chosen, by seconds and not by epochs or by the best score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from nnstudy.search.plan import Plan
from nnstudy.search.timing.comparison import Comparison, compared, concluded, timing_facts
from nnstudy.search.timing.picture import timing_figure
from nnstudy.search.timing.words import conclusion, markdown
from nnstudy.training import Record

PLAN = Plan(
    study="toy",
    stage="minibatch",
    position=1,
    reference="toy",
    trials=5,
    epochs=3,
    sampler={},
    pruner={},
    seed=0,
    metric="accuracy/valid",
    direction="maximize",
    validate_every=None,
    split={},
    subset={},
    data={},
    space={},
    only=["batch_size"],
    scaled=["lr"],
    relative_to={"batch_size": 32, "lr": 0.2},
)
START = datetime(2026, 1, 1)
ASKED = {
    "batch_size": CategoricalDistribution([16, 32, 64]),
    "lr": FloatDistribution(0.1, 0.4, log=True),
}
Curve = Sequence[tuple[float, float]]


def trial(
    size: int,
    lr: float,
    curve: Curve,
    *,
    begins: float = 0.0,
    state: TrialState = TrialState.COMPLETE,
    **facts: Any,
) -> FrozenTrial:
    seconds = curve[-1][0]
    made = create_trial(
        state=state,
        value=max(score for _, score in curve) if state is TrialState.COMPLETE else None,
        params={"batch_size": size, "lr": lr},
        distributions=ASKED,
        user_attrs={
            "nnstudy": {
                "seconds": seconds,
                "threads": 1,
                "timing": {"host": "a", "curve": [list(point) for point in curve]},
                **facts,
            }
        },
    )
    made.datetime_start = START + timedelta(seconds=begins)
    made.datetime_complete = START + timedelta(seconds=begins + seconds)
    return made


def numbered(*trials: FrozenTrial) -> list[FrozenTrial]:
    for number, made in enumerate(trials):
        made.number = number
    return list(trials)


# The smallest minibatch is the best after three epochs, but slow; the middle one is fast.
TRIALS = numbered(
    trial(16, 0.2, [(3, 0.7), (6, 0.85), (9, 0.95)]),
    trial(16, 0.1, [(3, 0.5), (6, 0.7), (9, 0.8)], begins=10),
    trial(32, 0.2, [(1.5, 0.6), (3, 0.8), (4.5, 0.9)], begins=20),
    trial(64, 0.2, [(1, 0.3), (2, 0.5), (3, 0.6)], begins=30),
    trial(64, 0.4, [(1, 0.5), (2, 0.7), (3, 0.75)], begins=40),
)


def found(trials: Sequence[FrozenTrial], plan: Plan = PLAN) -> Comparison:
    result = compared(plan, trials)
    assert result is not None
    return result


def test_the_least_time_to_what_half_of_the_sizes_come_to_is_chosen_not_the_best_score() -> None:
    result = found(TRIALS)
    assert result.target == 0.9
    assert (result.reaching, result.sizes) == (2, 3)
    assert (result.chosen.size, result.chosen.reached, result.chosen.params) == (
        32,
        4.5,
        {"batch_size": 32, "lr": 0.2},
    )
    assert (result.best.size, result.best.best) == (16, 0.95)
    assert [(arm.size, arm.is_scaled) for arm in result.arms] == [
        (16, False),
        (16, True),
        (32, False),
        (64, False),
        (64, True),
    ]
    assert [arm.meanwhile for arm in result.arms] == [0.7, 0.5, 0.8, 0.6, 0.75]
    assert result.doubts == []


def test_what_is_small_where_small_is_good_is_chosen_likewise() -> None:
    losses = numbered(
        trial(16, 0.2, [(3, 0.5), (6, 0.2)]),
        trial(32, 0.2, [(1, 0.6), (2, 0.3)], begins=10),
        trial(64, 0.4, [(0.5, 0.9), (1, 0.31)], begins=20),
    )
    for made in losses:
        made.value = made.user_attrs["nnstudy"]["timing"]["curve"][-1][1]
    result = found(losses, replace(PLAN, direction="minimize", metric="loss/valid"))
    assert (result.target, result.chosen.size, result.best.size) == (0.3, 32, 16)


@given(
    st.lists(st.lists(st.floats(0, 1), min_size=1, max_size=6), min_size=1, max_size=6),
    st.booleans(),
)
def test_somebody_reaches_the_target_and_nobody_sooner_than_the_chosen(
    curves: list[list[float]], maximize: bool
) -> None:
    trials = numbered(
        *(
            trial(
                (16, 32, 64)[index % 3],
                0.1 * (1 + index // 3),
                [(index + 1.5 * step, score) for step, score in enumerate(scores, 1)],
            )
            for index, scores in enumerate(curves)
        )
    )
    result = found(trials, replace(PLAN, direction="maximize" if maximize else "minimize"))
    times = [arm.reached for arm in result.arms if arm.reached is not None]
    assert result.chosen.reached == min(times)
    assert result.reaching >= result.sizes / 2


def test_what_may_make_seconds_differ_is_told() -> None:
    at_once = numbered(
        trial(16, 0.2, [(3, 0.7)]),
        trial(32, 0.2, [(3, 0.8)], begins=2, threads=4),
        trial(64, 0.2, [(3, 0.9)], begins=20),
    )
    at_once[2].user_attrs["nnstudy"]["timing"]["host"] = "b"
    doubts = found(at_once).doubts
    assert doubts == [
        "several trials ran at once",
        "they ran on 2 machines",
        "not all had as many threads",
    ]
    assert "launch with one worker to be sure" in conclusion(found(at_once))
    assert "one worker" not in conclusion(found(TRIALS))


def test_what_was_not_completed_is_counted_and_not_chosen() -> None:
    fast = trial(64, 0.4, [(0.1, 0.99)], state=TrialState.PRUNED)
    result = found(numbered(*TRIALS[:4], fast))
    assert (result.chosen.size, result.incomplete) == (32, 1)
    assert "1 more were not completed" in conclusion(result)
    assert compared(PLAN, [fast]) is None
    assert compared(replace(PLAN, scaled=[]), TRIALS) is None


def test_nothing_is_concluded_before_all_arms_have_ended() -> None:
    assert concluded(PLAN, TRIALS[:4]) is None
    assert concluded(PLAN, TRIALS) == found(TRIALS)


def test_words_name_the_choice_and_the_best_score() -> None:
    text = conclusion(found(TRIALS))
    assert text.startswith(
        "batch_size 32 with lr 0.2 (as it was) improves fastest: after 4.5 s its accuracy/valid"
        " is 0.9, which 2 of 3 sizes come to. The best score, 0.95, has batch_size 16"
    )
    table = markdown(found(TRIALS))
    assert "| 64 | 0.4 | yes | - | 0.75 | 0.75 | 3 |" in table
    assert table.count("\n| ") == 7


def test_the_picture_has_a_line_for_each_size_in_both_panels() -> None:
    figure = timing_figure(found(TRIALS))
    held, scaled = figure.axes
    for panel, seconds in ((held, [9, 4.5, 3]), (scaled, [9, 4.5, 3])):
        legend = panel.get_legend()
        assert legend is not None
        assert [text.get_text() for text in legend.get_texts()] == ["16", "32, chosen", "64"]
        lines = [line for line in panel.lines if len(line.get_xdata()) == 3]  # type: ignore[arg-type]
        assert [max(line.get_xdata()) for line in lines] == seconds  # type: ignore[type-var]


def test_a_trial_keeps_seconds_and_scores_without_those_that_are_none() -> None:
    history = [
        Record(1, 1.0, seconds=0.5, values={"accuracy/valid": 0.4}),
        Record(2, 2.0, seconds=1.25, values={"accuracy/valid": float("nan")}),
        Record(3, 3.0, seconds=2.0, values={"loss/valid": 0.4}),
        Record(4, 4.0, seconds=2.75, values={"accuracy/valid": 0.8}),
    ]
    facts = timing_facts(history, "accuracy/valid")
    assert facts["curve"] == [[0.5, 0.4], [2.75, 0.8]]
    assert facts["host"]
    assert timing_facts([], "accuracy/valid")["curve"] == []


def test_without_a_curve_there_is_nothing_to_compare() -> None:
    made = trial(16, 0.2, [(1, 0.5)])
    del made.user_attrs["nnstudy"]["timing"]
    assert compared(PLAN, [made]) is None
