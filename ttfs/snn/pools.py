"""Pooling of spikes: a race in each field."""

from typing import Any

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
            return self.pool(charges)
        return self.sign * self.pool(self.sign * charges)

    def turned(self, sign: Tensor) -> "EarliestSpike":
        """Return the same pool for channels that are multiplied by another sign."""
        return EarliestSpike(self.pool, sign if self.sign is None else sign * self.sign)
