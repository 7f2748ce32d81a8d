"""A chip's pixels and neurons, in charges and in time (`ttfs.snn.imperfections`)."""

import numpy as np
import torch
from torch import Tensor

from ttfs.hardware.defects import Defects
from ttfs.hardware.emission import Emission


class PixelsOnChip:
    """Pixels on a chip: each becomes a spike, ahead by the emission's lead, and is emitted."""

    def __init__(self, emission: Emission):
        self.emission, self.stream = emission, emission.stream

    def potentials(self, potentials: Tensor, width: float) -> Tensor:
        """Pixels have no threshold."""
        return potentials

    def charges(self, charges: Tensor, width: float) -> Tensor:
        """Map charges [N, ...] on [0, width] to those that reach the synapses."""
        if self.emission.lead:
            ahead = charges.sign().mul_(self.emission.lead * width)  # silence stays silent
            charges = ahead.add_(charges).clamp_(max=width)
        return self.emission(charges, width)

    def in_time(self, shape: tuple[int, ...], images: int) -> "PixelsInTime":
        """Return the same in time, for a simulation of this many images."""
        return PixelsInTime(self.emission, shape, images)

    def __repr__(self) -> str:
        return repr(self.emission)


class NeuronsOnChip:
    """Neurons on a chip: thresholds off by mismatch and lead, some dead, and spikes emitted."""

    def __init__(self, defects: Defects, emission: Emission):
        self.defects, self.emission, self.stream = defects, emission, emission.stream

    def potentials(self, potentials: Tensor, width: float) -> Tensor:
        """Subtract from potentials [N, ...] what the thresholds are too high."""
        shift = self.defects.shift(potentials)
        if shift is not None:
            potentials = potentials - width * shift
        return potentials + width * self.emission.lead if self.emission.lead else potentials

    def charges(self, charges: Tensor, width: float) -> Tensor:
        """Map charges [N, ...] to those that reach the synapses."""
        dead = self.defects.dead(charges)
        return self.emission(charges if dead is None else charges.masked_fill(dead, 0.0), width)

    def in_time(self, shape: tuple[int, ...], images: int) -> "NeuronsInTime":
        """Return the same in time, for a simulation of this many images."""
        return NeuronsInTime(self, shape, images)

    def __repr__(self) -> str:
        return f"{self.defects}, {self.emission}"


class PixelsInTime:
    """Spikes of pixels in time, with the draws of the chip in float64, deployed anew."""

    def __init__(self, emission: Emission, shape: tuple[int, ...], images: int):
        like = torch.empty(images, *shape, dtype=torch.float64)
        draws = emission.again().draw(like)
        self.lead = emission.lead
        self.steps = None if emission.time_bits is None else 2**emission.time_bits
        self.shift, self.lost = (
            None if part is None else part.reshape(images, -1).numpy() for part in draws
        )

    def thresholds(self, thresholds: np.ndarray, width: float) -> np.ndarray:
        """Pixels have no threshold."""
        return thresholds

    def spikes(self, times: np.ndarray, window: tuple[float, float], image: int) -> np.ndarray:
        """Return when the spikes of one image reach the synapses, infinity if never."""
        return self._emitted(np.maximum(times - self.lead, 0.0), window, image)

    def _emitted(self, times: np.ndarray, window: tuple[float, float], image: int) -> np.ndarray:
        t_min, t_max = window
        if self.shift is not None:
            times = np.maximum(times - (t_max - t_min) * self.shift[image], t_min)
            times = np.where(times < t_max, times, np.inf)
        if self.steps is not None:
            step = (t_max - t_min) / self.steps
            waited = np.ceil((times - t_min) / step - 1e-9)  # a spike on a step stays there
            times = np.where(waited < self.steps, t_min + waited * step, np.inf)
        return times if self.lost is None else np.where(self.lost[image], np.inf, times)


class NeuronsInTime(PixelsInTime):
    """Neurons and their spikes in time, with the draws of the chip in float64, deployed anew."""

    def __init__(self, chip: NeuronsOnChip, shape: tuple[int, ...], images: int):
        super().__init__(chip.emission, shape, images)
        like = torch.empty(1, *shape, dtype=torch.float64)
        shift, dead = chip.defects.shift(like), chip.defects.dead(like)
        self.higher = (0.0 if shift is None else _flat(shift)) - self.lead
        self.dead = False if dead is None else _flat(dead)

    def thresholds(self, thresholds: np.ndarray, width: float) -> np.ndarray:
        """Return the thresholds [neurons] with mismatch and lead."""
        return thresholds + width * self.higher

    def spikes(self, times: np.ndarray, window: tuple[float, float], image: int) -> np.ndarray:
        """Return when the spikes of one image reach the synapses, infinity if never."""
        return self._emitted(np.where(self.dead, np.inf, times), window, image)


def _flat(tensor: Tensor) -> np.ndarray:
    return tensor.cpu().numpy().reshape(-1)
