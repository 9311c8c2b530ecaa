"""How large a relative error may be.

CS231n, "Learning", section "Gradient Checks", says of relative errors: above 1e-2 the gradient is
probably wrong; between 1e-4 and 1e-2 one should feel uncomfortable; below 1e-4 is usually okay
for objectives with kinks, but too high without; at 1e-7 and less one should be happy; and the
deeper the network, the higher the errors: at 10 layers 1e-2 might be okay. The notes leave open
where, without kinks, between 1e-7 and 1e-4 it begins to be too high, and by how much errors grow
with depth. Here it is 1e-6, and a factor of ten from 10 layers on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

DEEP = 10  # layers with weights

Band = Literal["happy", "fine", "uncomfortable", "wrong"]


@dataclass(frozen=True)
class Bands:
    """The largest relative error of each band; what is above the last is wrong."""

    happy: float
    fine: float
    uncomfortable: float

    def of(self, error: float) -> Band:
        """Returns the band of a relative error; one that is not a number is wrong."""
        if error <= self.happy:
            return "happy"
        if error <= self.fine:
            return "fine"
        return "uncomfortable" if error <= self.uncomfortable else "wrong"


def bands(layers: int, has_kinks: bool) -> Bands:
    """Returns the bands for a network of so many layers with weights."""
    return _BANDS[layers >= DEEP, has_kinks]


_BANDS = {
    # deep, kinks       happy  fine  uncomfortable
    (False, False): Bands(1e-7, 1e-6, 1e-2),
    (False, True): Bands(1e-7, 1e-4, 1e-2),
    (True, False): Bands(1e-6, 1e-5, 1e-1),
    (True, True): Bands(1e-6, 1e-3, 1e-1),
}
