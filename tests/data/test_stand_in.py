from __future__ import annotations

from dataclasses import fields

import pytest
import torch

from nnstudy.data import Split, Subset, datasets, load
from nnstudy.data.stand_in import stand_in
from nnstudy.errors import UserError


def test_everything_but_the_examples_stays_known():
    data = load(datasets.digits, Split(seed=3), Subset(classes=(1, 4, 7)))
    known = stand_in(data.describe(), data.normalisation, None)
    assert known.describe() == data.describe()
    for field in fields(data):
        if field.name not in ("train", "validation", "selection", "_test"):
            assert getattr(known, field.name) == getattr(data, field.name), field.name
    assert (known.shape, len(known.train)) == (data.shape, len(data.train))


@pytest.mark.parametrize(
    "read",
    [
        lambda part: part.targets,
        lambda part: part.inputs,
        lambda part: next(part.minibatches(4)),
        lambda part: part.take(torch.arange(2)),
    ],
)
def test_whatever_else_is_asked_for_is_refused_with_what_to_do(read):
    data = load(datasets.digits)
    known = stand_in(data.describe(), data.normalisation, None)
    with pytest.raises(UserError, match=r"reads data\.train\.\w+.*only what stays known"):
        read(known.train)
