"""Seeding and random states of Python, NumPy and PyTorch."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch


def seed_everything(*entropy: int) -> None:
    """Seeds Python, NumPy and PyTorch (all devices) from a tuple of whole numbers.

    Different tuples give independent streams (``numpy.random.SeedSequence``).
    """
    words = _sequence(entropy).generate_state(3)
    random.seed(int(words[0]))
    np.random.seed(int(words[1]))
    torch.manual_seed(int(words[2]))


def derived_generator(*entropy: int) -> torch.Generator:
    """Returns a CPU generator of its own, seeded from a tuple of whole numbers."""
    return torch.Generator().manual_seed(int(_sequence(entropy).generate_state(1)[0]))


def _sequence(entropy: tuple[int, ...]) -> np.random.SeedSequence:
    # The length belongs to it: NumPy pads with zeros, so that (1, 2) and (1, 2, 0) would be one.
    return np.random.SeedSequence((len(entropy), *entropy))


def random_state() -> dict[str, Any]:
    """Returns the state of every generator as tensors and JSON-ready values."""
    kind, keys, position, has_gauss, gauss = np.random.get_state()
    version, internal, gauss_next = random.getstate()
    state: dict[str, Any] = {
        "python": [version, list(internal), gauss_next],
        "numpy": [kind, np.asarray(keys).tolist(), int(position), int(has_gauss), float(gauss)],
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def set_random_state(state: Mapping[str, Any]) -> None:
    """Puts every generator where ``random_state`` found it."""
    version, internal, gauss_next = state["python"]
    random.setstate((version, tuple(internal), gauss_next))
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, np.asarray(keys, dtype=np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    cuda: Sequence[torch.Tensor] | None = state.get("cuda")
    if cuda is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(list(cuda))
