"""Weights of a few bits."""

import torch
from torch import Tensor, nn


class FewBits(nn.Module):
    """Uniform symmetric weights: w <- round(w / step) step with step = max |w| / (2^(bits - 1) - 1).

    2^bits - 1 levels, zero among them; 2 bits are {-1, 0, 1} times the largest weight, that of the layer or of each
    output channel. The gradient passes straight through the rounding to the float weights, which fine-tuning moves.
    """

    def __init__(self, bits: int, per_channel: bool):
        super().__init__()
        self.bits, self.per_channel = bits, per_channel

    def forward(self, weight: Tensor) -> Tensor:
        """Map float weights to weights on the grid, of the same shape."""
        size = weight.detach().abs()
        largest = size.flatten(1).amax(1).reshape(-1, *[1] * (weight.dim() - 1)) if self.per_channel else size.max()
        step = largest / (2 ** (self.bits - 1) - 1)
        step = torch.where(step > 0, step, 1.0)  # of weights that are all 0
        return ((weight / step).round() * step).detach() + (weight - weight.detach())

    def extra_repr(self) -> str:
        """Show the bits."""
        return f"bits={self.bits}, per_channel={self.per_channel}"
