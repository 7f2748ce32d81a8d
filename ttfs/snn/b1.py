"""B1 neurons, which have a constant slope at threshold (Stanojevic et al. 2024, Nat. Commun. 15:6793)."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from ttfs.snn.state import Numbers


class Fire(Numbers):
    """B1 neurons: constant slope at threshold (Stanojevic et al. 2024, Nat. Commun. 15:6793, Methods).

    From the opening t_min of its window on, dV/dt = 1 and the threshold is T - D, with T the width of the window and
    D the bias. So a neuron whose potential (bias included) is v at t_min fires with s = t_max - t = min(relu(v), T):
    at once if v >= T, never if v <= 0. The gradient is that of ReLU, and 0 where the spike is clipped to the opening.
    """

    emission: Any = None
    """What a chip does to the spikes (`ttfs.hardware`); None in an ideal network."""
    defects: Any = None
    """What is wrong with the neurons of a chip; None in an ideal network."""

    window_width: Tensor

    def __init__(self, width: float = float("inf")):
        super().__init__()
        self.register_number("window_width", width)

    @property
    def width(self) -> float:
        """Width T of the window, in units of tau_c."""
        return self.window_width.item()

    @width.setter
    def width(self, width: float) -> None:
        self.window_width.fill_(width)

    def forward(self, potential: Tensor) -> Tensor:
        """Map potentials [N, ...] to charges [N, ...] on [0, T]."""
        return F.hardtanh(potential, 0.0, self.width)  # `clamp` has another gradient at the ends

    def extra_repr(self) -> str:
        """Show the window."""
        return f"width={self.width:g}"
