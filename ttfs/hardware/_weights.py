"""Weights of a few bits."""

from torch import Tensor, nn


class FewBits(nn.Module):
    """Uniform symmetric weights: w <- round(w / step) step with step = max |w| / (2^(bits - 1) - 1), per layer.

    2^bits - 1 levels, zero among them; 2 bits are {-1, 0, 1} times the largest weight. The gradient passes straight
    through the rounding to the float weights, which fine-tuning moves.
    """

    def __init__(self, bits: int):
        super().__init__()
        self.bits = bits

    def forward(self, weight: Tensor) -> Tensor:
        """Map float weights to weights on the grid, of the same shape."""
        step = weight.detach().abs().max() / (2 ** (self.bits - 1) - 1)
        if step == 0:
            return weight
        return ((weight / step).round() * step).detach() + (weight - weight.detach())

    def extra_repr(self) -> str:
        """Show the bits."""
        return f"bits={self.bits}"
