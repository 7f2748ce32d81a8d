"""B1 neurons, which have a constant slope at threshold (Stanojevic et al. 2024, Nat. Commun.
15:6793).
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ttfs.snn.imperfections import Imperfections
from ttfs.snn.state import Numbers


class Fire(Numbers):
    """B1 neurons: constant slope at threshold (Stanojevic et al. 2024, Nat. Commun. 15:6793,
    Methods).

    From the opening t_min of its window on, dV/dt = 1 and the threshold is T - D, with T the width
    of the window and D the bias. So a neuron whose potential (bias included) is v at t_min fires
    with s = t_max - t = min(relu(v), T): at once if v >= T, never if v <= 0. The gradient is that
    of ReLU, and 0 where the spike is clipped to the opening.
    """

    imperfections: Imperfections | None = None
    """What a chip does to the neurons and their spikes; None in an ideal network."""

    window_width: Tensor
    clipped_at: Tensor

    def __init__(self, width: float = float("inf"), ceiling: float = float("inf")):
        super().__init__()
        self.register_number("window_width", min(width, ceiling))
        if ceiling < math.inf:
            self.register_number("clipped_at", ceiling)

    @property
    def ceiling(self) -> float:
        """Width that the window keeps, where the neurons are to clip there (ReLU6); else
        infinity.
        """
        return self.clipped_at.item() if "clipped_at" in self._buffers else math.inf

    @property
    def width(self) -> float:
        """Width T of the window, in units of tau_c."""
        return self.window_width.item()

    @width.setter
    def width(self, width: float) -> None:
        self.window_width.fill_(width)

    def forward(self, potential: Tensor) -> Tensor:
        """Map potentials [N, ...] to charges [N, ...] on [0, T]."""
        chip = self.imperfections
        if chip is None and torch.compiler.is_compiling():
            return _clipped(potential, self.window_width)
        width = self.width
        if chip is not None:
            potential = chip.potentials(potential, width)
        charges = F.hardtanh(potential, 0.0, width)  # `clamp` has another gradient at the ends
        return charges if chip is None else chip.charges(charges, width)

    def extra_repr(self) -> str:
        """Show the window, and the chip."""
        return f"width={self.width:g}" + (f", {self.imperfections}" if self.imperfections else "")


def _clipped(potential: Tensor, width: Tensor) -> Tensor:
    """Return `hardtanh(potential, 0, width)` and its gradient, with the width as a tensor: a
    compiled graph reads no number.
    """
    return torch.where(potential >= width, width, F.relu(potential))
