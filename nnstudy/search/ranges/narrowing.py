"""From a stage's trials to the ranges of the next: coarse to fine.

Source of the procedure: CS231n, "Hyperparameter optimization": a first search over wide ranges
in one epoch or less, then ever narrower ones for longer. How far to narrow, and on how much
evidence, is decided here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial
from scipy import stats

from nnstudy.search.distributions import key
from nnstudy.search.ranges.given import Range, Ranges
from nnstudy.search.ranges.good import good, ranked
from nnstudy.search.ranges.scale import Number, Scale
from nnstudy.search.space import Space
from nnstudy.study import Direction

FEWEST_TRIALS = 8
CHANCE = 0.1
_INNER = 0.1
_PERMUTATIONS = 2000
_WORTH = 0.9


def narrowed(
    space: Space,
    ranges: Ranges,
    trials: Sequence[FrozenTrial],
    direction: Direction,
    *,
    kept: int = 3,
) -> Ranges:
    """Returns the ranges for the stage after the one with these trials.

    For a number: the inner 80 % of the good trials' values in the scale that is searched, wider
    on each side by what so many values, were they spread evenly, would leave outside (``_margin``),
    up to the next trial that was not good at least, and wide enough for the best trials, which
    are run again. Of whole numbers and steps that trial's own is left out, and the margin is
    rounded to the nearest. For a choice: without those that no good trial has. Nothing is
    narrowed where there are fewer than eight trials, or where chance would crowd as many values
    as closely, or leave a choice out, in more than one of ten cases: what is compared with are
    random draws from the trials themselves, so that a sampler's own preference is no evidence.

    Args:
        space: What the recipe asks for.
        ranges: What the stage has searched.
        trials: The stage's trials.
        direction: ``minimize`` or ``maximize``.
        kept: How many of the best trials must lie in the new ranges.
    """
    told = ranked(trials, direction)
    return Ranges(
        [
            _next_range(name, asked, ranges.given(name, asked), told, kept)
            for name, parameter in space.parameters.items()
            for asked in parameter.distributions
        ]
    )


def carried(
    space: Space, ranges: Ranges, trials: Sequence[FrozenTrial], direction: Direction, count: int
) -> list[dict[str, object]]:
    """Returns the best points of the last stage that lie in the ranges of the next.

    Without what the next stage holds, where they agree with it.

    Args:
        space: What the recipe asks for.
        ranges: What the next stage searches.
        trials: The last stage's trials.
        direction: ``minimize`` or ``maximize``.
        count: How many, at most.
    """
    held = {entry.name for entry in ranges.ranges if entry.is_held}
    points: list[dict[str, object]] = []
    for trial in good(ranked(trials, direction), share=1.0):
        point = {name: value for name, value in trial.params.items() if name not in held}
        if point and point not in points and ranges.contain(space, trial.params):
            points.append(point)
    return points[:count]


def _next_range(
    name: str,
    asked: BaseDistribution,
    searched: BaseDistribution,
    told: Sequence[FrozenTrial],
    kept: int,
) -> Range:
    # Those that were asked for this parameter in this branch of the recipe.
    having = [
        trial
        for trial in told
        if name in trial.params and key(trial.distributions[name]) == key(searched)
    ]
    best = good(having)
    if len(having) < FEWEST_TRIALS or len(best) < 2:
        return Range(name, asked, searched, f"too few trials to tell ({len(having)})")
    if isinstance(searched, CategoricalDistribution):
        return _fewer_choices(name, asked, searched, having, best)
    if not isinstance(searched, FloatDistribution | IntDistribution) or searched.single():
        return Range(name, asked, searched, "one value")
    assert isinstance(asked, FloatDistribution | IntDistribution)
    return _narrower(name, asked, searched, having, best, kept)


def _narrower(
    name: str,
    asked: Number,
    searched: Number,
    having: Sequence[FrozenTrial],
    best: Sequence[FrozenTrial],
    kept: int,
) -> Range:
    # A range that was held or widened does not lie in the asked one's scale.
    outer = asked if asked.log == searched.log and not asked.single() else searched
    scale = Scale(outer)
    positions = np.array([scale.position(trial.params[name]) for trial in having])
    chosen = np.array([scale.position(trial.params[name]) for trial in best])
    chance = _chance_of_spread(positions, len(chosen), float(np.ptp(chosen)))
    found = f"the {len(chosen)} best of {len(having)} lie in {_between(scale, chosen)}"
    if chance > CHANCE:
        return Range(name, asked, searched, f"{found}, as by chance (p = {chance:.2g})")
    are_best = {trial.number for trial in best}
    others = np.array([scale.position(t.params[name]) for t in having if t.number not in are_best])
    widest = (scale.position(searched.low), scale.position(searched.high))
    ends = _ends(scale, chosen, others, widest, kept)
    if ends[1] - ends[0] > _WORTH * (widest[1] - widest[0]):
        return Range(name, asked, searched, f"{found}: all over the range")
    given = scale.between(*ends)
    return Range(name, asked, given, f"{found} (by chance p = {chance:.2g})")


def _ends(
    scale: Scale,
    chosen: NDArray[np.float64],
    others: NDArray[np.float64],
    widest: tuple[float, float],
    kept: int,
) -> tuple[float, float]:
    """Returns the positions between which to go on.

    Args:
        scale: That of the positions.
        chosen: Where the good trials lie, the best first.
        others: Where the other ones lie.
        widest: The ends of what was searched.
        kept: How many of the best must lie inside.
    """
    low, high = np.quantile(chosen, [_INNER, 1 - _INNER])
    if scale.distribution.step:  # between two steps there is nothing
        low, high = chosen[chosen <= low].max(), chosen[chosen >= high].min()
    margin = _margin(len(chosen)) * (high - low)
    # What no worse trial has tried beyond the good ones is not known to be bad; a whole step that
    # one has tried is.
    below = others[others < low].max(initial=-np.inf)
    above = others[others > high].min(initial=np.inf)
    lowest = scale.stepped(below, 1) if np.isfinite(below) else widest[0] - margin
    highest = scale.stepped(above, -1) if np.isfinite(above) else widest[1] + margin
    again = chosen[:kept]
    bottom = min(scale.stepped(low - margin), lowest, *again)
    top = max(scale.stepped(high + margin), highest, *again)
    # Beyond what was searched only as far as was asked for, or as it was widened to.
    return max(bottom, min(0.0, widest[0])), min(top, max(1.0, widest[1]))


def _margin(count: int) -> float:
    """Returns how far a uniform distribution reaches beyond its sample's inner quantiles.

    In widths between the quantiles, on either side, so that the ends are estimated without bias:
    the i-th of k uniform values is expected at i / (k + 1), and NumPy's quantile q lies at
    i = 1 + q (k - 1).
    """
    outside = 1 + _INNER * (count - 1)
    return outside / ((1 - 2 * _INNER) * (count - 1))


def _fewer_choices(
    name: str,
    asked: BaseDistribution,
    searched: CategoricalDistribution,
    having: Sequence[FrozenTrial],
    best: Sequence[FrozenTrial],
) -> Range:
    dropped = dict(_hopeless(name, searched, having, best))
    given = CategoricalDistribution([c for c in searched.choices if c not in dropped])
    if not dropped:
        return Range(name, asked, searched, "each choice is among the best, or may be by chance")
    told = "; ".join(
        f"none of the {len(best)} best of {len(having)} has {choice!r}, which {times} had"
        f" (by chance p = {chance:.2g})"
        for choice, (times, chance) in dropped.items()
    )
    return Range(name, asked, given, told)


def _hopeless(
    name: str,
    searched: CategoricalDistribution,
    having: Sequence[FrozenTrial],
    best: Sequence[FrozenTrial],
) -> Iterator[tuple[object, tuple[int, float]]]:
    """Yields choices that no good trial has, how many had them, and how likely that is."""
    for choice in searched.choices:
        times = sum(trial.params[name] == choice for trial in having)
        if any(trial.params[name] == choice for trial in best):
            continue
        # None of the best, drawn from all without putting back: hypergeometric.
        chance = float(stats.hypergeom.pmf(0, len(having), times, len(best)))
        if chance <= CHANCE:
            yield choice, (times, chance)


def _chance_of_spread(positions: NDArray[np.float64], count: int, spread: float) -> float:
    """Returns how often so many of these values, drawn at random, lie as closely together."""
    generator = np.random.default_rng(0)
    draws = generator.permuted(np.tile(positions, (_PERMUTATIONS, 1)), axis=1)[:, :count]
    as_close = int(np.sum(np.ptp(draws, axis=1) <= spread + 1e-12))
    # The values themselves are one of the draws (Davison and Hinkley 1997, section 4.3).
    return (as_close + 1) / (_PERMUTATIONS + 1)


def _between(scale: Scale, positions: NDArray[np.float64]) -> str:
    low, high = (scale.value(float(end)) for end in (positions.min(), positions.max()))
    return f"{low:.3g}..{high:.3g}"
