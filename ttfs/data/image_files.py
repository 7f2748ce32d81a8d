"""Image files: decoded when they are needed, brought to one size."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ttfs.data.arrival import reason
from ttfs.data.inputs import InMemory, Shape
from ttfs.errors import UserError


@dataclass(frozen=True)
class ImageFiles(Dataset):
    """Image files, decoded by as many worker processes as torch may use threads.

    An image is brought to `shape` by resizing its shorter side and cutting out the center, and to
    gray or RGB. The digest is over the names (relative to `root`) and sizes of the files.
    """

    root: Path
    names: np.ndarray
    shape: Shape

    def __len__(self) -> int:
        return len(self.names)

    def subset(self, index: Tensor) -> "ImageFiles":
        """Return the files at the places [n] of the index."""
        return ImageFiles(self.root, self.names[index.numpy()], self.shape)

    def batches(self, index: Sequence[Tensor], device: torch.device) -> Iterator[Tensor]:
        """Give one decoded batch for each tensor of places.

        Workers read two batches ahead; those for a GPU pass through pinned memory, out of which
        they are copied while the GPU works on the one before. Raises UserError naming a file that
        is no image, and where a worker process is killed.
        """
        loader: DataLoader = DataLoader(
            self,
            batch_sampler=[part.tolist() for part in index],
            collate_fn=_as_is,
            num_workers=torch.get_num_threads(),
            pin_memory=device.type == "cuda",
            # The loader draws a seed: not from the stream that everything else uses.
            generator=torch.Generator(),
        )
        for batch in self._read(loader):
            if isinstance(batch, UserError):
                raise batch
            yield batch.to(device, non_blocking=True)

    def _read(self, loader: DataLoader) -> Iterator[Tensor | UserError]:
        try:
            yield from loader
        except RuntimeError as error:
            raise UserError(
                f"{self.root}: a process that reads its images ended early ({reason(error)}); "
                "it may have lacked memory: free some, or lower 'threads'"
            ) from None

    def __getitems__(self, index: list[int]) -> Tensor | UserError:
        """Decode files into uint8 [n, C, H, W].

        An error comes back as a value, because a worker process wraps what it raises.
        """
        try:
            return torch.stack(
                [decode(self.root / self.names[place], self.shape) for place in index]
            )
        except UserError as error:
            return error

    def in_memory(self) -> InMemory:
        """Decode everything."""
        index = torch.arange(len(self)).split(256)
        return InMemory(torch.cat(list(self.batches(index, torch.device("cpu")))))

    def fingerprint(self) -> Iterator[bytes | memoryview]:
        """Give name and size of each file."""
        for name in self.names:
            # A Path takes twice as long, which counts with a million files.
            try:
                size = os.stat(f"{self.root}/{name}").st_size  # noqa: PTH116
            except OSError as error:
                raise UserError(
                    f"{self.root}/{name}: cannot be read ({error.strerror}); get it again, or "
                    "delete it"
                ) from None
            yield f"{name}\t{size}\n".encode()


class Kept:
    """Image files, each decoded when it is first needed and then kept in memory as uint8.

    The digest is that of the files.
    """

    def __init__(self, files: ImageFiles):
        self._files = files
        self._values = torch.empty(len(files), *files.shape, dtype=torch.uint8)
        self._known = torch.zeros(len(files), dtype=torch.bool)

    def __len__(self) -> int:
        return len(self._files)

    def subset(self, index: Tensor) -> "Kept":
        """Return the files at the places [n] of the index."""
        return Kept(self._files.subset(index))

    def batches(self, index: Sequence[Tensor], device: torch.device) -> Iterator[Tensor]:
        """Give one batch for each tensor of places, out of memory where all files were decoded."""
        if self._known.all():
            yield from InMemory(self._values).batches(index, device)
            return
        decoded = self._files.batches(index, torch.device("cpu"))
        for places, batch in zip(index, decoded, strict=True):
            self._values[places], self._known[places] = batch, True
            yield batch.to(device)

    def fingerprint(self) -> Iterator[bytes | memoryview]:
        """Give name and size of each file."""
        return self._files.fingerprint()


def _as_is(batch: Any) -> Any:
    return batch


def decode(path: Path, shape: Shape) -> Tensor:
    """Read an image file into uint8 [C, H, W], gray or RGB as C is 1 or 3.

    The camera's rotation (EXIF) is undone. Gray of 16 bits becomes v / 257, floats in [0, 1] become
    255 v, both rounded. Transparent pixels are seen over black. Raises UserError for a file that is
    no whole image or that holds several frames, integers of 32 bits, or other floats.
    """
    from PIL import ExifTags, Image, ImageOps

    channels, height, width = shape
    try:
        with Image.open(path) as image:
            _check_frames(image)
            image.load()  # what tells the rotation may come last
            colors = _turned(_of_8_bits(image), image.getexif().get(ExifTags.Base.Orientation))
            colors = colors.convert("L" if channels == 1 else "RGB")
            fitted = ImageOps.fit(colors, (width, height), Image.Resampling.BILINEAR)
    except Exception as error:  # damaged files raise whatever reads them
        raise UserError(
            f"{path}: cannot be read as an image: {reason(error)}; replace the file, or delete it"
        ) from None
    return torch.from_numpy(np.array(fitted).reshape(height, width, channels)).permute(2, 0, 1)


def _check_frames(image: Any) -> None:
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":  # a photograph; its further frames are previews
        raise ValueError(f"it holds {frames} frames, one is wanted")


def _turned(image: Any, orientation: int | None) -> Any:
    """Undo the rotation that EXIF tells. `ImageOps.exif_transpose` writes all tags anew, too, and
    refuses photographs for tags of a wrong type.
    """
    from PIL.Image import Transpose

    turns = {
        2: Transpose.FLIP_LEFT_RIGHT, 3: Transpose.ROTATE_180, 4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE, 6: Transpose.ROTATE_270, 7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }  # fmt: skip
    return image.transpose(turns[orientation]) if orientation in turns else image


def _of_8_bits(image: Any) -> Any:
    """Return the image with 8 bits a channel, without transparency."""
    from PIL import Image

    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        values = np.asarray(image)
        clear = image.info.get("transparency")  # a shade of gray
        seen = values if clear is None else np.where(values == clear, 0, values)
        return Image.fromarray(np.rint(seen / 257).astype(np.uint8))
    if image.mode == "I":
        raise ValueError("it holds integers of 32 bits; 8 or 16 are wanted")
    if image.mode == "F":
        values = np.asarray(image)
        if not 0 <= values.min() <= values.max() <= 1:  # NaN is not either
            raise ValueError(
                f"it holds floats from {values.min():g} to {values.max():g}; [0, 1] is wanted"
            )
        return Image.fromarray(np.rint(255 * values).astype(np.uint8))
    if image.has_transparency_data:
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        return Image.alpha_composite(black, image.convert("RGBA"))
    return image
