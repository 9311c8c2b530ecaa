"""Data that ship with scikit-learn or that torchvision fetches, and any of one's own.

``digits``, ``digits_rows`` and ``diabetes`` need no files. The others read torchvision's
files from ``directory``, by default the environment variable ``NNSTUDY_DATA_DIR`` or else
``./data``, and fetch them only when asked.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from nnstudy.data.normalisation import Mode
from nnstudy.data.source import Source, from_dataset, tensors
from nnstudy.errors import UserError

__all__ = [
    "cifar10",
    "diabetes",
    "digits",
    "digits_rows",
    "fashion_mnist",
    "from_dataset",
    "mnist",
    "tensors",
]

_DIGITS = tuple("0123456789")


def digits(*, normalise: Mode = "standardise") -> Source:
    """Handwritten digits: 1,797 images (1, 8, 8) from UCI, shipped with scikit-learn.

    Their grey levels, 0 to 16, are spread over the bytes 0 to 255, so that they are treated as
    every other image.
    """
    return tensors(
        _digit_bytes()[:, None],
        _digit_targets(),
        name="digits",
        class_names=_DIGITS,
        normalise=normalise,
    )


def digits_rows(*, normalise: Mode = "standardise") -> Source:
    """The images of ``digits`` as sequences of 8 rows of 8 pixels, for recurrent networks."""
    return tensors(
        _digit_bytes(),
        _digit_targets(),
        name="digits_rows",
        class_names=_DIGITS,
        normalise=normalise,
    )


def diabetes(*, standardise_targets: bool = True) -> Source:
    """Progression of diabetes: 442 patients, 10 features, from Efron et al. 2004.

    The target, a number from 25 to 346 one year after the measurements, is standardised by
    default: a mean squared error of 1 then is what always predicting the mean scores.
    """
    from sklearn.datasets import load_diabetes

    bunch = load_diabetes(scaled=False)
    return tensors(
        bunch.data, bunch.target, name="diabetes", standardise_targets=standardise_targets
    )


def mnist(
    directory: Path | str | None = None,
    download: bool = False,
    *,
    normalise: Mode = "standardise",
) -> Source:
    """MNIST: 60,000 and 10,000 handwritten digits (1, 28, 28), from LeCun et al. 1998.

    Args:
        directory: Holds ``MNIST/raw``.
        download: Fetch the files if they are missing.
        normalise: See ``Source``; "unit" gives plain pixels in [0, 1].

    Raises:
        UserError: The files are missing, or could not be fetched.
    """
    return _from_torchvision("MNIST", "mnist", directory, download, normalise, _DIGITS)


def fashion_mnist(
    directory: Path | str | None = None,
    download: bool = False,
    *,
    normalise: Mode = "standardise",
) -> Source:
    """Fashion-MNIST: 60,000 and 10,000 articles (1, 28, 28), from Xiao et al. 2017.

    Args:
        directory: Holds ``FashionMNIST/raw``.
        download: Fetch the files if they are missing.
        normalise: See ``Source``.

    Raises:
        UserError: The files are missing, or could not be fetched.
    """
    return _from_torchvision("FashionMNIST", "fashion_mnist", directory, download, normalise)


def cifar10(
    directory: Path | str | None = None,
    download: bool = False,
    *,
    normalise: Mode = "standardise",
) -> Source:
    """CIFAR-10: 50,000 and 10,000 photographs (3, 32, 32), from Krizhevsky 2009.

    Its files are pickles; torchvision verifies their checksums before it reads them.

    Args:
        directory: Holds ``cifar-10-batches-py``.
        download: Fetch the files if they are missing.
        normalise: See ``Source``.

    Raises:
        UserError: The files are missing or damaged, or could not be fetched.
    """
    return _from_torchvision("CIFAR10", "cifar10", directory, download, normalise)


def _digit_bytes() -> np.ndarray[Any, np.dtype[np.uint8]]:
    from sklearn.datasets import load_digits

    levels: np.ndarray[Any, Any] = load_digits().images
    return np.rint(levels * (255 / 16)).astype(np.uint8)


def _digit_targets() -> np.ndarray[Any, Any]:
    from sklearn.datasets import load_digits

    targets: np.ndarray[Any, Any] = load_digits().target
    return targets


def _from_torchvision(
    kind: str,
    name: str,
    directory: Path | str | None,
    download: bool,
    normalise: Mode,
    class_names: tuple[str, ...] | None = None,
) -> Source:
    from torchvision import datasets

    root = Path(directory or os.environ.get("NNSTUDY_DATA_DIR") or "data")
    try:
        train, test = (
            getattr(datasets, kind)(root, train=is_train, download=download)
            for is_train in (True, False)
        )
    except (RuntimeError, OSError, ValueError) as error:
        if download:
            raise UserError(f"{kind} could not be fetched to {root.absolute()}: {error}") from error
        raise UserError(
            f"{kind} is not in {root.absolute()} ({error}): add --download to fetch it, put its"
            " files there, or name their directory in the environment variable NNSTUDY_DATA_DIR"
        ) from error
    return tensors(
        _channels_first(train.data),
        train.targets,
        (_channels_first(test.data), test.targets),
        name=name,
        class_names=class_names or tuple(train.classes),
        normalise=normalise,
    )


def _channels_first(images: Any) -> Any:
    """Images (N, H, W) or (N, H, W, C) as (N, C, H, W)."""
    return images[:, None] if images.ndim == 3 else np.moveaxis(np.asarray(images), -1, 1)
