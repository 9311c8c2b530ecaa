from __future__ import annotations

import os
from pathlib import Path

import pytest

ABSENT = "set NNSTUDY_DATA_DIR to a folder with MNIST's files to run this"


@pytest.fixture
def mnist() -> Path:
    """The folder that holds MNIST."""
    directory = os.environ.get("NNSTUDY_DATA_DIR")
    if not directory or not (Path(directory) / "MNIST" / "raw").is_dir():
        pytest.skip(ABSENT)
    return Path(directory).resolve()
