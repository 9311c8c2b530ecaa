"""From a source to the parts of a study."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from nnstudy.data.data import Data
from nnstudy.data.examples import require_finite
from nnstudy.data.normalisation import Mode, Normalisation
from nnstudy.data.parts import LoaderPart, Part
from nnstudy.data.source import Source, from_dataset, tensors
from nnstudy.data.split import Split, Subset, hold_out, subsample
from nnstudy.errors import UserError

FITTED_EXAMPLES = 10_000  # enough for mean and std where reading them all takes minutes


def load(
    source: Source | Callable[..., Any] | tuple[Any, Any] | Dataset[Any],
    split: Split | None = None,
    subset: Subset | None = None,
    *,
    directory: Path | None = None,
    download: bool = False,
) -> Data:
    """Loads data and deals them out to training, validation, selection and test part.

    The global random state is left as it was.

    Args:
        source: A source, a function that makes one (``datasets.digits``), inputs and targets,
            or a map-style dataset.
        split: How to deal the examples out. Default: ``Split()``.
        subset: What to leave out. Default: nothing.
        directory: Where files are; handed to a source function that takes it.
        download: Whether missing files may be fetched; likewise.

    Raises:
        UserError: Missing files, an empty part, unknown classes, more examples asked for than
            there are, lengths that differ, numbers that are NaN or infinite.
    """
    split, subset = split or Split(), subset or Subset()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(split.seed)
        return _divide(_as_source(source, directory, download), split, subset)


def load_few(
    source: Source | Callable[..., Any] | tuple[Any, Any] | Dataset[Any],
    split: Split | None = None,
    subset: Subset | None = None,
    *,
    classes: int,
    directory: Path | None = None,
    download: bool = False,
) -> Data:
    """Loads a part of the data that is small enough to be learned from in seconds.

    As ``load``, but where there are fewer examples than the subset asks for, all are taken; and
    where it names no classes, the first few.

    Args:
        source: See ``load``.
        split: See ``load``.
        subset: How many examples to take at most.
        classes: How many classes to take where the subset names none.
        directory: See ``load``.
        download: See ``load``.

    Raises:
        UserError: See ``load``.
    """
    split, subset = split or Split(), subset or Subset()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(split.seed)
        made = _as_source(source, directory, download)
        chosen = subset.classes
        if chosen is None and len(made.class_names) > classes:
            chosen = tuple(range(classes))
        dealt = _deal(_keep_classes(made, chosen), split, Subset())
        few = Subset(
            chosen,
            _at_most(subset.examples, len(dealt["train"])),
            _at_most(subset.valid_examples, len(dealt["validation"])),
        )
        return _divide(made, split, few)


def _at_most(wanted: int | None, there: int) -> int | None:
    return None if wanted is None else min(wanted, there)


def _as_source(given: Any, directory: Path | None, download: bool) -> Source:
    if isinstance(given, Source):
        return given
    if isinstance(given, tuple) and len(given) == 2:
        return tensors(*given)
    if isinstance(given, Dataset) or (isinstance(given, Sequence) and not isinstance(given, str)):
        return from_dataset(given)
    if callable(given):
        accepted = inspect.signature(given).parameters
        options = {"directory": directory, "download": download}
        made = given(**{name: value for name, value in options.items() if name in accepted})
        if callable(made) and not isinstance(made, Source | Dataset):
            raise UserError(f"the data function returned {made!r}, which is no data")
        return _as_source(made, directory, download)
    if hasattr(given, "__getitem__") and hasattr(given, "__len__"):
        return from_dataset(given)
    raise UserError(
        f"{type(given).__name__} is no data: give a function such as datasets.digits, (inputs,"
        " targets), or a map-style dataset"
    )


def _divide(source: Source, split: Split, subset: Subset) -> Data:
    source = _keep_classes(source, subset.classes)
    raw = _deal(source, split, subset)
    digest = _digest(raw, source, split, subset)
    normalisation = fit_normalisation(raw["train"], source.normalise)
    parts = {name: part.normalised(normalisation) for name, part in raw.items()}
    scale = None
    if source.standardise_targets:
        scale = Normalisation.fit([raw["train"].targets], "standardise")
        assert scale is not None
        parts = {n: p.with_targets(scale.standardise(p.targets)) for n, p in parts.items()}
    classes = len(source.class_names) if source.task == "classification" else None
    return Data(
        name=source.name,
        train=parts["train"],
        validation=parts["validation"],
        selection=parts["selection"],
        task=source.task,
        classes=classes,
        outputs=classes or parts["train"].targets.shape[1],
        class_names=source.class_names,
        normalise=source.normalise,
        normalisation=normalisation,
        target_normalisation=scale,
        split=split,
        subset=subset,
        digest=digest,
        _test=parts["test"],
    )


def _keep_classes(source: Source, classes: tuple[int, ...] | None) -> Source:
    if classes is None:
        return source
    if source.task != "classification":
        raise UserError(f"{source.name} has no classes to choose from: it is a regression problem")
    kept = sorted(set(classes))
    known = len(source.class_names)
    unknown = [c for c in kept if not 0 <= c < known]
    if unknown:
        raise UserError(
            f"{source.name} has no class {', '.join(map(str, unknown))}: its classes are 0 to"
            f" {known - 1} ({', '.join(source.class_names)})"
        )
    number = torch.full((known,), -1)
    number[kept] = torch.arange(len(kept))
    return replace(
        source,
        examples=_of_classes(source.examples, number),
        test=None if source.test is None else _of_classes(source.test, number),
        class_names=tuple(source.class_names[c] for c in kept),
    )


def _of_classes(part: Part, number: Tensor) -> Part:
    targets = number[part.targets]
    kept = (targets >= 0).nonzero().flatten()
    return part.take(kept).with_targets(targets[kept])


def _deal(source: Source, split: Split, subset: Subset) -> dict[str, Part]:
    """Deals raw examples out to the four parts."""
    stratify = source.task == "classification"
    deal = partial(hold_out, seed=split.seed, stratify=stratify, shuffle=split.shuffle)
    pool, test = source.examples, source.test
    if test is None:
        rest, held = deal(pool.targets, split.test)
        pool, test = pool.take(rest), pool.take(held)
    if len(test) == 0:
        raise UserError(f"{source.name} has no test examples of the chosen classes")
    rest, held = deal(pool.targets, split.validation)
    train, validation = pool.take(rest), pool.take(held)
    selection = validation.take(torch.arange(0))
    kept = round(len(validation) * split.selection)
    if kept:
        rest, held = deal(validation.targets, kept)
        validation, selection = validation.take(rest), validation.take(held)

    def cut(part: Part, count: int | None, what: str) -> Part:
        if count is None:
            return part
        targets = part.targets
        return part.take(subsample(targets, count, split.seed, stratify=stratify, what=what))

    return {
        "train": cut(train, subset.examples, "training"),
        "validation": cut(validation, subset.valid_examples, "validation"),
        "selection": selection,
        "test": test,
    }


def fit_normalisation(train: Part, mode: Mode) -> Normalisation | None:
    """Fits a normalisation to a training part's inputs as it has them; see ``Normalisation.fit``.

    Raises:
        UserError: An input that is read only now is NaN or infinite.
    """

    def checked() -> Any:
        for inputs in train.raw_inputs(limit=FITTED_EXAMPLES):
            if isinstance(train, LoaderPart):
                require_finite(inputs, "inputs")
            yield inputs

    return Normalisation.fit(checked(), mode)


def _digest(parts: dict[str, Part], source: Source, split: Split, subset: Subset) -> str:
    """Names contents and split.

    It is taken before anything is computed from them, since sums differ in the last digits
    from machine to machine.
    """
    digest = blake2b(digest_size=8)
    how = [
        asdict(split),
        asdict(subset),
        source.task,
        source.normalise,
        source.standardise_targets,
        source.class_names,
    ]
    digest.update(json.dumps(how).encode())
    for name, part in parts.items():
        digest.update(name.encode())
        part.add_to(digest)
    return digest.hexdigest()
