"""Seeded, stratified parts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nnstudy.errors import UserError


@dataclass(frozen=True)
class Split:
    """How examples are dealt out to the parts.

    Attributes:
        validation: What is held out of the training examples, as a share or a number.
        selection: The share of the held-out examples that is kept for choosing and measuring
            ensembles; may be 0. The rest is the validation part.
        test: The test part, as a share or a number; only for sources without a test set.
        seed: Same seed, same parts.
        shuffle: Whether examples are dealt out at random, classes in equal shares. If not,
            the last ones are held out, as published splits often have it.
    """

    validation: float | int = 0.2
    selection: float = 0.25
    test: float | int = 0.2
    seed: int = 0
    shuffle: bool = True

    def __post_init__(self) -> None:
        """Raises UserError for shares and numbers that cannot be meant."""
        for name in ("validation", "test"):
            size = getattr(self, name)
            if isinstance(size, bool) or not (size >= 1 if isinstance(size, int) else 0 < size < 1):
                raise UserError(
                    f"Split({name}=...) must be a share between 0 and 1 or a whole number of"
                    f" examples from 1, got {size}"
                )
        if not 0 <= self.selection < 1:
            raise UserError(
                "Split(selection=...) must be a share of the held-out examples, from 0 to below"
                f" 1, got {self.selection}"
            )
        if not 0 <= self.seed < 2**32:
            raise UserError(f"Split(seed=...) must lie between 0 and 2^32 - 1, got {self.seed}")


@dataclass(frozen=True)
class Subset:
    """Makes a study a quick one by leaving out most of the data.

    Attributes:
        classes: Labels of the classes to keep, in all parts; they are numbered anew from 0 in
            the order of their labels. None keeps all.
        examples: Number of training examples to keep.
        valid_examples: Number of validation examples to keep.
    """

    classes: tuple[int, ...] | None = None
    examples: int | None = None
    valid_examples: int | None = None

    def __post_init__(self) -> None:
        """Raises UserError for numbers that cannot be meant."""
        if self.classes is not None and len(set(self.classes)) < 2:
            raise UserError(f"at least two different classes are needed, got {self.classes}")
        for name in ("examples", "valid_examples"):
            count = getattr(self, name)
            if count is not None and count < 1:
                raise UserError(f"Subset({name}=...) must be at least 1, got {count}")


def hold_out(
    targets: Tensor, size: float | int, seed: int, *, stratify: bool, shuffle: bool = True
) -> tuple[Tensor, Tensor]:
    """Splits examples in two, classes in equal shares where there are enough of each.

    Args:
        targets: One target per example.
        size: What to hold out: a share (float) or a number (int).
        seed: Same seed, same parts.
        stratify: Whether the targets are classes.
        shuffle: Whether to choose at random; if not, the last ones are held out.

    Returns:
        The positions of the remaining and of the held-out examples, ascending.

    Raises:
        UserError: One of the two would be empty.
    """
    total = len(targets)
    held = size if isinstance(size, int) else round(total * size)
    if not 0 < held < total:
        raise UserError(
            f"holding out {size} of {total} examples leaves a part empty: change the split, or"
            " take more examples"
        )
    if not shuffle:
        positions = torch.arange(total)
        return positions[: total - held], positions[total - held :]
    rest, out = _split(targets, held, seed, stratify)
    return torch.from_numpy(np.sort(rest)), torch.from_numpy(np.sort(out))


def subsample(targets: Tensor, count: int, seed: int, *, stratify: bool, what: str) -> Tensor:
    """Returns the positions of ``count`` examples, ascending, stratified like ``hold_out``.

    Raises:
        UserError: There are fewer.
    """
    if count > len(targets):
        raise UserError(f"{count} {what} examples were asked for, there are only {len(targets)}")
    if count == len(targets):
        return torch.arange(count)
    return hold_out(targets, count, seed, stratify=stratify)[1]


def fold_positions(
    targets: Tensor, folds: int, seed: int, *, stratify: bool, shuffle: bool = True
) -> list[tuple[Tensor, Tensor]]:
    """Deals examples out to folds, each of which is held out once.

    Args:
        targets: One target per example.
        folds: How many.
        seed: Same seed, same folds.
        stratify: Whether the targets are classes, which then have equal shares in all folds where
            there are enough of each.
        shuffle: Whether to deal out at random; if not, each fold is a stretch of neighbours.

    Returns:
        For each fold the positions of the remaining and of the held-out examples, ascending.

    Raises:
        UserError: There are fewer than two folds, or more than examples.
    """
    from sklearn.model_selection import KFold, StratifiedKFold

    if not 2 <= folds <= len(targets):
        raise UserError(
            f"{len(targets)} examples cannot be dealt out to {folds} folds: give a number from 2"
            f" to {len(targets)}"
        )
    labels = targets.cpu().numpy() if stratify and shuffle else None
    if labels is not None and np.unique(labels, return_counts=True)[1].min() < folds:
        labels = None
    kind = KFold if labels is None else StratifiedKFold
    dealer = kind(folds, shuffle=shuffle, random_state=seed if shuffle else None)
    dealt = dealer.split(np.zeros(len(targets)), labels)
    return [(torch.from_numpy(rest), torch.from_numpy(out)) for rest, out in dealt]


def _split(
    targets: Tensor, held: int, seed: int, stratify: bool
) -> tuple[np.ndarray[tuple[int], np.dtype[np.int64]], np.ndarray[tuple[int], np.dtype[np.int64]]]:
    from sklearn.model_selection import train_test_split

    labels = targets.cpu().numpy() if stratify else None
    if labels is not None:
        _, counts = np.unique(labels, return_counts=True)
        if counts.min() < 2 or min(held, len(targets) - held) < len(counts):
            labels = None
    positions = np.arange(len(targets))
    rest, out = train_test_split(positions, test_size=held, random_state=seed, stratify=labels)
    return rest, out
