"""The operations of a ReLU network, each a module, and the groups that are mapped alike.

Most are torch's own modules; those here are written as functions, or are the simpler ones that
several modules amount to. `reading` says which operation a node of the network is.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Add(nn.Module):
    """Sum, or difference, of two branches, or of a branch and a constant."""

    def __init__(self, sign: float = 1.0):
        super().__init__()
        self.sign = sign


class Scale(nn.Module):
    """Product of a branch and a constant, or its quotient."""

    def __init__(self, divide: bool = False):
        super().__init__()
        self.divide = divide


class Concatenate(nn.Module):
    """Channels of several branches side by side."""


class Rearrange(nn.Module):
    """Values in another order or shape; none is computed with."""


class ChannelMean(nn.Module):
    """Mean, or sum, over dimensions that hold no channels: a linear map of each channel."""

    def __init__(self, function: Callable[..., Tensor], dims: tuple[int, ...], keep: bool):
        super().__init__()
        self.function, self.dims, self.keep = function, dims, keep

    def forward(self, values: Tensor) -> Tensor:
        """Map [N, C, ...] to [N, C, ...] with fewer positions."""
        return self.function(values, list(self.dims), keepdim=self.keep)


class GlobalMax(nn.Module):
    """Largest value of each channel."""

    return_indices = False

    def __init__(self, keep: bool):
        super().__init__()
        self.keep = keep

    def forward(self, values: Tensor) -> Tensor:
        """Map [N, C, ...] to [N, C], or to [N, C, 1, ...] where the dimensions are kept."""
        return values.amax(list(range(2, values.dim())), keepdim=self.keep)


class Largest(nn.Module):
    """Largest value over dimensions that may hold channels."""

    def __init__(self, dims: tuple[int, ...]):
        super().__init__()
        self.dims = dims

    def forward(self, values: Tensor) -> Tensor:
        """Map [N, ...] to [N, ...] with one place in each of the dimensions."""
        return values.amax(self.dims, keepdim=True)


class Extremum(nn.Module):
    """The larger (maxout), or the smaller, of two branches, value by value."""

    def __init__(self, smaller: bool = False):
        super().__init__()
        self.smaller = smaller


class Bound(nn.Module):
    """The larger, or the smaller, of a branch and a constant, value by value."""

    def __init__(self, constant: Tensor, smaller: bool = False):
        super().__init__()
        self.constant, self.smaller = constant, smaller


class Resize(nn.Module):
    """Each channel resized by weights that sum to 1 at each place: bilinear and the like."""

    def __init__(self, **options: Any):
        super().__init__()
        self.options = options

    def forward(self, values: Tensor) -> Tensor:
        """Map [N, C, ...] to [N, C, ...]."""
        return F.interpolate(values, **self.options)


class Clip(nn.Module):
    """Values clipped to [low, high], one of them finite at least."""

    def __init__(self, low: float, high: float):
        super().__init__()
        self.low, self.high = low, high


class Leaky(nn.Module):
    """max(v, 0) - slope max(-v, 0), the slope a number or weights that learn, one a channel."""

    def __init__(self, slope: Any):
        super().__init__()
        self.learns = isinstance(slope, Tensor) and slope.requires_grad
        self.slope = torch.as_tensor(slope, dtype=torch.float64).detach()


class Unsupported(nn.Module):
    """A call without an exact TTFS counterpart, under its own name."""

    reason = "there is no exact TTFS counterpart"

    def __init__(self, name: str, reason: str = ""):
        super().__init__()
        self.name, self.reason = name, reason or self.reason


REARRANGING = (
    nn.Flatten,
    nn.Unflatten,
    nn.ConstantPad1d,
    nn.ConstantPad2d,
    nn.ZeroPad1d,
    nn.ZeroPad2d,
    nn.ReflectionPad1d,
    nn.ReflectionPad2d,
    nn.ReplicationPad1d,
    nn.ReplicationPad2d,
    nn.CircularPad1d,
    nn.CircularPad2d,
    nn.PixelShuffle,
    nn.PixelUnshuffle,
    nn.ChannelShuffle,
)
DROPOUTS = (
    nn.Dropout,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Dropout3d,
    nn.AlphaDropout,
    nn.FeatureAlphaDropout,
)
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.SyncBatchNorm)
MAX_POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, GlobalMax)
MEAN_POOLS = (
    nn.AvgPool1d, nn.AvgPool2d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, ChannelMean, Resize,
)  # fmt: skip
IDENTITIES = (*DROPOUTS, nn.Identity)
RECTIFIERS = (nn.ReLU, Clip, Leaky)
KNOWN = (
    *RECTIFIERS,
    *CONVOLUTIONS,
    *TRANSPOSED,
    *BATCH_NORMS,
    *MAX_POOLS,
    *MEAN_POOLS,
    *IDENTITIES,
    *REARRANGING,
    nn.Linear,
    Add,
    Scale,
    Concatenate,
    Rearrange,
)
