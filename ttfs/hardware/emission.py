"""What happens to a spike between the moment a neuron fires and the synapses that it reaches."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ttfs.hardware.stream import Stream
from ttfs.snn.precision import at_least_float32

BLOCK = 2**15
"""Charges that are emitted at a time: 128 KiB in float32."""


class Draws(NamedTuple):
    """Chance for a batch of neurons [N, ...]: shifts of charges as a share of the window, and which
    spikes are lost.
    """

    shift: Tensor | None
    lost: Tensor | None


class Emission:
    """Jitter, then the clock, then loss, on charges s = t_max - t of a window of width T.

    lead:   share of the window by which the source of the spikes is ahead of the ideal one; for the
    source to heed.
    jitter: s <- s + jitter T xi, xi ~ N(0, 1), clipped at T; lost (0) if not above 0.
    clock:  s <- floor(s / step) step with step = T / 2^bits: the next step in time is the one below
    in s.
    loss:   s <- 0 with probability lost_spikes.

    Chance is a stream of its own: each call draws on, and a chip deployed anew with the same seed
    begins it again.
    """

    def __init__(
        self, jitter: float, time_bits: int | None, lead: float, lost_spikes: float, seed: int
    ):
        self.jitter, self.time_bits, self.lead = jitter, time_bits, lead
        self.lost_spikes = lost_spikes
        self.stream = Stream(seed)

    def __call__(self, charges: Tensor, width: float) -> Tensor:
        """Map emitted charges [N, ...] to those that reach the synapses."""
        if self._in_blocks(charges):
            emitted = torch.empty_like(charges)
            for goal, block in zip(_blocks(emitted), _blocks(charges), strict=True):
                self._emit(block, width, goal)
            return emitted
        draws = self.draw(charges)
        if draws.shift is not None:
            moved = F.hardtanh(
                torch.add(charges, draws.shift, alpha=width), 0.0, width, inplace=True
            )
            charges = moved * charges.sign()  # silence does not move; a mask would be far slower
        if self.time_bits is not None:
            charges = _Wait.apply(charges, width / 2**self.time_bits, 2**self.time_bits)
        return charges if draws.lost is None else charges * ~draws.lost

    def _in_blocks(self, charges: Tensor) -> bool:
        """Whether block after block draws the same chance, and no gradient is to pass."""
        learns = torch.is_grad_enabled() and charges.requires_grad
        acts = (self.jitter > 0 or self.time_bits is not None) and not self.lost_spikes
        # In bfloat16 torch rounds the last few values of each thread's share in another way.
        plain = charges.dtype in (torch.float32, torch.float64) and charges.is_contiguous()
        return acts and not learns and charges.device.type == "cpu" and plain

    def _emit(self, charges: Tensor, width: float, goal: Tensor) -> None:
        """Write the emitted charges of a block [n] to a tensor of its shape."""
        shift = self.draw(charges).shift
        if shift is not None:
            torch.add(charges, shift, alpha=width, out=goal).clamp_(0.0, width)
            charges = goal.mul_(charges.sign())
        if self.time_bits is not None:
            _wait(charges, width / 2**self.time_bits, 2**self.time_bits, goal)

    def draw(self, like: Tensor) -> Draws:
        """Draw for neurons of the tensor's shape, dtype and device; None for what the chip does not
        do.
        """
        shift = self.stream.normal(like).mul_(self.jitter) if self.jitter > 0 else None
        lost = self.stream.uniform(like) < self.lost_spikes if self.lost_spikes > 0 else None
        return Draws(shift, lost)

    def again(self) -> "Emission":
        """Return the same emission at the beginning of its stream."""
        return Emission(self.jitter, self.time_bits, self.lead, self.lost_spikes, self.stream.seed)

    def __repr__(self) -> str:
        return (
            f"jitter={self.jitter}, time_bits={self.time_bits}, lead={self.lead:g}, "
            f"lost_spikes={self.lost_spikes}"
        )


def _blocks(charges: Tensor) -> Iterator[Tensor]:
    """Split charges into parts [n] that stay in a processor's cache; the last may be longer.

    torch draws normal numbers sixteen at a time, so parts of a multiple of that draw what the
    whole would.
    """
    flat = charges.view(-1)
    last = max(len(flat) // BLOCK - 1, 0) * BLOCK
    yield from flat[:last].split(BLOCK) if last else ()
    yield flat[last:]


def _wait(charges: Tensor, step: float, steps: int, goal: Tensor | None = None) -> Tensor:
    """Return the largest multiples of the step that are not above the charges."""
    wide, eps = at_least_float32(charges), torch.finfo(charges.dtype).eps
    if wide is not charges:
        in_steps = (wide / (step * (1 - eps / 2))).clamp_(max=steps)
    else:
        in_steps = torch.div(charges, step, out=goal).add_(2 * eps * steps)
    return in_steps.floor_().mul_(step).to(charges.dtype)


class _Wait(torch.autograd.Function):
    """Largest multiple of the step that is not above the charge; the gradient passes straight
    through.

    Division rounds, so what misses a step by less than its rounding error, a share of 2 epsilon x
    steps, is on it. In half precision that may be many steps, so there it is what the charge itself
    is rounded by, epsilon / 2 of its size: none of silence.
    """

    @staticmethod
    def forward(ctx: Any, charges: Tensor, step: float, steps: int) -> Tensor:
        return _wait(charges, step, steps)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return gradients[0], None, None
