"""Whether an example is in two parts of the data."""

from __future__ import annotations

import math
from hashlib import blake2b

from torch import Tensor

from nnstudy.data import Part
from nnstudy.data.parts import TensorPart
from nnstudy.preflight.candidate import Candidate
from nnstudy.preflight.result import Check, Outcome, Result

SAMPLE = 2000
"""Examples of a part that are looked at where it is not held in memory."""

LEAK = 0.01
"""The share of a part that may also be in the training part before the launch is stopped.

Natural duplicates are far rarer: of the validation parts of MNIST and of scikit-learn's digits,
diabetes, wine and breast_cancer none is in the training part; iris has one pair of twins.
"""

MORE_THAN_WITHIN = 2.0
"""How many times more frequent duplicates must be between the parts than within the training part.

Data that repeat themselves, as coarse numbers and categories do, repeat themselves as often
within the training part as between the parts. Examples that are in both by mistake do not.
"""

_ADVICE = (
    "A score on examples that were learned by heart says nothing. Were training and validation"
    " examples put together by hand, or was the set enlarged (oversampled, augmented, several"
    " pictures of one object) before it was split? Split first, then enlarge the training part"
    " alone; drop duplicates before the split."
)
_SEVERITY: tuple[Outcome, ...] = ("passed", "told", "warned", "failed")


def run(candidate: Candidate) -> list[Result]:
    """Compares the examples of the parts, byte by byte.

    The test part is not opened for this: that would be a look at it. Examples that are nearly
    but not exactly equal are not found.
    """
    data = candidate.data
    train = _counts(data.train)
    within = sum(count for count in train.values() if count > 1) / sum(train.values())
    comparisons = [("validation", data.validation, "training", train)]
    if len(data.selection):
        comparisons += [
            ("selection", data.selection, "training", train),
            ("selection", data.selection, "validation", _counts(data.validation)),
        ]
    outcomes: list[Outcome] = []
    words: list[str] = []
    figures: dict[str, float] = {"within_training": within}
    for name, part, other, counts in comparisons:
        here = _counts(part)
        total = sum(here.values())
        common = sum(count for digest, count in here.items() if digest in counts)
        figures[f"{name}_in_{other}"] = common
        outcomes.append(_judge(common, total, within))
        words.append(f"{common} of {total} {name} examples are also in the {other} part")
    found = "; ".join(words) + f"; within the training part {within:.2%} have a double"
    if not isinstance(data.train, TensorPart):
        found += f" (of at most {SAMPLE} examples of each)"
    worst = max(outcomes, key=_SEVERITY.index)
    advice = _ADVICE if worst in ("warned", "failed") else ""
    return [Result("leaks", "code", worst, found, advice, figures)]


def _judge(common: int, total: int, within: float) -> Outcome:
    share, expected = common / total, total * within
    # Three standard errors of a Poisson count, and three more for what is rare.
    is_chance = common <= expected + 3 * math.sqrt(expected) + 3
    if not is_chance and share > max(LEAK, MORE_THAN_WITHIN * within):
        return "failed"
    if not is_chance or (share > LEAK and within > LEAK):
        return "warned"
    return "told" if common else "passed"


def _counts(part: Part) -> dict[bytes, int]:
    """Counts the different inputs of a part, by their digest."""
    counts: dict[bytes, int] = {}
    for piece in part.raw_inputs(limit=SAMPLE):
        for digest in _digests(piece):
            counts[digest] = counts.get(digest, 0) + 1
    return counts


def _digests(inputs: Tensor) -> list[bytes]:
    rows = inputs.detach().cpu().contiguous().flatten(1).numpy()
    return [blake2b(row.data, digest_size=12).digest() for row in rows]


CHECK = Check("leaks", "code", run)
