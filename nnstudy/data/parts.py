"""The examples of one part, and how minibatches are taken from them."""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor

from nnstudy.data.examples import InputsOnly, stack_inputs
from nnstudy.data.normalisation import Augmentation, Normalisation

if TYPE_CHECKING:
    from hashlib import blake2b

_CHUNK = 1 << 20  # numbers that are worked on at once where a whole part is read


class Part(ABC):
    """The examples of one part of the data, ready to be trained or validated on.

    Attributes:
        targets: All targets: int64 of shape (N,) for classes, float32 of shape (N, k) for
            numbers.
        normalisation: From inputs as they came to those of a minibatch; None: they are the same.
    """

    targets: Tensor
    normalisation: Normalisation | None

    def __len__(self) -> int:
        """Returns the number of examples."""
        return len(self.targets)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} examples of shape {self.shape})"

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """The shape of one input."""

    def order(self, generator: torch.Generator | None) -> Tensor:
        """Returns an order of the examples as int64: shuffled, or as stored where None."""
        if generator is None:
            return torch.arange(len(self))
        return torch.randperm(len(self), generator=generator)

    @abstractmethod
    def minibatches(
        self,
        batch_size: int,
        order: Tensor | None = None,
        *,
        start: int = 0,
        device: torch.device | str | None = None,
        augmentation: Augmentation | None = None,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields minibatches of normalised inputs and their targets; the last may be smaller.

        Args:
            batch_size: Examples in a minibatch.
            order: Positions of the examples to take, in this order. Default: as stored.
            start: Minibatches to leave out at the beginning, which are not even loaded.
            device: Where the minibatches shall be. Default: where the part is.
            augmentation: Applied to each minibatch of inputs: to images before they are
                standardised (bytes are numbers in [0, 1] then), to all else afterwards.
                It draws from torch's global random state.
        """

    @abstractmethod
    def take(self, index: Tensor) -> Part:
        """Returns the examples at these positions as a part of their own."""

    @abstractmethod
    def to(self, device: torch.device | str) -> Part:
        """Returns the part with the tensors it holds in memory on a device."""

    @abstractmethod
    def raw_inputs(self, limit: int | None = None) -> Iterator[Tensor]:
        """Yields inputs as they came, in pieces; where they are not in memory, ``limit`` of them."""

    @abstractmethod
    def normalised(self, normalisation: Normalisation | None) -> Part:
        """Returns a part of raw inputs as one that gives normalised minibatches."""

    @abstractmethod
    def normalised_anew(self, fitted: Normalisation | None) -> Part:
        """Returns the part with another normalisation, fitted to ``raw_inputs`` as it has them."""

    @abstractmethod
    def with_targets(self, targets: Tensor) -> Part:
        """Returns the same inputs with other targets."""

    @abstractmethod
    def joined(self, other: Self) -> Part:
        """Returns the examples of two parts of one source, one after the other."""

    @abstractmethod
    def add_to(self, digest: blake2b) -> None:
        """Adds the contents to a digest."""


class TensorPart(Part):
    """A part in memory: minibatches are taken from tensors by index.

    Bytes stay bytes and are converted minibatch by minibatch, since a quarter of the memory
    traffic makes up for the arithmetic; other numbers are normalised once.

    Attributes:
        inputs: All inputs as they are held.
        targets: See ``Part``.
        normalisation: See ``Part``.
    """

    def __init__(
        self, inputs: Tensor, targets: Tensor, normalisation: Normalisation | None = None
    ) -> None:
        """Makes a part of tensors.

        Args:
            inputs: As ``normalised`` leaves them: bytes raw, other numbers normalised.
            targets: The target of each example.
            normalisation: What minibatches of bytes get and augmentation undoes.
        """
        self.targets = targets
        self.inputs = inputs
        self.normalisation = normalisation

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one input."""
        return tuple(self.inputs.shape[1:])

    def minibatches(
        self,
        batch_size: int,
        order: Tensor | None = None,
        *,
        start: int = 0,
        device: torch.device | str | None = None,
        augmentation: Augmentation | None = None,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields minibatches; see ``Part.minibatches``."""
        inputs, targets = self.inputs, self.targets
        home = inputs.device
        there = home if device is None else torch.device(device)
        overlap = there.type == "cuda"  # the other way the memory is not yet filled
        prepare = self._preparation(there, augmentation)
        rest = (self.order(None) if order is None else order)[start * batch_size :].to(home)
        if len(rest) == 0:
            return
        for index in torch.split(rest, batch_size):
            x, y = inputs.index_select(0, index), targets.index_select(0, index)
            if there != home:
                x, y = x.to(there, non_blocking=overlap), y.to(there, non_blocking=overlap)
            yield (x if prepare is None else prepare(x)), y

    def _preparation(
        self, device: torch.device, augmentation: Augmentation | None
    ) -> Augmentation | None:
        normalisation = self.normalisation
        if self.inputs.dtype == torch.uint8:
            return _from_raw(normalisation, device, augmentation, self.shape)
        if augmentation is None or normalisation is None or not _is_image(self.shape):
            return augmentation
        return lambda x: normalisation.standardise(augmentation(normalisation.restore(x)))

    def take(self, index: Tensor) -> TensorPart:
        """Returns the examples at these positions, copied."""
        return self._like(self.inputs[index], self.targets[index])

    def to(self, device: torch.device | str) -> TensorPart:
        """Returns the part on a device."""
        return self._like(self.inputs.to(device), self.targets.to(device))

    def raw_inputs(self, limit: int | None = None) -> Iterator[Tensor]:
        """Yields all inputs as they are held, in pieces."""
        per_piece = max(1, _CHUNK // max(1, self.inputs[:1].numel()))
        yield from torch.split(self.inputs, per_piece)

    def normalised(self, normalisation: Normalisation | None) -> TensorPart:
        """Returns the part with bytes kept and other numbers normalised, as float32."""
        inputs = self.inputs
        if inputs.is_floating_point():
            scaled = normalisation.standardise(inputs) if normalisation else inputs
            inputs = scaled.float()
        return TensorPart(inputs, self.targets, normalisation)

    def normalised_anew(self, fitted: Normalisation | None) -> TensorPart:
        """Returns the part with another normalisation; numbers get it after the one they have.

        Both are affine and so is what they make together: it is the one that would have been
        fitted to the numbers as they came, but for rounding.
        """
        if fitted is None:
            return self
        if self.inputs.is_floating_point():
            inputs = fitted.standardise(self.inputs)
            return TensorPart(inputs, self.targets, fitted.after(self.normalisation))
        return TensorPart(self.inputs, self.targets, fitted)

    def with_targets(self, targets: Tensor) -> TensorPart:
        """Returns the same inputs with other targets."""
        return self._like(self.inputs, targets)

    def joined(self, other: Self) -> TensorPart:
        """Returns the examples of both, copied."""
        targets = torch.cat([self.targets, other.targets])
        return self._like(torch.cat([self.inputs, other.inputs]), targets)

    def add_to(self, digest: blake2b) -> None:
        """Adds shapes, types and every byte to a digest."""
        for tensor in (self.inputs, self.targets):
            _add_tensor(digest, tensor)

    def _like(self, inputs: Tensor, targets: Tensor) -> TensorPart:
        return TensorPart(inputs, targets, self.normalisation)


class LoaderPart(Part):
    """A part that does not fit in memory: a ``DataLoader`` reads its minibatches.

    The targets are held in memory, the inputs are read from the dataset.
    """

    def __init__(
        self,
        dataset: Any,
        targets: Tensor,
        *,
        shape: tuple[int, ...],
        workers: int = 0,
        repeatable: bool = True,
        index: Tensor | None = None,
    ) -> None:
        """Makes a part of a map-style dataset.

        Args:
            dataset: Gives ``(input, target)`` by position; its targets are not used.
            targets: The target of each example of the part.
            shape: The shape of one input.
            workers: Processes that read ahead.
            repeatable: Whether reading an example twice gives the same input.
            index: The examples' positions in the dataset. Default: all.
        """
        self.targets = targets
        self._dataset = dataset
        self._shape = shape
        self._workers = workers
        self._repeatable = repeatable
        self._index = torch.arange(len(targets)) if index is None else index
        self.normalisation: Normalisation | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one input."""
        return self._shape

    def minibatches(
        self,
        batch_size: int,
        order: Tensor | None = None,
        *,
        start: int = 0,
        device: torch.device | str | None = None,
        augmentation: Augmentation | None = None,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields minibatches; see ``Part.minibatches``."""
        there = self.targets.device if device is None else torch.device(device)
        prepare = _from_raw(self.normalisation, there, augmentation, self._shape)
        rest = (self.order(None) if order is None else order)[start * batch_size :].cpu()
        if len(rest) == 0:
            return
        targets = torch.split(self.targets[rest.to(self.targets.device)], batch_size)
        pin = there.type == "cuda"
        for raw, y in zip(self._read(rest, batch_size, pin), targets, strict=True):
            x = prepare(raw.to(there, non_blocking=pin))
            yield x, y.to(there, non_blocking=pin)

    def _read(self, order: Tensor, batch_size: int, pin: bool = False) -> Iterator[Tensor]:
        from torch.utils.data import DataLoader

        # A generator of its own: else each start would draw from the global random state, and
        # a training continued inside an epoch would not repeat what was interrupted.
        generator = torch.Generator().manual_seed(zlib.crc32(order[:64].numpy().tobytes()))
        loader: DataLoader[Any] = DataLoader(
            InputsOnly(self._dataset),
            batch_size=batch_size,
            sampler=self._index[order].tolist(),
            num_workers=self._workers,
            collate_fn=stack_inputs,
            generator=generator,
            pin_memory=pin,
        )
        yield from loader

    def take(self, index: Tensor) -> LoaderPart:
        """Returns the examples at these positions."""
        return self._like(self.targets[index], self._index[index.cpu()])

    def to(self, device: torch.device | str) -> LoaderPart:
        """Returns the part with its targets on a device; inputs follow minibatch by minibatch."""
        return self._like(self.targets.to(device), self._index)

    def raw_inputs(self, limit: int | None = None) -> Iterator[Tensor]:
        """Yields the inputs of at most ``limit`` examples, evenly spaced, in pieces."""
        count = len(self) if limit is None else min(limit, len(self))
        spaced = torch.linspace(0, len(self) - 1, count, dtype=torch.float64).round().long()
        numbers = max(1, torch.Size(self._shape).numel())
        yield from self._read(spaced, max(1, min(256, _CHUNK // numbers)))

    def normalised(self, normalisation: Normalisation | None) -> LoaderPart:
        """Returns the part with each minibatch normalised as it is read."""
        part = self._like(self.targets, self._index)
        part.normalisation = normalisation
        return part

    def normalised_anew(self, fitted: Normalisation | None) -> LoaderPart:
        """Returns the part with another normalisation instead of the one it has."""
        return self if fitted is None else self.normalised(fitted)

    def with_targets(self, targets: Tensor) -> LoaderPart:
        """Returns the same inputs with other targets."""
        return self._like(targets, self._index)

    def joined(self, other: Self) -> LoaderPart:
        """Returns the examples of both, by their positions."""
        targets = torch.cat([self.targets, other.targets])
        return self._like(targets, torch.cat([self._index, other._index]))

    def add_to(self, digest: blake2b) -> None:
        """Adds the targets, the examples' positions and up to 256 inputs to a digest."""
        _add_tensor(digest, self.targets)
        _add_tensor(digest, self._index)
        if self._repeatable and len(self):
            for inputs in self.raw_inputs(limit=256):
                _add_tensor(digest, inputs)

    def _like(self, targets: Tensor, index: Tensor) -> LoaderPart:
        part = LoaderPart(
            self._dataset,
            targets,
            shape=self._shape,
            workers=self._workers,
            repeatable=self._repeatable,
            index=index,
        )
        part.normalisation = self.normalisation
        return part


def _from_raw(
    normalisation: Normalisation | None,
    device: torch.device,
    augmentation: Augmentation | None,
    shape: tuple[int, ...],
) -> Augmentation:
    """Returns the function from raw minibatches to what the network gets."""
    if augmentation is not None and not _is_image(shape):
        plain = _from_raw(normalisation, device, None, shape)
        return lambda raw: augmentation(plain(raw))
    if normalisation is not None:
        return normalisation.from_raw(device, augmentation)
    if augmentation is None:
        return _as_network_dtype
    return lambda raw: augmentation(_as_network_dtype(raw))


def _is_image(shape: tuple[int, ...]) -> bool:
    return len(shape) >= 3


def _as_network_dtype(raw: Tensor) -> Tensor:
    """Bytes and numbers become float32; other integers are indices and stay."""
    return raw.float() if raw.dtype == torch.uint8 or raw.is_floating_point() else raw


def _add_tensor(digest: blake2b, tensor: Tensor) -> None:
    digest.update(f"{tuple(tensor.shape)} {tensor.dtype}".encode())
    digest.update(tensor.detach().cpu().contiguous().numpy().data)
