"""Pooling of spikes: a race in each field."""

from collections.abc import Sequence
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.forward_ad import unpack_dual


class EarliestSpike(nn.Module):
    """Pool spikes: the earliest of each field, which is max pooling of charges.

    Where a channel enters the next layer through a negative scale (batch norm after ReLU), its
    `sign` is -1 and the latest spike passes, silence if any neuron of the field is silent: min
    pooling of charges.
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
            return max_pool(self.pool, charges)
        return self.sign * max_pool(self.pool, self.sign * charges)

    def turned(self, sign: Tensor) -> "EarliestSpike":
        """Return the same pool for channels that are multiplied by another sign."""
        return EarliestSpike(self.pool, sign if self.sign is None else sign * self.sign)


def max_pool(pool: Any, values: Tensor) -> Tensor:
    """Max pooling; outside training, on a processor, several times as fast as torch's.

    torch's also finds where each maximum is, one value at a time, which the gradient alone needs.
    """
    special = values.device.type != "cpu" or torch.compiler.is_compiling() or _learns(values)
    if special or not _tiles(pool, values):
        return pool(values)
    tall, wide = pair(pool.kernel_size)
    bottom, right = values.shape[-2] // tall * tall, values.shape[-1] // wide * wide
    rows = reduce(torch.maximum, [values[..., row:bottom:tall, :] for row in range(tall)])
    return reduce(torch.maximum, [rows[..., column:right:wide] for column in range(wide)])


def _learns(values: Tensor) -> bool:
    """Does a gradient flow, backward or forward? Where values tie, it takes one place of them."""
    backward = torch.is_grad_enabled() and values.requires_grad
    return backward or unpack_dual(values).tangent is not None


def _tiles(pool: Any, values: Tensor) -> bool:
    """Is it a max pool whose fields lie side by side, several values each, and fit the images?"""
    if type(pool) is not nn.MaxPool2d or pool.ceil_mode or pool.return_indices:
        return False
    size = tall, wide = pair(pool.kernel_size)
    return (
        pair(pool.stride or size) == size
        and (pair(pool.padding), pair(pool.dilation)) == ((0, 0), (1, 1))
        and values.dim() == 4
        and tall <= values.shape[-2]
        and wide <= values.shape[-1]
        and tall * wide > 1
    )


def pair(size: Any) -> tuple[int, int]:
    """Height and width of all that torch takes for them: a number, or a sequence of one or two."""
    numbers = size if isinstance(size, Sequence) else [size]
    return numbers[0], numbers[-1]
