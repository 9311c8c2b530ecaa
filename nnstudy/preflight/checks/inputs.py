"""Whether inputs are normalised."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor, nn

from nnstudy.models.parameters import NORMALISATION
from nnstudy.preflight.candidate import Candidate
from nnstudy.preflight.result import Check, Result

EXAMPLES = 1000
_NUMBERS = 1 << 22  # at once, so that large images are fewer

MEAN = 1.0
"""The largest mean, in standard deviations 1, of inputs that count as centred."""

SPREAD = (0.1, 10.0)
"""Between these a standard deviation counts as one of about 1."""

SCALES = 10.0
"""How many times the spread of one feature may be that of another.

LeCun, Bottou, Orr and Müller 1998, "Efficient BackProp", section 4.3: inputs learn fastest with
a mean near zero and about the same covariances. Where eigenvalues of the covariance differ by
the square of this factor, 100, so do the times that their directions need (section 5.1).
"""

_ADVICE = (
    "Plain gradient descent learns slowly or not at all from such inputs, and one learning rate"
    " cannot suit them all. Let the data be standardised (normalise='standardise' in"
    " datasets.tensors or datasets.from_dataset, the default), or divide bytes by 255."
)
_result = partial(Result, "inputs", "statistics")


def run(candidate: Candidate) -> list[Result]:
    """Looks at examples exactly as the network gets them, augmentation included.

    Normalised are inputs of mean about 0 and standard deviation about 1, and those in [0, 1] or
    [-1, 1] (CS231n, "Neural Networks Part 2", "Data Preprocessing"). Features are the last
    dimension of vectors and sequences, the channels of images.
    """
    recipe = candidate.recipe()
    train = candidate.data.train
    count = min(len(train), EXAMPLES, max(1, _NUMBERS // math.prod(train.shape)))
    order = torch.linspace(0, len(train) - 1, count).long()
    inputs, _ = next(
        train.minibatches(count, order, device=candidate.device, augmentation=recipe.augmentation)
    )
    if not inputs.is_floating_point():
        return [_result("skipped", "inputs are indices, of words in an embedding perhaps")]
    finite = inputs.isfinite()
    if not finite.all():
        count = int((~finite).flatten(1).any(1).sum())
        return [
            _result(
                "failed",
                f"{count} of {len(inputs)} examples hold NaN or infinite numbers as the network"
                " gets them",
                "Drop or fill them, and look at the augmentation: one such number spoils every"
                " weight.",
                {"not_finite": count},
            )
        ]
    features = _by_feature(inputs)
    spreads = features.std(0, correction=0)
    constant = spreads == 0
    low, high = inputs.min().item(), inputs.max().item()
    mean, spread = inputs.mean().item(), inputs.std(correction=0).item()
    ratio = (spreads[~constant].max() / spreads[~constant].min()).item() if spread else 1.0
    figures = {
        "mean": mean,
        "std": spread,
        "low": low,
        "high": high,
        "spread_ratio": ratio,
        "constant_features": int(constant.sum()),
    }
    found = f"mean {mean:.3g}, standard deviation {spread:.3g}, from {low:.3g} to {high:.3g}"
    is_bounded = low >= -1 and high <= 1
    is_standard = abs(mean) <= MEAN and SPREAD[0] <= spread <= SPREAD[1]
    if spread == 0:
        results = [
            _result(
                "warned",
                f"all inputs are {low:.3g}",
                "There is nothing to learn from: look at how the data are read.",
                figures,
            )
        ]
    elif not (is_bounded or is_standard) or (ratio > SCALES and not is_bounded):
        wide = f"; one feature's spread is {ratio:.3g} times another's" if ratio > SCALES else ""
        if _normalises_itself(recipe.network):
            text = f"{found}{wide}; the network begins with a normalisation"
            results = [_result("told", text, figures=figures)]
        else:
            results = [_result("warned", found + wide, _ADVICE, figures)]
    else:
        results = [_result("passed", found, figures=figures)]
    if constant.any() and spread:
        text = f"{figures['constant_features']} of {len(constant)} features are constant"
        results.append(_result("told", text, figures=figures))
    return results


def _by_feature(inputs: Tensor) -> Tensor:
    """Returns (examples and places, features), by the rule that ``Normalisation.fit`` has."""
    channel = 1 if inputs.ndim >= 4 else inputs.ndim - 1
    return inputs.movedim(channel, -1).flatten(0, -2)


def _normalises_itself(network: nn.Module) -> bool:
    leaves = [m for m in network.modules() if not list(m.children())]
    computing = [m for m in leaves if not isinstance(m, (nn.Flatten, nn.Identity))]
    return bool(computing) and isinstance(computing[0], NORMALISATION)


CHECK = Check("inputs", "statistics", run)
