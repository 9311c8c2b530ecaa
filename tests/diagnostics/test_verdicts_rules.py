"""Each rule on curves that are made to show it, and on healthy ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnstudy.diagnostics.verdicts import RULES, Course, Verdict, judge

EPOCHS = 20
STEPS = 100  # in an epoch
Shape = Callable[[float], float]


def healthy(**changes: Shape | None) -> list[dict[str, float]]:
    """A training that goes well, but for the curves that are given; None leaves one out."""
    curves: dict[str, Shape | None] = {
        "loss/train": lambda e: 0.05 + 2.2 * math.exp(-0.5 * e),
        "loss/valid": lambda e: 0.20 + 2.1 * math.exp(-0.5 * e) + 0.0005 * (e - 16) ** 2,
        "accuracy/train": lambda e: 0.97 - 0.8 * math.exp(-0.5 * e),
        "accuracy/valid": lambda e: 0.95 - 0.8 * math.exp(-0.5 * e),
        "update_ratio/hidden.weight": lambda e: 0.02 * math.exp(-0.1 * e),
        "update_ratio/output.weight": lambda e: 0.02 * math.exp(-0.1 * e),
        "update_ratio/hidden.bias": lambda e: 5.0 * math.exp(-0.5 * e),
        "dead/relu": lambda e: 0.02,
        "saturated/tanh": lambda e: 0.1,
        "activation_std/hidden": lambda e: 0.8,
        "activation_std/output": lambda e: 0.001 * e,
        "wiggle/loss": lambda e: 0.1,
    } | {name.replace("__", "/"): shape for name, shape in changes.items()}
    return [
        {name: shape(epoch) for name, shape in curves.items() if shape} | {"epoch": float(epoch)}
        for epoch in range(1, EPOCHS + 1)
    ]


def course(history: Sequence[Mapping[str, float]], **facts: Any) -> Course:
    known = {"classes": 10, "steps_per_epoch": STEPS, "chance_loss": math.log(10)}
    return Course(history, **{**known, "first_layer_noise": 0.4, **facts})


def names(history: Sequence[Mapping[str, float]], **facts: Any) -> list[str]:
    return [verdict.name for verdict in judge(course(history, **facts))]


def linear(epoch: float) -> float:
    return 2.3 - 0.02 * epoch


def bouncing(epoch: float) -> float:
    return 0.5 + 0.1 * (epoch % 2)


def poor(epoch: float) -> float:
    return 0.6 - 0.4 * math.exp(-0.5 * epoch)


def small(ratio: float) -> dict[str, Shape]:
    return {f"update_ratio__{layer}.weight": lambda e: ratio for layer in ("hidden", "output")}


def test_a_healthy_training_has_a_rate_that_is_about_right_and_nothing_else() -> None:
    assert names(healthy()) == ["learning rate about right"]


MADE: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    # verdict: (curves, facts)
    "diverged": ({}, {"ended": "diverged"}),
    "learning rate too high": (small(0.3), {}),
    "bad initialisation": ({"saturated__tanh": lambda e: 0.9, **small(0.001)}, {}),
    "at chance": ({"accuracy__train": lambda e: 0.11, "accuracy__valid": lambda e: 0.1}, {}),
    "dead units": ({"dead__relu": lambda e: 0.5}, {}),
    "saturated units": ({"saturated__tanh": lambda e: 0.4 + 0.025 * e}, {}),
    "learning rate too low": (
        {"loss__train": linear, "loss__valid": linear, **small(0.0001)},
        {},
    ),
    "underfitting": ({"accuracy__train": poor, "accuracy__valid": poor}, {}),
    "overfitting": ({"loss__valid": lambda e: 0.3 + 0.01 * abs(e - 5)}, {}),
    "oscillating": ({"loss__train": bouncing, **small(0.002)}, {}),
    "minibatch too noisy": ({"wiggle__loss": lambda e: 1.5}, {}),
    "noisy first layer": ({}, {"first_layer_noise": 0.97}),
    "plateau": (
        {"loss__train": lambda e: 1 / min(e, 9), "loss__valid": lambda e: 1 / min(e, 9)},
        {},
    ),
    "still improving when stopped": ({"loss__valid": lambda e: 2 / e}, {}),
    "learning rate about right": ({}, {}),
}


@pytest.mark.parametrize("name", MADE)
def test_a_verdict_is_given_on_curves_made_to_show_it(name: str) -> None:
    curves, facts = MADE[name]
    assert name in names(healthy(**curves), **facts)


def test_every_rule_has_curves_that_show_it() -> None:
    assert list(MADE) == [rule.name for rule in RULES]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_rule_gives_way_only_to_rules_before_it(rule: Any) -> None:
    before = [other.name for other in RULES[: RULES.index(rule)]]
    assert set(rule.unless) <= set(before)


@pytest.mark.parametrize("name", MADE)
def test_a_verdict_says_what_it_rests_on_and_what_to_do(name: str) -> None:
    curves, facts = MADE[name]
    verdict = verdict_of(name, course(healthy(**curves), **facts))
    assert any(character.isdigit() for character in verdict.evidence)
    assert verdict.advice.endswith(".")
    assert verdict.figures
    assert all(math.isfinite(value) for value in verdict.figures.values())


def verdict_of(name: str, of: Course) -> Verdict:
    [verdict] = [verdict for verdict in judge(of) if verdict.name == name]
    return verdict


# -- Learning rate --------------------------------------------------------------------------


def test_the_epoch_of_a_divergence_is_told_also_before_the_first_validation() -> None:
    diverged = verdict_of("diverged", course(healthy()[:7], ended="diverged"))
    assert "epoch 8" in diverged.evidence
    assert diverged.figures == {"epoch": 8}
    assert verdict_of("diverged", course([], ended="diverged")).figures == {"epoch": 1}
    fraction = [{**healthy()[0], "epoch": 2.25}]
    assert verdict_of("diverged", course(fraction, ended="diverged")).figures == {"epoch": 3}


def test_nothing_else_is_said_of_a_training_that_diverged_but_what_began_badly() -> None:
    curves = {**small(0.3), "dead__relu": lambda e: 1.0, "loss__train": bouncing}
    assert names(healthy(**curves), ended="diverged") == ["diverged"]


def test_large_updates_of_biases_are_no_sign_of_too_high_a_rate() -> None:
    assert healthy()[0]["update_ratio/hidden.bias"] > 1
    assert "learning rate too high" not in names(healthy())


def test_few_large_steps_may_be_meant() -> None:
    few = {"steps_per_epoch": 1}
    assert "learning rate too high" not in names(healthy(**small(0.3)), **few)
    assert "learning rate too high" in names(healthy(**small(0.6)), **few)


def test_a_loss_that_bounces_oscillates_and_where_steps_are_large_the_rate_is_too_high() -> None:
    large, little = healthy(loss__train=bouncing, **small(0.02)), small(0.002)
    assert names(large)[0] == "learning rate too high"
    assert "oscillating" in names(large)
    calm = names(healthy(loss__train=bouncing, **little))
    assert "oscillating" in calm
    assert "learning rate too high" not in calm


def test_small_updates_are_right_where_there_are_many_of_them() -> None:
    curves = small(0.0005)
    assert "learning rate too low" not in names(healthy(loss__valid=None, **curves), metric="x")
    falling = healthy(loss__valid=lambda e: 0.2 + math.exp(-0.5 * e), **curves)
    assert "learning rate too low" in names(falling)
    assert "learning rate about right" in names(falling, steps_per_epoch=100 * STEPS)


def test_without_update_ratios_a_straight_line_tells_of_too_low_a_rate() -> None:
    own_loop = [{"loss/train": linear(e), "loss/valid": linear(e)} for e in range(1, 11)]
    assert "learning rate too low" in [v.name for v in judge(Course(own_loop))]
    curved = [{"loss/train": 2.0**-e, "loss/valid": 2.0**-e} for e in range(1, 11)]
    assert [v.name for v in judge(Course(curved))] == ["still improving when stopped"]


# -- Others ---------------------------------------------------------------------------------


def test_a_loud_start_is_bad_initialisation() -> None:
    loud = healthy(loss__train=lambda e: 40 * math.exp(-e / 3))
    assert "bad initialisation" in names(loud)
    assert "bad initialisation" not in names(loud, chance_loss=None)


def test_a_layer_that_says_nothing_at_first_is_bad_initialisation() -> None:
    assert "bad initialisation" in names(healthy(activation_std__hidden=lambda e: 1e-4))


def test_a_layer_that_large_steps_have_saturated_did_not_begin_so() -> None:
    curves: dict[str, Shape] = {"saturated__tanh": lambda e: 0.9, **small(0.05)}
    assert "bad initialisation" not in names(healthy(**curves))


def test_an_output_layer_may_be_sure_of_its_answers() -> None:
    sure = [{**record, "saturated/output": 0.95} for record in healthy()]
    assert names(sure) == ["learning rate about right"]


def test_strong_weight_decay_is_named_where_answers_are_guesses() -> None:
    curves, _ = MADE["at chance"]
    decayed = verdict_of("at chance", course(healthy(**curves), decay_per_step=0.2))
    assert "Weight decay takes 20% of the weights at each step" in decayed.evidence
    assert "Weight decay" not in verdict_of("at chance", course(healthy(**curves))).evidence


def test_what_is_better_than_guessing_depends_on_the_number_of_classes() -> None:
    curves: dict[str, Shape] = {
        "accuracy__train": lambda e: 0.52,
        "accuracy__valid": lambda e: 0.52,
    }
    assert "at chance" in names(healthy(**curves), classes=2)
    assert "at chance" not in names(healthy(**curves), classes=10)
    assert "at chance" not in names(healthy(**curves), classes=None)


def test_a_wide_gap_is_overfitting_and_errors_alike_are_underfitting() -> None:
    apart = healthy(accuracy__train=lambda e: 0.99, accuracy__valid=lambda e: 0.8)
    assert "overfitting" in names(apart)
    assert "underfitting" not in names(apart)
    alike = healthy(accuracy__train=lambda e: 0.7, accuracy__valid=lambda e: 0.65)
    assert "underfitting" in names(alike)
    assert "overfitting" not in names(alike)


def test_a_network_that_still_learns_is_not_called_too_small() -> None:
    alike: dict[str, Shape] = {"accuracy__train": poor, "accuracy__valid": poor}
    assert "underfitting" in names(healthy(**alike))
    learning = healthy(**alike, loss__train=lambda e: 2 / e)
    assert "underfitting" not in names(learning)


def test_a_training_that_was_pruned_or_ended_early_is_not_called_still_improving() -> None:
    curves, _ = MADE["still improving when stopped"]
    for ended in ("pruned", "early stopping", "failed"):
        assert "still improving when stopped" not in names(healthy(**curves), ended=ended)
    assert "still improving when stopped" in names(healthy(**curves), ended="stopped")


def test_an_accuracy_alone_tells_whether_it_still_improves() -> None:
    rising = [{"accuracy/valid": 0.5 + 0.02 * epoch} for epoch in range(1, 11)]
    flat = [{"accuracy/valid": 0.9} for _ in range(10)]
    for history, name in ((rising, "still improving when stopped"), (flat, "plateau")):
        judged = judge(Course(history, metric="accuracy/valid", direction="maximize"))
        assert [verdict.name for verdict in judged] == [name]


# -- Properties -----------------------------------------------------------------------------


def test_a_training_without_any_record_has_no_verdict() -> None:
    assert judge(Course([])) == []


def test_one_epoch_is_enough_for_what_it_can_show_and_no_more() -> None:
    assert names(healthy()[:1]) == []
    assert names(healthy(**small(0.3))[:1]) == ["learning rate too high"]


def test_fractions_of_an_epoch_are_judged_like_epochs() -> None:
    for curves, facts in MADE.values():
        whole = healthy(**curves)
        parts = [{**record, "epoch": record["epoch"] / 4} for record in whole]
        finer = {**facts, "steps_per_epoch": 4 * STEPS}
        if facts.get("ended") != "diverged":
            assert names(parts, **finer) == names(whole, **facts)


@pytest.mark.parametrize("name", MADE)
def test_curves_that_no_rule_knows_change_nothing(name: str) -> None:
    curves, facts = MADE[name]
    history = healthy(**curves)
    more = [{**record, "speed/examples_per_second": 1e4, "lr": 0.1} for record in history]
    assert judge(course(more, **facts)) == judge(course(history, **facts))


@pytest.mark.parametrize("name", MADE)
@given(scale=st.floats(1e-3, 1e3))
@settings(max_examples=10, deadline=None)
def test_the_unit_of_the_loss_does_not_matter(name: str, scale: float) -> None:
    curves, facts = MADE[name]
    history = healthy(**curves)
    scaled = [
        {key: scale * value if key.startswith("loss/") else value for key, value in record.items()}
        for record in history
    ]
    assert names(scaled, chance_loss=scale * math.log(10), **facts) == names(history, **facts)


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from([*healthy()[0], "accuracy/other"]),
            st.floats(allow_nan=True, allow_infinity=True),
        ),
        max_size=8,
    ),
    st.sampled_from(["epochs", "early stopping", "pruned", "diverged", "failed"]),
    st.sampled_from([None, 1, 2, 10]),
    st.sampled_from([None, 0.5, 100]),
)
@settings(max_examples=200, deadline=None)
def test_any_numbers_are_judged_without_an_error(
    records: list[dict[str, float]], ended: str, classes: int | None, steps: float | None
) -> None:
    history = [{**record, "epoch": float(n)} for n, record in enumerate(records, start=1)]
    for verdict in judge(
        Course(history, ended=ended, classes=classes, steps_per_epoch=steps, chance_loss=2.3)
    ):
        assert verdict.evidence
        assert all(math.isfinite(figure) for figure in verdict.figures.values())


@pytest.mark.parametrize("name", MADE)
def test_nothing_is_said_without_a_curve(name: str) -> None:
    curves, facts = MADE[name]
    bare = [{"epoch": record["epoch"]} for record in healthy(**curves)]
    expected = [name] if not curves and name in ("diverged", "noisy first layer") else []
    assert names(bare, **{"first_layer_noise": None, **facts}) == expected
