"""Augmentation of a whole batch at once."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from ttfs.errors import UserError

SIGMA = 4
"""Pixels of the Gaussian of an elastic distortion, as of Simard et al. 2003 for MNIST."""


class Moves(NamedTuple):
    """The moves of N images: corners (row, column) of two windows [N, 2], mirrored or not [N],
    centers of the squares that are cut out [N, 2], angles [radian] and factors of enlargement [N],
    noise of an elastic distortion, by axis (row, column) [N, 2, H, W], centers [N, 2] and sides
    [N], as shares of the image's, of boxes of another image.
    """

    shift: Tensor
    crop: Tensor
    flip: Tensor
    cutout: Tensor | None
    turn: tuple[Tensor, Tensor] | None
    noise: Tensor | None
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
    """Random moves of images, in the order rotate, zoom and elastic, shift, crop, flip, cutout,
    cutmix; `Augment()` changes nothing.

    shift: translation by whole pixels, uniform in [-shift, shift] on both axes, black comes in.
    crop: padded by this many reflected pixels (the edge is not repeated), then a window of the old
        size anywhere in it.
    flip: mirrored left to right with probability 1/2; `alternating` mirrors at random in the first
        epoch, and from then on in every other one, so that two epochs show both sides of each image
        (Jordan 2024, arXiv 2404.00498).
    cutout: a square of this many pixels, its center anywhere in the image, has the image's mean
        color (DeVries and Taylor 2017, arXiv 1708.04552, with the mean of the data set).
    rotate: turned about the center by an angle uniform in [-rotate, rotate] degrees.
    zoom: enlarged about the center by a factor uniform in [1 - zoom, 1 + zoom].
    elastic: alpha of an elastic distortion (Simard, Steinkraus, Platt 2003, ICDAR, section 2). Each
        pixel is read from a place that is moved, on each axis, by alpha times noise uniform in
        [-1, 1], smoothed by a Gaussian of SIGMA = 4 pixels (no noise lies outside of the image).
        Far from the edges the standard deviation of a move is alpha / (2 SIGMA sqrt(3 pi)), 0.04
        alpha pixels. All three read the image once, between four pixels (bilinear), and black comes
        in.
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
    elastic: float = 0.0
    cutmix: float = 0.0
    black: float = 0.0
    """What comes in: the lowest value of the images."""

    def draw(self, shape: torch.Size, generator: torch.Generator) -> Moves:
        """Draw the moves of inputs of a shape (N, ...): as many random numbers whatever is switched
        on, and then those of the cutout, of rotation and zoom, of the elastic distortion, and of
        the cutmix.
        """
        count = shape[0]
        return Moves(
            torch.randint(2 * self.shift + 1, (count, 2), generator=generator),
            torch.randint(2 * self.crop + 1, (count, 2), generator=generator),
            torch.randint(2, (count,), generator=generator).bool(),
            _centers(shape, generator) if self.cutout else None,
            self._turns(count, generator) if self.rotate or self.zoom else None,
            _noise(shape, generator) if self.elastic else None,
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
        warped = moves.turn is not None or moves.noise is not None
        black = self.black if warped or self.shift else 0.0
        if black:  # 0 comes in
            images = images - black
        if warped:
            images = self._warped(images, moves)
        if self.shift:
            images = _windows(images, self.shift, "constant", moves.shift)
        if black:
            images = images + black
        if self.crop:
            images = _windows(images, self.crop, "reflect", moves.crop)
        if self.flip:
            images = torch.where(moves.flip.view(-1, 1, 1, 1), images.flip(3), images)
        if moves.cutout is not None:
            images = _cut_out(images, self.cutout, moves.cutout)
        return images

    def _warped(self, images: Tensor, moves: Moves) -> Tensor:
        """Turn, enlarge and distort images [N, C, H, W]: one read of each."""
        places = _places(images, moves.turn)
        if moves.noise is not None:
            places = places + self.elastic * _smoothed(moves.noise)
        return functional.grid_sample(images, places, align_corners=False)

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


def _noise(shape: torch.Size, generator: torch.Generator) -> Tensor:
    """Uniform noise in [-1, 1] for rows and columns, [N, 2, H, W], of images (N, C, H, W)."""
    return 2 * torch.rand(shape[0], 2, *shape[2:], generator=generator) - 1


def _places(images: Tensor, turn: tuple[Tensor, Tensor] | None) -> Tensor:
    """Return where the pixels of images [N, C, H, W] come from, [N, H, W, 2] in coordinates (x, y)
    that are -1 and 1 at the edges, if they turn counterclockwise about their centers by angles [N]
    and are enlarged by factors [N]; None leaves them in place.
    """
    count, _, height, width = images.shape
    angles, factors = turn or (images.new_zeros(count), images.new_ones(count))
    cosine, sine, zero = angles.cos() / factors, angles.sin() / factors, torch.zeros_like(angles)
    rows = [cosine, -sine * height / width, zero, sine * width / height, cosine, zero]
    return functional.affine_grid(
        torch.stack(rows, 1).view(-1, 2, 3), list(images.shape), align_corners=False
    )


def _smoothed(noise: Tensor) -> Tensor:
    """Smooth noise [N, 2, H, W] of rows and columns by a Gaussian; return it, taken as moves in
    pixels, as differences of the coordinates of `_places`, [N, H, W, 2].
    """
    height, width = noise.shape[2:]
    moves = _gaussian(height, noise.device) @ noise @ _gaussian(width, noise.device)
    down, right = moves.unbind(1)
    return torch.stack([right * 2 / width, down * 2 / height], -1)


def _gaussian(size: int, device: torch.device) -> Tensor:
    """Return the matrix [size, size] that smooths an axis by a Gaussian of SIGMA pixels."""
    places = torch.arange(size, device=device)
    distances = (places[:, None] - places) / SIGMA
    return torch.exp(-(distances**2) / 2) / (SIGMA * math.sqrt(2 * math.pi))


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
