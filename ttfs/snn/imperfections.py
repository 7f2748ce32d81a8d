"""The slot for what may sit between a neuron and its synapses; an ideal network leaves it empty.

The networks here know no chip. Whoever fills the slot says what happens twice: once in charges, for
the closed form, and once in times, for the event-driven simulator, which never asks the closed
form.
"""

from typing import Protocol

import numpy as np
from torch import Tensor


class Reads(Protocol):
    """What happens when the synapses of one layer are read, anew for each image: each current
    fluctuates, independent of all others.
    """

    def potentials(self, potentials: Tensor, charges: Tensor) -> Tensor:
        """Map the potentials [N, ...] that the charges [N, ...] give to those that are read."""

    def variances(self) -> Tensor:
        """Return the variance of each current, of the shape of the weights."""

    def in_time(self, shape: tuple[int, ...], images: int) -> np.ndarray:
        """Return the standard normal draws [images, neurons] of a simulation in float64."""


class InTime(Protocol):
    """What happens to one population while a number of images are simulated, one by one."""

    def thresholds(self, thresholds: np.ndarray, width: float) -> np.ndarray:
        """Map thresholds [neurons], per unit of slope, in a window of a width to the actual
        ones.
        """

    def spikes(self, times: np.ndarray, window: tuple[float, float], image: int) -> np.ndarray:
        """Map the times [neurons] of one image's spikes to those at the synapses; inf is none."""


class Imperfections(Protocol):
    """What happens to one population: the pixels, or a layer of neurons, of a network."""

    def potentials(self, potentials: Tensor, width: float) -> Tensor:
        """Map potentials [N, ...] to those that the thresholds of a window of a width see."""

    def charges(self, charges: Tensor, width: float) -> Tensor:
        """Map the charges [N, ...] of emitted spikes to those that reach the synapses."""

    def in_time(self, shape: tuple[int, ...], images: int) -> InTime:
        """Return the same for a simulation in float64 of this many images of neurons [...]."""
