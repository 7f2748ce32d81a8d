"""Modules a TTFS network is made of. All of them pass on charges s = t_max - t >= 0, with 0 for a silent neuron."""

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn


class Encode(nn.Module):
    """Turn pixels on [low, high] into spikes of the input window [0, 1].

    A pixel x spikes at t = 1 - (x - low) / (high - low); its charge is s = 1 - t. The lowest value stays silent.
    Values outside the range are clipped to it, as no spike can lie outside its window.
    """

    emission: Any = None
    """What a chip does to the spikes (`ttfs.hardware`); None in an ideal network."""

    def __init__(self, low: float, high: float):
        super().__init__()
        self.low, self.high = low, high

    def forward(self, images: Tensor) -> Tensor:
        """Map images [N, ...] to charges [N, ...] on [0, 1]."""
        if (self.low, self.high) == (0.0, 1.0):
            return images.clamp(0.0, 1.0)
        return ((images - self.low) / (self.high - self.low)).clamp(0.0, 1.0)

    def extra_repr(self) -> str:
        """Show the range."""
        return f"low={self.low}, high={self.high}"


class Fire(nn.Module):
    """B1 neurons: constant slope at threshold (Stanojevic et al. 2024, Nat. Commun. 15:6793, Methods).

    From the opening t_min of its window on, dV/dt = 1 and the threshold is T - D, with T the width of the window and
    D the bias. So a neuron whose potential (bias included) is v at t_min fires with s = t_max - t = min(relu(v), T):
    at once if v >= T, never if v <= 0. The gradient is that of ReLU, and 0 where the spike is clipped to the opening.
    """

    emission: Any = None
    """What a chip does to the spikes (`ttfs.hardware`); None in an ideal network."""
    defects: Any = None
    """What is wrong with the neurons of a chip; None in an ideal network."""

    def __init__(self, width: float = float("inf")):
        super().__init__()
        self.width = width

    def forward(self, potential: Tensor) -> Tensor:
        """Map potentials [N, ...] to charges [N, ...] on [0, T]."""
        return F.hardtanh(potential, 0.0, self.width)

    def get_extra_state(self) -> dict[str, float]:
        """Keep the window in checkpoints."""
        return {"width": self.width}

    def set_extra_state(self, state: dict[str, float]) -> None:
        """Restore the window from a checkpoint."""
        self.width = state["width"]

    def extra_repr(self) -> str:
        """Show the window."""
        return f"width={self.width:g}"


class Synapses(nn.Module):
    """Weighted connections from charges to potentials: a convolution or a linear map, and a bias.

    The bias is one value a channel, inside the map, or a `bias_map` of the shape of one image's output: what is left
    of a shift that entered a zero-padded convolution, and so differs at the border.
    """

    weights: Any  # Conv1d, Conv2d or Linear

    def __init__(self, weights: nn.Module, bias_map: Tensor | None = None):
        super().__init__()
        self.weights = weights
        self.bias_map = None if bias_map is None else nn.Parameter(bias_map)

    def forward(self, charges: Tensor) -> Tensor:
        """Map charges [N, C, ...] to potentials [N, C', ...]."""
        potential = self.weights(charges)
        return potential if self.bias_map is None else potential + self.bias_map


class OneToOne(nn.Module):
    """One synapse a neuron, and a bias: v = weight * s + bias, where no other weights are there to take them in."""

    def __init__(self, weight: Tensor, bias: Tensor):
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)

    def forward(self, charges: Tensor) -> Tensor:
        """Map charges [N, C, ...] to potentials of the same shape."""
        return charges * self.weight + self.bias


class EarliestSpike(nn.Module):
    """Pool spikes: the earliest of each field, which is max pooling of charges.

    Where a channel enters the next layer through a negative scale (batch norm after ReLU), its `sign` is -1 and the
    latest spike passes, silence if any neuron of the field is silent: min pooling of charges.
    """

    pool: Any
    sign: Tensor | None

    def __init__(self, pool: nn.Module, sign: Tensor | None = None):
        super().__init__()
        self.pool = pool
        self.register_buffer("sign", sign)

    def forward(self, charges: Tensor) -> Tensor:
        """Map charges [N, C, ...] to the charges of the spikes that pass."""
        if self.sign is None:
            return self.pool(charges)
        return self.sign * self.pool(self.sign * charges)

    def turned(self, sign: Tensor) -> "EarliestSpike":
        """Return the same pool for channels that are multiplied by another sign."""
        return EarliestSpike(self.pool, sign if self.sign is None else sign * self.sign)


class Reshape(nn.Module):
    """Give each image's values another shape; the values stay."""

    def __init__(self, shape: Sequence[int]):
        super().__init__()
        self.shape = tuple(shape)

    def forward(self, values: Tensor) -> Tensor:
        """Map values [N, ...] to [N, *shape]."""
        return values.reshape(-1, *self.shape)
