from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch

from nnstudy.data import Part, Split, Subset, datasets, load, load_few, tensors
from nnstudy.errors import UserError

X = torch.rand(80, 3, generator=torch.Generator().manual_seed(0))
Y = torch.arange(80) % 4


class LookNotRecordedError(Exception):
    pass


def test_the_look_at_the_test_part_is_recorded_before_it_is_given():
    looks = []
    test = load((X, Y)).open_test(lambda: looks.append("seen"))
    assert looks == ["seen"]
    assert len(test) == 16


def test_a_look_that_cannot_be_recorded_is_not_taken():
    def record() -> None:
        raise LookNotRecordedError

    with pytest.raises(LookNotRecordedError):
        load((X, Y)).open_test(record)


def test_nothing_public_but_open_test_reaches_the_test_part():
    data = load(tensors(X, Y, normalise="none"))
    test = {tuple(x) for x, _ in data.open_test(lambda: None).minibatches(1) for x in x.tolist()}
    public = [getattr(data, name) for name in dir(data) if not name.startswith("_")]
    parts = [value for value in public if isinstance(value, Part)]
    assert len(parts) == 3
    for part in parts:
        assert not test & {tuple(x) for x, _ in part.minibatches(1) for x in x.tolist()}
    for value in public:
        held = vars(value).values() if hasattr(value, "__dict__") else ()
        assert not any(isinstance(v, Part) for v in held)
    assert "test=TensorPart" not in repr(data)


def test_the_description_is_json_and_tells_the_sizes():
    description = load((X, Y), subset=Subset(examples=20)).describe()
    assert json.loads(json.dumps(description)) == description | {
        "subset": {"classes": None, "examples": 20, "valid_examples": None}
    }
    assert description["examples"] == {"train": 20, "validation": 10, "selection": 3, "test": 16}


def test_the_digest_is_the_same_for_the_same_contents_and_split():
    digest = load((X, Y)).digest
    assert load((X.clone(), Y.clone())).digest == digest
    assert len(digest) == 16
    assert int(digest, 16) >= 0


def test_the_digest_changes_with_anything_that_changes_a_part():
    one_pixel = X.clone()
    one_pixel[3, 0] += 1e-6
    one_label = Y.clone()
    one_label[79] = (one_label[79] + 1) % 4
    others = [
        load((X, Y)),
        load((one_pixel, Y)),
        load((X, one_label)),
        load((X, Y), Split(seed=1)),
        load((X, Y), Split(validation=0.3)),
        load((X, Y), subset=Subset(examples=20)),
        load(tensors(X, Y, normalise="unit")),
        load(tensors(X, Y, test=(X, Y))),
    ]
    assert len({data.digest for data in others}) == len(others)


def test_loading_leaves_the_global_random_state_alone():
    state = torch.get_rng_state()
    load((X, Y))
    assert torch.equal(state, torch.get_rng_state())


def test_a_source_function_gets_only_what_it_takes(tmp_path):
    seen = {}

    def with_files(directory=None, download=False):
        seen.update(directory=directory, download=download)
        return tensors(X, Y)

    load(with_files, directory=tmp_path, download=True)
    assert seen == {"directory": tmp_path, "download": True}
    assert len(load(lambda: (X, Y), directory=tmp_path).train) == 51
    assert load(partial(datasets.digits, normalise="unit"), directory=tmp_path).normalise == "unit"


@pytest.mark.parametrize("given", [3, "digits", None, (X,), lambda: 3, lambda: lambda: 3])
def test_what_is_no_data_is_refused(given):
    with pytest.raises(UserError):
        load(given)


def test_importing_the_data_room_imports_neither_torchvision_nor_scikit_learn():
    code = (
        "import sys, nnstudy.data;"
        "assert not {'torchvision', 'sklearn', 'optuna', 'mlflow'} & set(sys.modules)"
    )
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], cwd=root, check=True)


def test_few_are_the_first_classes_and_no_more_examples_than_there_are():
    few = load_few(datasets.digits, subset=Subset(None, 1000, 20), classes=2)
    assert few.class_names == ("0", "1")
    assert few.subset == Subset((0, 1), len(few.train), 20)
    assert 200 < len(few.train) < 300
    assert set(few.train.targets.tolist()) == {0, 1}
    named = load_few(datasets.digits, subset=Subset((2, 3, 4), 50, 10), classes=2)
    assert named.digest == load(datasets.digits, subset=Subset((2, 3, 4), 50, 10)).digest


def test_few_of_numbers_or_of_two_classes_keep_all_of_them():
    numbers = load_few(datasets.diabetes, subset=Subset(None, 100, 20), classes=2)
    assert (len(numbers.train), len(numbers.validation)) == (100, 20)
    inputs, labels = torch.randn(60, 2), torch.arange(60) % 2
    two = load_few((inputs, labels), subset=Subset(None, 20, 5), classes=2)
    assert two.subset == Subset(None, 20, 5)
