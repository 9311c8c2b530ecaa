from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from nnstudy.data.files import read_inputs
from nnstudy.errors import UserError


def test_arrays_are_read_as_they_are(tmp_path):
    values = np.arange(24, dtype=np.uint8).reshape(4, 1, 2, 3)
    np.save(tmp_path / "x.npy", values)
    np.savez(tmp_path / "x.npz", inputs=values, targets=np.arange(4))
    for name in ("x.npy", "x.npz"):
        read = read_inputs(tmp_path / name, (1, 2, 3))
        assert read.values.dtype == np.uint8
        np.testing.assert_array_equal(read.values, values)
        assert read.names == ("0", "1", "2", "3")


def test_one_input_grey_pictures_and_flat_rows_get_their_shape(tmp_path):
    np.save(tmp_path / "one.npy", np.zeros((1, 2, 3)))
    assert read_inputs(tmp_path / "one.npy", (1, 2, 3)).values.shape == (1, 1, 2, 3)
    np.save(tmp_path / "grey.npy", np.zeros((4, 2, 3)))
    assert read_inputs(tmp_path / "grey.npy", (1, 2, 3)).values.shape == (4, 1, 2, 3)
    np.save(tmp_path / "flat.npy", np.zeros((5, 6)))
    assert read_inputs(tmp_path / "flat.npy", (1, 2, 3)).values.shape == (5, 1, 2, 3)


def test_tables_are_read_with_and_without_a_line_of_names(tmp_path):
    (tmp_path / "bare.csv").write_text("1,2.5\n3,-4e2\n")
    (tmp_path / "named.csv").write_text("\ufeffage,height\n1,2.5\n\n3,-4e2\n", encoding="utf-8")
    for name in ("bare.csv", "named.csv"):
        read = read_inputs(tmp_path / name, (2,))
        np.testing.assert_array_equal(read.values, [[1, 2.5], [3, -400]])
    (tmp_path / "whole.csv").write_text("1,2\n3,4\n")
    assert read_inputs(tmp_path / "whole.csv", (2,)).values.dtype == np.int64


def test_pictures_are_read_by_name_grey_or_coloured(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "b.png")
    Image.fromarray(pixels[..., 0]).save(tmp_path / "a.PNG", format="png")
    (tmp_path / "notes.txt").write_text("no picture")
    coloured = read_inputs(tmp_path, (3, 4, 5))
    assert coloured.names == ("a.PNG", "b.png")
    np.testing.assert_array_equal(coloured.values[1], np.moveaxis(pixels, -1, 0))
    grey = read_inputs(tmp_path / "a.PNG", (1, 4, 5))
    np.testing.assert_array_equal(grey.values[0, 0], pixels[..., 0])


def _damaged(path):
    path.write_bytes(b"\x93NUMPY damaged")


def _pickled(path):
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("x.npy", _damaged, "cannot be read as an array of numbers"),
        ("x.npy", _pickled, "cannot be read as an array of numbers"),
        ("x.npz", lambda p: np.savez(p, a=np.zeros(1), b=np.ones(1)), "has several arrays"),
        ("x.npy", lambda p: np.save(p, np.zeros((3, 7))), r"shape \(3, 7\); expected \(N, 1, 2, 3"),
        ("x.csv", lambda p: p.write_text("1,2\n3,x\n"), "line 2: 'x' is no number"),
        ("x.csv", lambda p: p.write_text("1,2\n3\n"), "line 2: 1 cells"),
        ("x.csv", lambda p: p.write_text("a,b\n"), "no rows of numbers"),
        ("x.png", lambda p: p.write_bytes(b"no picture"), "cannot be read as a picture"),
        (
            "x.png",
            lambda p: Image.new("L", (9, 9)).save(p),
            "9 x 9 pixels; the networks take 3 x 2",
        ),
        ("x.pkl", lambda p: p.write_bytes(b""), "of a kind that is not read"),
        ("empty", lambda p: p.mkdir(), "there are no pictures"),
        ("missing.npy", lambda p: None, "there is no file or folder"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, name, write, message):
    write(tmp_path / name)
    with pytest.raises(UserError, match=message):
        read_inputs(tmp_path / name, (1, 2, 3))
