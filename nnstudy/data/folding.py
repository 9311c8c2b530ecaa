"""Cross-validation: training and validation part pooled, and each example held out once."""

from __future__ import annotations

from dataclasses import replace

import torch

from nnstudy.data.data import Data
from nnstudy.data.loading import fit_normalisation
from nnstudy.data.normalisation import Normalisation
from nnstudy.data.parts import Part
from nnstudy.data.split import fold_positions


class Folds:
    """The folds of a study's data: the examples of training and validation part, dealt out anew.

    They depend on the data and their split alone, so that all trials have the same ones. The
    selection and the test part keep their examples.

    Args:
        data: What is dealt out.
        count: How many folds, two at least.
        share: Share of a fold's training examples that is trained on.

    Raises:
        UserError: There are fewer than two folds, or more than examples.
    """

    def __init__(self, data: Data, count: int, *, share: float = 1.0) -> None:
        self._data = data
        self._share = share
        self._positions = fold_positions(
            torch.cat([data.train.targets, data.validation.targets]),
            count,
            data.split.seed,
            stratify=data.task == "classification",
            shuffle=data.split.shuffle,
        )
        # As large as a few examples, while a fold is as large as the data and not kept.
        self._inputs: dict[int, Normalisation | None] = {}

    def __len__(self) -> int:
        """Returns the number of folds."""
        return len(self._positions)

    def __getitem__(self, index: int) -> Data:
        """Returns the data with a fold held out: trained on is the rest, validated on the fold.

        All parts get the normalisations that are fitted to the fold's training part alone.

        Args:
            index: Of the fold, from 0.
        """
        rest, held = self._positions[index]
        pool = self._data.train.joined(self._data.validation)
        train = pool.take(rest)
        if index not in self._inputs:
            self._inputs[index] = fit_normalisation(train, self._data.normalise)
        inputs, targets = self._inputs[index], self._fit_targets(train)

        def normalised(part: Part) -> Part:
            part = part.normalised_anew(inputs)
            return part.with_targets(targets.standardise(part.targets)) if targets else part

        fitted = normalised(train)
        fold = replace(
            self._data,
            train=fitted,
            validation=normalised(pool.take(held)),
            selection=normalised(self._data.selection),
            normalisation=fitted.normalisation,
            target_normalisation=targets and targets.after(self._data.target_normalisation),
            _test=normalised(self._data._test),
        )
        return fold.with_share(self._share)

    def _fit_targets(self, train: Part) -> Normalisation | None:
        if self._data.target_normalisation is None:
            return None
        return Normalisation.fit([train.targets], "standardise")
