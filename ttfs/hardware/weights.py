"""Weights of a few bits."""

import torch
from torch import Tensor, nn

from ttfs.snn.precision import at_least_float32

SMALLEST = 2.0**-24
"""The smallest step that weights and biases are held in, as a share of their layer's largest."""
CANDIDATES = 64
"""Steps tried for each scale: equal parts of the one that just reaches the largest weight."""


class FewBits(nn.Module):
    """Uniform symmetric weights: w <- step clip(round(w / step), -L, L) with L = 2^(bits - 1) - 1.

    2 L + 1 levels, zero among them; 2 bits are {-step, 0, step}. The step, one for the layer or one
    for each output channel, is that of the least squared error for the weights at hand, among 64
    from max |w| / (64 L) to max |w| / L; it is part of the chip and stays. The gradient passes
    straight through rounding and clipping to the float weights, which fine-tuning moves.
    """

    step: Tensor

    def __init__(self, bits: int, weight: Tensor, per_channel: bool):
        super().__init__()
        self.bits, self.per_channel = bits, per_channel
        self._most = 2 ** (bits - 1) - 1
        self.register_buffer("step", self._best_step(weight.detach()))

    def forward(self, weight: Tensor) -> Tensor:
        """Map float weights to weights on the grid, of the same shape."""
        return self._rounded(weight.detach(), self.step) + (weight - weight.detach())

    def _rounded(self, weight: Tensor, step: Tensor) -> Tensor:
        levels = at_least_float32(weight) / at_least_float32(step)
        return (levels.round().clamp(-self._most, self._most) * step).to(weight.dtype)

    def _best_step(self, weight: Tensor) -> Tensor:
        rows = at_least_float32(weight.flatten(1) if self.per_channel else weight.reshape(1, -1))
        largest = largest_in(rows) / self._most
        best, least = largest, torch.full_like(largest, torch.inf)
        for part in range(CANDIDATES, 0, -1):
            step = largest * part / CANDIDATES
            error = (rows - self._rounded(rows, step)).square().mean(1, keepdim=True)
            best, least = torch.where(error < least, step, best), torch.minimum(error, least)
        best = best.to(weight.dtype)
        return best.reshape(-1, *[1] * (weight.dim() - 1)) if self.per_channel else best.reshape(())

    def extra_repr(self) -> str:
        """Show the bits."""
        return f"bits={self.bits}, per_channel={self.per_channel}"


def largest_in(rows: Tensor) -> Tensor:
    """Return the largest |w| [R, 1] of each row of weights [R, n], what its scale goes by.

    A row of zeros, which may learn, takes that of all rows; 1 where all are 0.
    """
    largest = rows.abs().amax(1, keepdim=True)
    most = largest.max()
    return torch.where(largest > 0, largest, most if most > 0 else 1.0)


class InLevels(nn.Module):
    """Weights and biases in the steps of their weights: w = step held, and `held` is trained.

    A learning rate then means as much in each row, however large its weights are. A row of weights
    close to 0 has steps of a share of the layer's largest: its bias is to be held, too.
    """

    step: Tensor

    def __init__(self, step: Tensor):
        super().__init__()
        self.register_buffer("step", step.clamp(min=step.max() * SMALLEST))

    def forward(self, held: Tensor) -> Tensor:
        """Map what is held, [C, ...], to weights or biases of the same shape."""
        return held * self._like(held)

    def right_inverse(self, values: Tensor) -> Tensor:
        """Map weights or biases to what is held of them."""
        return values / self._like(values)

    def _like(self, values: Tensor) -> Tensor:
        return self.step.reshape(-1, *[1] * (values.dim() - 1))
