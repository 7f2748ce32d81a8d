"""Pooling of spikes: a race in each field."""

from collections.abc import Sequence
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn


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
    learns = torch.is_grad_enabled() and values.requires_grad
    if learns or values.device.type != "cpu" or torch.compiler.is_compiling() or not _tiles(pool):
        return pool(values)
    tall, wide = _pair(pool.kernel_size)
    bottom, right = values.shape[-2] // tall * tall, values.shape[-1] // wide * wide
    rows = reduce(torch.maximum, [values[..., row:bottom:tall, :] for row in range(tall)])
    return reduce(torch.maximum, [rows[..., column:right:wide] for column in range(wide)])


def _tiles(pool: Any) -> bool:
    """Is it a max pool of images whose fields lie side by side?"""
    return (
        type(pool) is nn.MaxPool2d
        and _pair(pool.stride) == _pair(pool.kernel_size)
        and (_pair(pool.padding), _pair(pool.dilation)) == ((0, 0), (1, 1))
        and not (pool.ceil_mode or pool.return_indices)
    )


def _pair(size: int | Sequence[int]) -> tuple[int, int]:
    height, width = (size, size) if isinstance(size, int) else size
    return height, width
