"""The data of a study, in parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from nnstudy.data.normalisation import Mode, Normalisation
from nnstudy.data.parts import Part
from nnstudy.data.source import Task
from nnstudy.data.split import Split, Subset, subsample


@dataclass(frozen=True, kw_only=True)
class Data:
    """The data of a study: parts that are disjoint, normalised by the training part alone.

    Attributes:
        name: What the data are called.
        train: To learn from.
        validation: For early stopping and the search.
        selection: Kept for choosing and measuring ensembles; may be empty.
        shape: The shape of one input.
        task: "classification" or "regression".
        classes: Number of classes; None for regression.
        outputs: Numbers a network has to give: the classes, or the numbers of a target.
        class_names: What the classes are called, in the order of their labels.
        normalise: Which normalisation was asked for.
        normalisation: What was fitted, None where inputs stay as they are.
        target_normalisation: Likewise for targets that are numbers.
        split: How the parts were made.
        subset: What was left out.
        digest: Names contents and split: 16 hexadecimal digits, equal on every machine.
    """

    name: str
    train: Part
    validation: Part
    selection: Part
    task: Task
    classes: int | None
    outputs: int
    class_names: tuple[str, ...]
    normalise: Mode
    normalisation: Normalisation | None = field(repr=False)
    target_normalisation: Normalisation | None = field(repr=False)
    split: Split
    subset: Subset
    digest: str
    _test: Part = field(repr=False)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one input."""
        return self.train.shape

    def open_test(self, record: Callable[[], None]) -> Part:
        """Returns the test part, after the look at it has been recorded.

        There is no other way to it, so that a look that cannot be recorded is not taken.

        Args:
            record: Records the look; whatever it raises is raised here.
        """
        record()
        return self._test

    def with_share(self, share: float) -> Data:
        """Returns the data with a share of the training examples, classes in equal shares.

        All else stays as it is, normalisation and digest too: scores on the validation part can
        be compared.
        """
        if share == 1:
            return self
        stratify = self.task == "classification"
        count = max(1, round(share * len(self.train)))
        chosen = subsample(
            self.train.targets, count, self.split.seed, stratify=stratify, what="training"
        )
        return replace(self, train=self.train.take(chosen))

    def describe(self) -> dict[str, Any]:
        """Returns what the data are, as JSON-ready values."""
        return {
            "name": self.name,
            "task": self.task,
            "shape": list(self.shape),
            "classes": self.classes,
            "outputs": self.outputs,
            "class_names": list(self.class_names),
            "examples": {
                "train": len(self.train),
                "validation": len(self.validation),
                "selection": len(self.selection),
                "test": len(self._test),
            },
            "normalise": self.normalise,
            "split": asdict(self.split),
            "subset": asdict(self.subset),
            "digest": self.digest,
        }
