"""Neurons of a chip that are not as they should be."""

from collections.abc import Callable

import torch
from torch import Tensor

from ttfs.seeds import seed


class Defects:
    """What is wrong with the neurons of a layer for good, drawn once from the seed.

    threshold_mismatch: theta <- theta + mismatch T xi with xi ~ N(0, 1), one for each neuron.
    dead_neurons: share of neurons that never spike.
    """

    def __init__(self, threshold_mismatch: float, dead_neurons: float, seed: int):
        self.threshold_mismatch, self.dead_neurons, self.seed = (
            threshold_mismatch,
            dead_neurons,
            seed,
        )
        self._drawn: dict[tuple[str, tuple[int, ...]], Tensor] = {}

    def shift(self, like: Tensor) -> Tensor | None:
        """Shifts of the thresholds [...] of neurons [N, ...] as a share of the window; None without
        mismatch.
        """
        return (
            self.threshold_mismatch * self._draw("mismatch", torch.randn, like)
            if self.threshold_mismatch
            else None
        )

    def dead(self, like: Tensor) -> Tensor | None:
        """Which of the neurons [N, ...] are dead [...]; None where all live."""
        return (
            self._draw("dead", torch.rand, like) < self.dead_neurons if self.dead_neurons else None
        )

    def _draw(self, name: str, kind: Callable[..., Tensor], like: Tensor) -> Tensor:
        """Draw in float64 on the CPU, so that the chip is the same in every precision and on every
        device.
        """
        key = (name, tuple(like.shape[1:]))
        if key not in self._drawn:
            stream = torch.Generator().manual_seed(seed(self.seed, name))
            self._drawn[key] = kind(key[1], generator=stream, dtype=torch.float64)
        self._drawn[key] = self._drawn[key].to(like.device)
        drawn = self._drawn[key]
        return drawn if name == "dead" else drawn.to(like.dtype)

    def __repr__(self) -> str:
        return f"threshold_mismatch={self.threshold_mismatch}, dead_neurons={self.dead_neurons}"
