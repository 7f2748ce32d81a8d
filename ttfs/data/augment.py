"""Augmentation of a whole batch at once."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional


class Moves(NamedTuple):
    """The moves of N images: corners (row, column) of two windows [N, 2], mirrored or not [N],
    corners of the squares that are cut out [N, 2].
    """

    shift: Tensor
    crop: Tensor
    flip: Tensor
    cutout: Tensor | None

    def of(self, images: slice) -> "Moves":
        """Return the moves of some of the images."""
        cutout = None if self.cutout is None else self.cutout[images]
        return Moves(self.shift[images], self.crop[images], self.flip[images], cutout)


@dataclass(frozen=True)
class Augment:
    """Random moves of images, in the order shift, crop, flip, cutout; `Augment()` changes nothing.

    shift: translation by whole pixels, uniform in [-shift, shift] on both axes, black (0) comes in.
    crop: padded by so many reflected pixels (the edge is not repeated), then a window of the old
        size anywhere in it.
    flip: mirrored left to right with probability 1/2; `alternating` mirrors at random in the first
        epoch, and from then on in every other one, so that two epochs show both sides of each image
        (Jordan 2024, arXiv 2404.00498).
    cutout: a square of so many pixels, its center anywhere in the image, has the mean color of the
        image (DeVries and Taylor 2017, arXiv 1708.04552, with the mean of the data set).
    """

    shift: int = 0
    crop: int = 0
    flip: bool | Literal["alternating"] = False
    cutout: int = 0

    def draw(self, shape: torch.Size, generator: torch.Generator) -> Moves:
        """Draw the moves of inputs of a shape (N, ...): as many random numbers whatever is switched
        on, but for the cutout.
        """
        count = shape[0]
        return Moves(
            torch.randint(2 * self.shift + 1, (count, 2), generator=generator),
            torch.randint(2 * self.crop + 1, (count, 2), generator=generator),
            torch.randint(2, (count,), generator=generator).bool(),
            _centers(shape, generator) if self.cutout else None,
        )

    def move(self, images: Tensor, moves: Moves) -> Tensor:
        """Return the float images [N, C, H, W], on any device, with these moves made."""
        device = images.device
        if self.shift:
            images = _windows(images, self.shift, "constant", moves.shift.to(device))
        if self.crop:
            images = _windows(images, self.crop, "reflect", moves.crop.to(device))
        if self.flip:
            mirrored = moves.flip.to(device).view(-1, 1, 1, 1)
            images = torch.where(mirrored, images.flip(3), images)
        if moves.cutout is not None:
            images = _cut_out(images, self.cutout, moves.cutout.to(device))
        return images


def _centers(shape: torch.Size, generator: torch.Generator) -> Tensor:
    """Random pixels (row, column) [N, 2] of images (N, C, H, W)."""
    count, _, *size = shape
    sides = (torch.randint(side, (count,), generator=generator) for side in size)
    return torch.stack(list(sides), 1)


def _cut_out(images: Tensor, size: int, centers: Tensor) -> Tensor:
    """Give a square of each image [N, C, H, W] the image's mean color; what is outside is lost."""
    rows, columns = (torch.arange(side, device=images.device) for side in images.shape[2:])
    first = centers - size // 2
    inside_rows = (rows >= first[:, :1]) & (rows < first[:, :1] + size)  # [N, H]
    inside_columns = (columns >= first[:, 1:]) & (columns < first[:, 1:] + size)  # [N, W]
    inside = inside_rows[:, None, :, None] & inside_columns[:, None, None, :]  # [N, 1, H, W]
    return torch.where(inside, images.mean((2, 3), keepdim=True), images)


def _windows(images: Tensor, pad: int, mode: str, corner: Tensor) -> Tensor:
    """Pad the images [N, C, H, W] and cut out of each a window of the old size."""
    height, width = images.shape[2:]
    windows = (
        functional.pad(images, (pad, pad, pad, pad), mode=mode)
        .unfold(2, height, 1)
        .unfold(3, width, 1)
    )
    return windows[torch.arange(len(images), device=images.device), :, corner[:, 0], corner[:, 1]]
