"""The inputs of a data set while it is used: a fixed sequence of them, given batch by batch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, Self

import torch
from torch import Tensor

Shape = tuple[int, ...]
"""Of one input: (C, H, W) of an image, (C, L) of a sequence, (F,) of a vector."""


@dataclass(frozen=True)
class Format:
    """Shape of an input, number of classes, lowest and highest value that an input can hold."""

    shape: Shape
    classes: int
    range: tuple[float, float] = (0.0, 1.0)


class Inputs(Protocol):
    """A fixed sequence of inputs."""

    def __len__(self) -> int: ...

    def subset(self, index: Tensor) -> Self:
        """Return the inputs at the places [n] of the index."""

    def batches(self, index: Sequence[Tensor], device: torch.device) -> Iterator[Tensor]:
        """Give one batch [n, *shape] on the device for each tensor of places [n].

        Batches are float32, or uint8, whose values v stand for v / 255.
        """

    def fingerprint(self) -> Iterator[bytes | memoryview]:
        """Give the bytes that the digest of the data set is made of."""


class Labeled(NamedTuple):
    """Inputs with their classes, int64 [N]."""

    inputs: Inputs
    labels: Tensor

    def subset(self, index: Tensor) -> "Labeled":
        """Return the inputs and labels at the places [n] of the index."""
        return Labeled(self.inputs.subset(index), self.labels[index])


@dataclass(frozen=True)
class InMemory:
    """Inputs in one tensor [N, *shape], uint8 or float32. The digest is over its bytes."""

    values: Tensor

    def __len__(self) -> int:
        return len(self.values)

    def subset(self, index: Tensor) -> "InMemory":
        """Return a copy of the inputs at the places [n] of the index."""
        return InMemory(self.values.index_select(0, index))

    def batches(self, index: Sequence[Tensor], device: torch.device) -> Iterator[Tensor]:
        """Give one batch for each tensor of places; all go to the device first, once an epoch."""
        values, places = self.values.to(device), torch.cat(list(index)).to(device)
        parts = places.split([len(part) for part in index])
        return (values.index_select(0, part) for part in parts)

    def fingerprint(self) -> Iterator[bytes | memoryview]:
        """Give dtype, shape and values."""
        yield f"{self.values.dtype} {tuple(self.values.shape)}".encode()
        yield self.values.numpy().data
