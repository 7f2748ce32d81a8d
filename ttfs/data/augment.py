"""Augmentation of a whole batch at once."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional


class Moves(NamedTuple):
    """The moves of N images: corners (row, column) of two windows [N, 2], mirrored or not [N]."""

    shift: Tensor
    crop: Tensor
    flip: Tensor


@dataclass(frozen=True)
class Augment:
    """Random moves of images, in the order shift, crop, flip; `Augment()` changes nothing.

    shift: translation by whole pixels, uniform in [-shift, shift] on both axes, black (0) comes in.
    crop: padded by so many reflected pixels (the edge is not repeated), then a window of the old
        size anywhere in it.
    flip: mirrored left to right with probability 1/2.
    """

    shift: int = 0
    crop: int = 0
    flip: bool = False

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Return the float images [N, C, H, W], on any device, moved at random."""
        return self.move(images, self.draw(len(images), generator))

    def draw(self, count: int, generator: torch.Generator) -> Moves:
        """Draw the moves of `count` images: as many random numbers whatever is switched on."""
        return Moves(
            torch.randint(2 * self.shift + 1, (count, 2), generator=generator),
            torch.randint(2 * self.crop + 1, (count, 2), generator=generator),
            torch.randint(2, (count,), generator=generator).bool(),
        )

    def move(self, images: Tensor, moves: Moves) -> Tensor:
        """Return the images with these moves made."""
        shift, crop, flip = (part.to(images.device) for part in moves)
        if self.shift:
            images = _windows(images, self.shift, "constant", shift)
        if self.crop:
            images = _windows(images, self.crop, "reflect", crop)
        if self.flip:
            images = torch.where(flip.view(-1, 1, 1, 1), images.flip(3), images)
        return images


def _windows(images: Tensor, pad: int, mode: str, corner: Tensor) -> Tensor:
    """Pad the images [N, C, H, W] and cut out of each a window of the old size."""
    height, width = images.shape[2:]
    windows = (
        functional.pad(images, (pad, pad, pad, pad), mode=mode)
        .unfold(2, height, 1)
        .unfold(3, width, 1)
    )
    return windows[torch.arange(len(images), device=images.device), :, corner[:, 0], corner[:, 1]]
