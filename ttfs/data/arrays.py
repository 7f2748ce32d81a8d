"""Images and labels that come as arrays: checked, and brought to one layout."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ttfs.data.images import InMemory, Labelled, Shape
from ttfs.errors import UserError

LUMA = (0.299, 0.587, 0.114)


def from_arrays(images: Any, labels: Any, shape: Shape, classes: int, origin: str) -> Labelled:
    """Bring images [N, H, W], [N, C, H, W] or [N, H, W, C] to [N, C, H, W] in memory, gray or RGB as `shape` asks.

    Images are uint8, or floats in [0, 1], which become float32. Raises UserError, which begins with `origin`, for any
    other values or shape, and for labels that are not N integers from 0 to classes − 1.
    """
    pixels = _channels(_channels_first(_pixels(np.asarray(images), origin), shape, origin), shape[0], origin)
    return Labelled(InMemory(pixels.contiguous()), check_labels(labels, len(pixels), classes, origin))


def check_labels(labels: Any, count: int, classes: int, origin: str) -> Tensor:
    """Return the labels as int64 [count]; raise UserError if they are not integers from 0 to classes − 1."""
    values = np.asarray(labels)
    if not np.issubdtype(values.dtype, np.integer) or values.shape != (count,):
        raise UserError(
            f"{origin}: labels are {values.dtype} of shape {values.shape}; {count} images need as many integers"
        )
    if count and not 0 <= values.min() <= values.max() < classes:
        raise UserError(
            f"{origin}: labels run from {values.min()} to {values.max()}, but 'classes: {classes}' means 0 to "
            f"{classes - 1}; mend one of them"
        )
    return torch.from_numpy(values.astype(np.int64))


def _pixels(images: np.ndarray, origin: str) -> Tensor:
    if images.dtype == np.uint8:
        return torch.from_numpy(images.copy())
    if not np.issubdtype(images.dtype, np.floating):
        raise UserError(f"{origin}: images are {images.dtype}; give uint8, or floats in [0, 1]")
    if not np.isfinite(images).all():
        raise UserError(f"{origin}: images hold NaN or infinite values; give floats in [0, 1]")
    if images.size and not 0 <= images.min() <= images.max() <= 1:
        raise UserError(f"{origin}: images run from {images.min():g} to {images.max():g}; scale them to [0, 1]")
    return torch.from_numpy(images.astype(np.float32))


def _channels_first(pixels: Tensor, shape: Shape, origin: str) -> Tensor:
    size = shape[1:]
    if pixels.ndim == 3 and pixels.shape[1:] == size:
        return pixels[:, None]
    if pixels.ndim == 4 and pixels.shape[2:] == size:
        return pixels
    if pixels.ndim == 4 and pixels.shape[1:3] == size:
        return pixels.permute(0, 3, 1, 2)
    found = " × ".join(map(str, pixels.shape))
    raise UserError(f"{origin}: images are {found}, which is no N images of 'shape: {list(shape)}'; mend one of them")


def _channels(pixels: Tensor, wanted: int, origin: str) -> Tensor:
    found = pixels.shape[1]
    if found == wanted:
        return pixels
    if found == 1:
        return pixels.expand(-1, wanted, -1, -1)
    if (found, wanted) == (3, 1):
        gray = (pixels * torch.tensor(LUMA).view(1, 3, 1, 1)).sum(1)
        return (gray.round() if pixels.dtype == torch.uint8 else gray).to(pixels.dtype)[:, None]
    raise UserError(f"{origin}: images have {found} channels, 'shape' asks for {wanted}; mend one of them")
