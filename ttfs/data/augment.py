"""Augmentation of a whole batch at once."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from ttfs.errors import UserError


class Moves(NamedTuple):
    """The moves of N images: corners (row, column) of two windows [N, 2], mirrored or not [N],
    centers of the squares that are cut out [N, 2], angles [radian] and factors of enlargement [N],
    centers [N, 2] and sides [N], as shares of the image's, of boxes of another image.
    """

    shift: Tensor
    crop: Tensor
    flip: Tensor
    cutout: Tensor | None
    turn: tuple[Tensor, Tensor] | None
    boxes: tuple[Tensor, Tensor] | None

    def of(self, images: slice) -> "Moves":
        """Return the moves of some of the images."""
        return self._changed(lambda drawn: drawn[images])

    def to(self, device: torch.device) -> "Moves":
        """Return the moves on a device, which goes on with its work meanwhile."""
        return self._changed(lambda drawn: drawn.to(device, non_blocking=True))

    def _changed(self, change: Callable[[Tensor], Tensor]) -> "Moves":
        def changed(part: Any) -> Any:
            if isinstance(part, tuple):
                return tuple(map(change, part))
            return None if part is None else change(part)

        return Moves(*map(changed, self))


@dataclass(frozen=True)
class Augment:
    """Random moves of images, in the order rotate and zoom, shift, crop, flip, cutout, cutmix;
    `Augment()` changes nothing.

    shift: translation by whole pixels, uniform in [-shift, shift] on both axes, black comes in.
    crop: padded by this many reflected pixels (the edge is not repeated), then a window of the old
        size anywhere in it.
    flip: mirrored left to right with probability 1/2; `alternating` mirrors at random in the first
        epoch, and from then on in every other one, so that two epochs show both sides of each image
        (Jordan 2024, arXiv 2404.00498).
    cutout: a square of this many pixels, its center anywhere in the image, has the image's mean
        color (DeVries and Taylor 2017, arXiv 1708.04552, with the mean of the data set).
    rotate: turned about the center by an angle uniform in [-rotate, rotate] degrees.
    zoom: enlarged about the center by a factor uniform in [1 - zoom, 1 + zoom]. Both read the image
        once, between four pixels (bilinear), and black comes in.
    cutmix: share of the images into which a box of the next image of the batch is pasted, its
        center anywhere in the image and its area, before what is outside is lost, uniform in [0, 1]
        of the image. Labels are shared by area (Yun et al. 2019, arXiv 1905.04899).
    """

    shift: int = 0
    crop: int = 0
    flip: bool | Literal["alternating"] = False
    cutout: int = 0
    rotate: float = 0.0
    zoom: float = 0.0
    cutmix: float = 0.0
    black: float = 0.0
    """What comes in: the lowest value of the images."""

    def draw(self, shape: torch.Size, generator: torch.Generator) -> Moves:
        """Draw the moves of inputs of a shape (N, ...): as many random numbers whatever is switched
        on, and then those of the cutout, of rotation and zoom, and of the cutmix.
        """
        count = shape[0]
        return Moves(
            torch.randint(2 * self.shift + 1, (count, 2), generator=generator),
            torch.randint(2 * self.crop + 1, (count, 2), generator=generator),
            torch.randint(2, (count,), generator=generator).bool(),
            _centers(shape, generator) if self.cutout else None,
            self._turns(count, generator) if self.rotate or self.zoom else None,
            self._boxes(shape, generator) if self.cutmix else None,
        )

    def _turns(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        angles, factors = 2 * torch.rand(2, count, generator=generator) - 1
        return angles * math.radians(self.rotate), 1 + factors * self.zoom

    def _boxes(self, shape: torch.Size, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        centers = _centers(shape, generator)
        areas, chances = torch.rand(2, shape[0], generator=generator)
        return centers, torch.where(chances < self.cutmix, areas.sqrt(), 0.0)

    def move(self, images: Tensor, moves: Moves) -> Tensor:
        """Return the float images [N, C, H, W] with these moves, on the same device, made."""
        if self.black:  # 0 comes in
            images = images - self.black
        if moves.turn is not None:
            images = _turned(images, *moves.turn)
        if self.shift:
            images = _windows(images, self.shift, "constant", moves.shift)
        if self.black:
            images = images + self.black
        if self.crop:
            images = _windows(images, self.crop, "reflect", moves.crop)
        if self.flip:
            images = torch.where(moves.flip.view(-1, 1, 1, 1), images.flip(3), images)
        if moves.cutout is not None:
            images = _cut_out(images, self.cutout, moves.cutout)
        return images

    def mix(
        self, images: Tensor, labels: Tensor, moves: Moves, classes: int
    ) -> tuple[Tensor, Tensor]:
        """Return images [N, C, H, W], moved already, and labels int64 [N]; with cutmix images with
        boxes of others in them, and the shares of the labels, float32 [N, classes].
        """
        if moves.boxes is None:
            return images, labels
        centers, sides = moves.boxes
        height, width = images.shape[2:]
        inside = _inside(images, centers, (sides * height).round(), (sides * width).round())
        images = torch.where(inside, images.roll(-1, 0), images)
        shares = functional.one_hot(labels, classes).to(images)
        return images, shares.lerp(shares.roll(-1, 0), inside.to(images).mean((2, 3)))


def augmentation(
    chosen: Mapping[str, Any] | str | None, shape: Sequence[int], where: str
) -> Augment:
    """Return the augmentation of a configuration: its keys, "none" or null.

    Raises UserError, which begins with `where`, if inputs of the shape cannot be moved so.
    """
    augment = Augment(**({} if isinstance(chosen, str | None) else chosen))
    if augment == Augment():
        return augment
    if len(shape) != 3:
        raise UserError(
            f"{where}: only images [C, H, W] can be moved, inputs are {list(shape)}; "
            "set 'augment: none'"
        )
    if max(augment.shift, augment.crop) >= min(shape[1:]):
        raise UserError(
            f"{where}: moves of {augment.shift} and {augment.crop} pixels leave nothing of "
            f"{list(shape)}; lower them"
        )
    return augment


def _centers(shape: torch.Size, generator: torch.Generator) -> Tensor:
    """Random pixels (row, column) [N, 2] of images (N, C, H, W)."""
    count, _, *size = shape
    sides = (torch.randint(side, (count,), generator=generator) for side in size)
    return torch.stack(list(sides), 1)


def _turned(images: Tensor, angles: Tensor, factors: Tensor) -> Tensor:
    """Turn images [N, C, H, W] counterclockwise about their centers by angles [N], and enlarge them
    by factors [N].
    """
    height, width = images.shape[2:]
    cosine, sine, zero = angles.cos() / factors, angles.sin() / factors, torch.zeros_like(angles)
    # Where each pixel comes from, in coordinates (x, y) that are -1 and 1 at the edges.
    rows = [cosine, -sine * height / width, zero, sine * width / height, cosine, zero]
    places = functional.affine_grid(
        torch.stack(rows, 1).view(-1, 2, 3), list(images.shape), align_corners=False
    )
    return functional.grid_sample(images, places, align_corners=False)


def _cut_out(images: Tensor, size: int, centers: Tensor) -> Tensor:
    """Give a square of each image [N, C, H, W] the image's mean color; what is outside is lost."""
    side = centers.new_full((len(images),), size)
    inside = _inside(images, centers, side, side)
    return torch.where(inside, images.mean((2, 3), keepdim=True), images)


def _inside(images: Tensor, centers: Tensor, heights: Tensor, widths: Tensor) -> Tensor:
    """Return which pixels [N, 1, H, W] lie in the box of each image, of whole heights and widths
    [N] about centers [N, 2].
    """
    ranges = []
    for axis, sizes in enumerate((heights, widths)):
        pixels = torch.arange(images.shape[2 + axis], device=images.device)
        first = (centers[:, axis] - sizes // 2)[:, None]
        ranges.append((pixels >= first) & (pixels < first + sizes[:, None]))
    rows, columns = ranges
    return rows[:, None, :, None] & columns[:, None, None, :]


def _windows(images: Tensor, pad: int, mode: str, corner: Tensor) -> Tensor:
    """Pad the images [N, C, H, W] and cut out of each a window of the old size."""
    height, width = images.shape[2:]
    windows = (
        functional.pad(images, (pad, pad, pad, pad), mode=mode)
        .unfold(2, height, 1)
        .unfold(3, width, 1)
    )
    return windows[torch.arange(len(images), device=images.device), :, corner[:, 0], corner[:, 1]]
