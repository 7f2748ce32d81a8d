"""Where the images of a data set live while it is used: in memory, or on disk."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ttfs.data.places import reason
from ttfs.errors import UserError

Shape = tuple[int, int, int]


class Images(Protocol):
    """A fixed sequence of images."""

    def __len__(self) -> int: ...

    def subset(self, index: Tensor) -> Self:
        """Return the images at the places [n] of the index."""

    def batches(self, index: Sequence[Tensor], device: torch.device) -> Iterator[Tensor]:
        """Give one batch [n, C, H, W] on the device, uint8 or float32 in [0, 1], for each tensor of places [n]."""

    def fingerprint(self) -> Iterator[bytes | memoryview]:
        """Give the bytes that the digest of the data set is made of."""


class Labelled(NamedTuple):
    """Images with their classes, int64 [N]."""

    images: Images
    labels: Tensor

    def subset(self, index: Tensor) -> "Labelled":
        """Return the images and labels at the places [n] of the index."""
        return Labelled(self.images.subset(index), self.labels[index])


@dataclass(frozen=True)
class InMemory:
    """Images in one tensor [N, C, H, W], uint8 or float32 in [0, 1]. The digest is over its bytes."""

    pixels: Tensor

    def __len__(self) -> int:
        return len(self.pixels)

    def subset(self, index: Tensor) -> "InMemory":
        """Return a copy of the images at the places [n] of the index."""
        return InMemory(self.pixels.index_select(0, index))

    def batches(self, index: Sequence[Tensor], device: torch.device) -> Iterator[Tensor]:
        """Give one batch for each tensor of places; the whole set goes to the device first, once an epoch."""
        pixels = self.pixels.to(device)
        return (pixels.index_select(0, part.to(device)) for part in index)

    def fingerprint(self) -> Iterator[bytes | memoryview]:
        """Give dtype, shape and pixels."""
        yield f"{self.pixels.dtype} {tuple(self.pixels.shape)}".encode()
        yield self.pixels.numpy().data


@dataclass(frozen=True)
class OnDisk(Dataset):
    """Image files, decoded when they are needed by as many worker processes as torch may use threads.

    An image is brought to `shape` by resizing its shorter side and cutting out the center, and to gray or RGB.
    The digest is over the names (relative to `root`) and sizes of the files.
    """

    root: Path
    names: np.ndarray
    shape: Shape

    def __len__(self) -> int:
        return len(self.names)

    def subset(self, index: Tensor) -> "OnDisk":
        """Return the files at the places [n] of the index."""
        return OnDisk(self.root, self.names[index.numpy()], self.shape)

    def batches(self, index: Sequence[Tensor], device: torch.device) -> Iterator[Tensor]:
        """Give one decoded batch for each tensor of places. Raises UserError naming the file that is no image."""
        loader: DataLoader = DataLoader(
            self,
            batch_sampler=[part.tolist() for part in index],
            collate_fn=_as_is,
            num_workers=torch.get_num_threads(),
            generator=torch.Generator(),  # the loader draws a seed: not from the stream that everything else uses
        )
        for batch in loader:
            if isinstance(batch, UserError):
                raise batch
            yield batch.to(device)

    def __getitems__(self, index: list[int]) -> Tensor | UserError:
        """Decode files into uint8 [n, C, H, W]; an error comes back as a value: a worker wraps what it raises."""
        try:
            return torch.stack([decode(self.root / self.names[place], self.shape) for place in index])
        except UserError as error:
            return error

    def in_memory(self) -> InMemory:
        """Decode everything."""
        return InMemory(torch.cat(list(self.batches(torch.arange(len(self)).split(256), torch.device("cpu")))))

    def fingerprint(self) -> Iterator[bytes | memoryview]:
        """Give name and size of each file."""
        for name in self.names:
            yield f"{name}\t{(self.root / name).stat().st_size}\n".encode()


def _as_is(batch: Any) -> Any:
    return batch


def decode(path: Path, shape: Shape) -> Tensor:
    """Read an image file into uint8 [C, H, W], gray or RGB as C is 1 or 3. Raises UserError if it is no whole image."""
    from PIL import Image, ImageOps

    channels, height, width = shape
    try:
        with Image.open(path) as image:
            colors = image.convert("L" if channels == 1 else "RGB")
            fitted = ImageOps.fit(colors, (width, height), Image.Resampling.BILINEAR)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(
            f"{path}: cannot be read as an image: {reason(error)}; replace the file, or delete it"
        ) from None
    return torch.from_numpy(np.array(fitted).reshape(height, width, channels)).permute(2, 0, 1)
