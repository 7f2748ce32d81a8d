"""What happens to a spike between the moment a neuron fires and the synapses that it reaches."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ttfs.snn import Encode, Fire


class Emission:
    """Jitter, then the clock, on charges s = t_max - t of a window of width T.

    jitter: s <- s + jitter T xi, xi ~ N(0, 1), clipped at T; lost (0) if not above 0.
    clock:  s <- floor(s / step) step with step = T / 2^bits: the next step in time is the one below in s.

    The noise is a stream of its own: each call draws on, and a chip deployed anew with the same seed begins it again.
    """

    def __init__(self, jitter: float, time_bits: int | None, seed: int):
        self.jitter, self.time_bits, self.seed = jitter, time_bits, seed
        self._noise: torch.Generator | None = None

    def __call__(self, charges: Tensor, width: float) -> Tensor:
        """Map emitted charges [N, ...] to those that reach the synapses."""
        if self.jitter > 0:
            moved = charges + self.jitter * width * self._draw(charges)
            charges = torch.where(charges > 0, F.hardtanh(moved, 0.0, width), 0.0)
        if self.time_bits is not None:
            coarse = _last_step(charges.detach(), width / 2**self.time_bits)
            charges = coarse + (charges - charges.detach())
        return charges

    def _draw(self, charges: Tensor) -> Tensor:
        if self._noise is None or self._noise.device != charges.device:
            self._noise = torch.Generator(charges.device).manual_seed(self.seed)
        return torch.randn(charges.shape, generator=self._noise, dtype=charges.dtype, device=charges.device)

    def __repr__(self) -> str:
        return f"jitter={self.jitter}, time_bits={self.time_bits}"


def _last_step(charges: Tensor, step: float) -> Tensor:
    """Largest multiple of the step that is not above the charge; a division alone may miss one that is equal."""
    below = (charges / step).floor()
    above = (below + 1) * step
    return torch.where(above <= charges, above, below * step)


class ChipEncode(Encode):
    """The input of a chip: pixels become spikes, and spikes are emitted as the chip emits them."""

    def __init__(self, low: float, high: float, emission: Emission):
        super().__init__(low, high)
        self.emission = emission

    def forward(self, images: Tensor) -> Tensor:
        """Map images [N, ...] to charges [N, ...] on [0, 1]."""
        return self.emission(super().forward(images), 1.0)

    def extra_repr(self) -> str:
        """Show the range and the emission."""
        return f"{super().extra_repr()}, {self.emission}"


class ChipFire(Fire):
    """The neurons of a chip."""

    def __init__(self, width: float, emission: Emission):
        super().__init__(width)
        self.emission = emission

    def forward(self, potential: Tensor) -> Tensor:
        """Map potentials [N, ...] to charges [N, ...] on [0, T]."""
        return self.emission(super().forward(potential), self.width)

    def extra_repr(self) -> str:
        """Show the window and the emission."""
        return f"{super().extra_repr()}, {self.emission}"
