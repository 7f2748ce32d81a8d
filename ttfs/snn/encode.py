"""Pixels as spikes: the earlier a spike, the larger the value.

All modules of a TTFS network pass on charges s = t_max - t >= 0, with 0 for a silent neuron.
"""

import math
import warnings

import torch
from torch import Tensor

from ttfs.snn.imperfections import Imperfections
from ttfs.snn.state import Numbers


class Encode(Numbers):
    """Turn pixels on [low, high] into spikes of the input window [0, 1].

    A pixel x spikes at t = 1 - (x - low) / (high - low); its charge is s = 1 - t. The lowest value
    stays silent. Values outside the range are clipped to it, as no spike can lie outside its
    window.
    """

    imperfections: Imperfections | None = None
    """What a chip does to the spikes of pixels; None in an ideal network."""

    input_range: Tensor
    _said_range = False

    def __init__(self, low: float, high: float):
        super().__init__()
        self.register_number("input_range", (low, high))

    @property
    def low(self) -> float:
        """The pixel value that stays silent."""
        return self.input_range[0].item()

    @property
    def high(self) -> float:
        """The pixel value that spikes at once."""
        return self.input_range[1].item()

    def forward(self, images: Tensor, inside: bool = False) -> Tensor:
        """Map images [N, ...] to charges [N, ...] on [0, 1]; of those that are known to lie inside
        this range already, these are the images themselves.
        """
        compiling = torch.compiler.is_compiling()  # a graph keeps the range as a tensor
        low, high = self.input_range if compiling else self.input_range.tolist()
        if compiling and not images.is_floating_point():
            images = images.to(torch.get_default_dtype())  # as numbers take whole ones
        if compiling or (low, high) != (0.0, 1.0):
            images = (images - low) / (high - low)
            inside = False  # but for rounding
        charges = images if inside and images.is_floating_point() else images.clamp(0.0, 1.0)
        return charges if self.imperfections is None else self.imperfections.charges(charges, 1.0)

    def lie_inside(self, images: Tensor) -> bool:
        """Return whether images are known to lie inside the range; refuse NaN and infinity, and
        warn once of images that are clipped.

        Of images on a device the first alone are looked at, to wait for none later.
        """
        waits = images.device.type != "cpu"
        if not images.numel() or (waits and self._said_range):
            return False
        values = images.detach()
        smallest, largest = values.amin().item(), values.amax().item()  # faster than `aminmax`
        if not (math.isfinite(smallest) and math.isfinite(largest)):
            raise ValueError("the images hold NaN or infinity; this network takes finite values")
        low, high = self.input_range.tolist()
        slack = rounding(low, high, images.dtype)
        if not self._said_range and (smallest < low - slack or largest > high + slack):
            self._said_range = True
            warnings.warn(
                f"images lie on [{smallest:.4g}, {largest:.4g}] and are clipped to the input range "
                f"({low:g}, {high:g}) of this network; convert with the range of the inputs, or "
                "scale them",
                stacklevel=4,
            )
        self._said_range |= waits
        return low <= smallest and largest <= high

    def extra_repr(self) -> str:
        """Show the range, and the chip."""
        chip = f", {self.imperfections}" if self.imperfections else ""
        return f"low={self.low}, high={self.high}{chip}"


def rounding(low: float, high: float, dtype: torch.dtype) -> float:
    """Return how far rounding alone takes values of a dtype out of [low, high]: 1e-4 of the range,
    or an epsilon at its ends, which few bits do not hold.
    """
    epsilon = torch.finfo(dtype).eps if dtype.is_floating_point else 0.0
    return max(1e-4 * (high - low), epsilon * max(abs(low), abs(high)))
