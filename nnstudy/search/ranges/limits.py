"""A study's limits compared with what its recipe asks for."""

from __future__ import annotations

from collections.abc import Mapping

from nnstudy.errors import UserError
from nnstudy.search.distributions import describe, ends_of
from nnstudy.search.space import Space
from nnstudy.study.limits import Limit


def check_limits(limits: Mapping[str, Limit], space: Space) -> None:
    """Checks that limits belong to parameters of a space and leave room for what is asked.

    Raises:
        UserError: The recipe asks for no parameter of that name, for names instead of numbers,
            or for values beyond the limits.
    """
    for name, (least, most) in limits.items():
        for asked in space.named(name).distributions:
            ends = ends_of(asked)
            if ends is None:
                raise UserError(f"limits are for numbers, and {name} is {describe(asked)}")
            low, high = ends
            if (least is not None and low < least) or (most is not None and high > most):
                raise UserError(
                    f"limits[{name!r}] = ({least}, {most}) is narrower than what the recipe asks"
                    f" for, {describe(asked)}. Give wider limits, or ask for less"
                )
