from __future__ import annotations

import numpy as np
import pytest
import torch

from nnstudy.data import Source, load, tensors
from nnstudy.errors import UserError

X = torch.rand(40, 3, generator=torch.Generator().manual_seed(0))


def test_arrays_lists_and_tensors_are_the_same():
    y = torch.arange(40) % 2
    given = [(X, y), (X.numpy(), y.numpy()), (X.tolist(), y.tolist())]
    seen = [next(load(pair).train.minibatches(100)) for pair in given]
    for x, t in seen[1:]:
        torch.testing.assert_close(x, seen[0][0])
        assert torch.equal(t, seen[0][1])


def test_arrays_that_are_read_only_or_reversed_are_taken_without_a_warning(recwarn):
    read_only = X.numpy().copy()
    read_only.setflags(write=False)
    for array in (
        read_only,
        X.numpy()[::-1],
        X.numpy().astype(">f4"),
        np.asfortranarray(X.numpy()),
    ):
        source = tensors(array, np.arange(40) % 2)
        np.testing.assert_array_equal(torch.cat(list(source.examples.raw_inputs())), array)
    assert not recwarn.list


def test_names_become_labels_in_sorted_order():
    source = tensors(X, np.array(["cat", "ant"] * 20))
    assert source.class_names == ("ant", "cat")
    assert source.examples.targets.tolist() == [1, 0] * 20


def test_labels_with_gaps_are_numbered_from_0():
    source = tensors(X, torch.tensor([-1, 5] * 20), test=(X, torch.tensor([5, 9] * 20)))
    assert source.class_names == ("-1", "5", "9")
    assert source.examples.targets.tolist() == [0, 1] * 20
    assert source.test.targets.tolist() == [1, 2] * 20
    assert source.examples.targets.dtype == torch.int64


@pytest.mark.parametrize("width", [None, 1, 3])
def test_numbers_become_float32_with_one_row_per_example(width):
    y = torch.rand(40, dtype=torch.float64) if width is None else torch.rand(40, width)
    data = load((X, y))
    assert data.task == "regression"
    assert data.train.targets.shape == (len(data.train), width or 1)
    assert data.train.targets.dtype == torch.float32
    assert (data.outputs, data.classes) == (width or 1, None)


def test_one_number_as_input_is_one_feature():
    assert load((torch.rand(40), torch.rand(40))).shape == (1,)


def test_integers_can_be_regression_targets():
    assert tensors(X, torch.arange(40), task="regression").examples.targets.shape == (40, 1)


def test_float_labels_can_be_classes_when_they_are_whole():
    source = tensors(X, (torch.arange(40) % 2).float(), task="classification")
    assert source.class_names == ("0", "1")


@pytest.mark.parametrize(
    ("inputs", "targets", "options", "message"),
    [
        (X, torch.arange(39), {}, "different lengths: 40 and 39"),
        (X[:0], torch.arange(0), {}, "there are no examples"),
        (torch.tensor(1.0), torch.tensor(1), {}, "one entry per example"),
        (X.log() * 0 + torch.nan, torch.arange(40), {}, "inputs of 40 examples are NaN"),
        (X / 0, torch.arange(40), {}, "NaN or infinite"),
        (X, torch.full((40,), torch.inf), {}, "targets of 40 examples are NaN or infinite"),
        (X, X[:, 0], {"task": "classification"}, "say task='regression'"),
        (X, torch.eye(40).long(), {}, "argmax"),
        (X, np.array(["a"] * 40), {"task": "regression"}, "targets are names"),
        (X, torch.arange(40), {"class_names": ("a", "b")}, "from 0 to 1"),
        (X, torch.arange(40) - 1, {"class_names": tuple("abc")}, "from 0 to 2"),
        (X.numpy().astype(object), torch.arange(40), {}, "inputs must be numbers"),
        (X + 1j, torch.arange(40), {}, "complex"),
        (X, torch.arange(40), {"task": "ranking"}, "task must be"),
        (X, torch.arange(40), {"normalise": "whiten"}, "normalise must be"),
        (X, torch.arange(40), {"standardise_targets": True}, "regression"),
        (X, torch.arange(40), {"test": (X, torch.arange(3))}, "test inputs and targets"),
        (X, torch.arange(40), {"test": (X[:, :2], torch.arange(40))}, "test inputs have shape"),
        (X, X, {"test": (X, X[:, :2])}, "test targets have 2 numbers"),
    ],
)
def test_data_that_cannot_be_used_are_refused(inputs, targets, options, message):
    with pytest.raises(UserError, match=message):
        tensors(inputs, targets, **options)


def test_the_first_bad_example_is_named():
    x = X.clone()
    x[7, 1] = torch.nan
    x[9, 0] = torch.inf
    with pytest.raises(UserError, match=r"inputs of 2 examples.*first is example 7"):
        tensors(x, torch.arange(40))


def test_a_source_is_frozen():
    source = tensors(X, torch.arange(40))
    assert isinstance(source, Source)
    with pytest.raises(AttributeError):
        source.name = "other"  # type: ignore[misc]
