"""Inputs and labels that come as arrays: checked, and brought to one layout."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ttfs.data.inputs import Format, InMemory, Labeled, Shape
from ttfs.errors import UserError

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in gray (ITU-R BT.601)."""


def from_arrays(inputs: Any, labels: Any, wanted: Format, origin: str) -> Labeled:
    """Bring arrays of inputs to [N, *shape] in memory, as uint8 or float32.

    Images [N, C, H, W], [N, H, W, C] or [N, H, W] become gray or RGB as the shape asks. Sequences
    are [N, C, L], [N, L, C], or [N, L] of one channel; vectors are [N, F]. Values are uint8, which
    stand for v / 255, or floats in the range. Raises UserError, which begins with `origin`, for any
    other values or shape, and for labels that are not N integers from 0 to classes − 1.
    """
    values = _values(np.asarray(inputs), wanted, origin)
    values = _channels(_channels_first(values, wanted.shape, origin), wanted.shape, origin)
    labels = check_labels(labels, len(values), wanted.classes, origin)
    return Labeled(InMemory(values.contiguous()), labels)


def check_labels(labels: Any, count: int, classes: int, origin: str) -> Tensor:
    """Return the labels as int64 [count]; raise UserError unless all are in 0 … classes − 1."""
    values = np.asarray(labels)
    if not np.issubdtype(values.dtype, np.integer) or values.shape != (count,):
        raise UserError(
            f"{origin}: labels are {values.dtype} of shape {values.shape}; "
            f"{count} inputs need as many integers"
        )
    if count and not 0 <= values.min() <= values.max() < classes:
        raise UserError(
            f"{origin}: labels run from {values.min()} to {values.max()}, but 'classes: {classes}' "
            f"means 0 to {classes - 1}; correct one of them"
        )
    return torch.from_numpy(values.astype(np.int64))


def _values(inputs: np.ndarray, wanted: Format, origin: str) -> Tensor:
    low, high = wanted.range
    if inputs.dtype == np.uint8:
        if wanted.range != (0.0, 1.0):
            raise UserError(
                f"{origin}: values are uint8, which stand for 0 to 1; delete key 'range'"
            )
        return torch.from_numpy(inputs.copy())
    if not np.issubdtype(inputs.dtype, np.floating):
        raise UserError(
            f"{origin}: values are {inputs.dtype}; give uint8, or floats in [{low:g}, {high:g}]"
        )
    if not np.isfinite(inputs).all():
        raise UserError(f"{origin}: values are NaN or infinite; give floats in [{low:g}, {high:g}]")
    with np.errstate(over="ignore"):  # a value too large for float32 is outside the range, too
        values = inputs.astype(np.float32)
    if values.size and not low <= values.min() <= values.max() <= high:
        raise UserError(
            f"{origin}: values run from {values.min():g} to {values.max():g}; scale them to "
            f"[{low:g}, {high:g}], or name their ends in key 'range'"
        )
    return torch.from_numpy(values)


def _channels_first(values: Tensor, shape: Shape, origin: str) -> Tensor:
    """Bring [N, *size], [N, C, *size] or [N, *size, C] to [N, C, *size]."""
    size, found = shape[1:], values.shape[1:]  # (H, W) of images, (L,) of sequences, () of vectors
    if values.ndim == len(shape) and found == size:
        return values[:, None]
    if values.ndim == len(shape) + 1 and found[1:] == size:
        return values
    if values.ndim == len(shape) + 1 and found[:-1] == size:
        return values.movedim(-1, 1)
    raise UserError(
        f"{origin}: inputs are {_times(values.shape)}, which is no N inputs of "
        f"'shape: {list(shape)}'; correct one of them"
    )


def _channels(values: Tensor, shape: Shape, origin: str) -> Tensor:
    """Turn gray and RGB images into one another where the shape asks for it."""
    found, wanted = values.shape[1], shape[0]
    if found == wanted:
        return values
    image = len(shape) == 3
    if image and found == 1:
        return values.expand(-1, wanted, -1, -1)
    if image and (found, wanted) == (3, 1):
        gray = (values * torch.tensor(LUMA).view(1, 3, 1, 1)).sum(1)
        return (gray.round() if values.dtype == torch.uint8 else gray).to(values.dtype)[:, None]
    name = "channels" if len(shape) > 1 else "features"
    raise UserError(
        f"{origin}: inputs have {found} {name}, 'shape' asks for {wanted}; correct one of them"
    )


def _times(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))
