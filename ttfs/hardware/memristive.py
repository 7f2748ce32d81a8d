"""Memristive synapses: each weight is the difference of two conductances.

After the statistical model of phase-change memory of Nandakumar et al. 2019 (ICECS, "Phase-change
memory models for deep learning training and inference"), which measured a million devices: pairs,
programming noise, drift and read noise, in this order. There the noises are functions of the
conductance that were fitted to these devices; here each is one number, which the user gives.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ttfs.hardware.stream import Stream
from ttfs.hardware.weights import CANDIDATES, largest_in
from ttfs.seeds import seed as seed_of
from ttfs.snn import Synapses
from ttfs.snn.precision import at_least_float32


@dataclass(frozen=True)
class Devices:
    """Memristive devices, in the words of `ttfs.Hardware`, whose docstring defines them."""

    conductance_bits: int | None
    programming_noise: float
    stuck_devices: float
    drift_exponent: float
    drift_spread: float
    drift_time: float
    read_noise: float

    @property
    def ideal(self) -> bool:
        """Whether the conductances are the weights, so that no pair is needed."""
        drift = self.drift_time > 1 and (self.drift_exponent > 0 or self.drift_spread > 0)
        noise = self.programming_noise or self.stuck_devices or self.read_noise
        return self.conductance_bits is None and not noise and not drift


class Pairs(nn.Module):
    """Weights as pairs of conductances, w = full (G+ - G-), conductances in units of G_max.

    target:    g = clip(w / full, -1, 1), on the levels k / L, L = 2^bits - 1; G+ = relu(g),
               G- = relu(-g)
    program:   G <- max(G + programming_noise xi, 0), xi ~ N(0, 1)
    stuck:     a stuck device is 0 or 1, each with probability 1/2, whatever is written to it
    drift:     G <- G drift_time^-nu, nu ~ N(drift_exponent, drift_spread); stuck devices stay

    `full`, the weight of a device at G_max, is the one of the least mean squared error of the
    levels plus 2 (programming_noise full)², of two devices, for the weights at hand, among 64 up to
    max |w|, of a layer or of each output channel. It is part of the chip and stays. Stuck devices
    and nu are drawn once for the chip. Programming noise is drawn once for each programming
    (`program_`), and anew whenever weights are asked for in training, where they are written at
    each step; the read noise of that pass asks once more. The gradient passes straight through to
    the float weights.
    """

    full: Tensor

    def __init__(self, devices: Devices, weight: Tensor, per_channel: bool, seed: int):
        super().__init__()
        self.devices, self.per_channel, self.seed = devices, per_channel, seed
        self.programming = 0
        self.stream = Stream(seed_of(seed, "training"))
        self._drawn: dict[str, Tensor] = {}
        self.register_buffer("full", self._best_full(weight.detach()))

    def forward(self, weight: Tensor) -> Tensor:
        """Map float weights to those that the pairs hold, of the same shape."""
        positive, negative = self.conductances(weight.detach())
        return self.full * (positive - negative) + (weight - weight.detach())

    def conductances(self, weight: Tensor) -> Tensor:
        """Return (G+, G-) [2, ...] of weights [...], in units of G_max."""
        devices, target = self.devices, self._target(weight, self.full)
        pair = torch.stack([target.relu(), (-target).relu()])
        if devices.programming_noise:
            pair = (pair + devices.programming_noise * self._noise(pair)).relu()
        if devices.drift_time > 1:
            nu = devices.drift_exponent + devices.drift_spread * self._draw("drift", pair)
            pair = pair * devices.drift_time**-nu
        if devices.stuck_devices:
            chance = self._draw("stuck", pair)
            stuck = chance < devices.stuck_devices
            pair = torch.where(stuck, (chance < devices.stuck_devices / 2).to(pair), pair)
        return pair

    def program_(self) -> None:
        """Write the weights once more, with other programming noise."""
        self.programming += 1

    def _noise(self, like: Tensor) -> Tensor:
        if not (self.training and torch.is_grad_enabled()):  # no step follows
            return self._draw("programming", like)
        return self.stream.normal(like)

    def _draw(self, name: str, like: Tensor) -> Tensor:
        """Draw in float64 on the CPU, so that the chip is the same in every precision and on every
        device.
        """
        key = f"{name} {self.programming}" if name == "programming" else name
        if key not in self._drawn:
            stream = torch.Generator().manual_seed(seed_of(self.seed, *key.split()))
            kind = torch.rand if name == "stuck" else torch.randn
            self._drawn = {k: v for k, v in self._drawn.items() if k.split()[0] != name}
            self._drawn[key] = kind(like.shape, generator=stream, dtype=torch.float64)
        self._drawn[key] = self._drawn[key].to(like.device)
        drawn = self._drawn[key]
        return drawn if name == "stuck" else drawn.to(like.dtype)

    def _target(self, weight: Tensor, full: Tensor) -> Tensor:
        share = (weight / full).clamp(-1.0, 1.0)
        if self.devices.conductance_bits is None:
            return share
        most = 2**self.devices.conductance_bits - 1
        return ((at_least_float32(share) * most).round() / most).to(share.dtype)

    def _best_full(self, weight: Tensor) -> Tensor:
        rows = at_least_float32(weight.flatten(1) if self.per_channel else weight.reshape(1, -1))
        largest = largest_in(rows)
        best, least = largest, torch.full_like(largest, torch.inf)
        for part in range(CANDIDATES, 0, -1):
            full = largest * part / CANDIDATES
            error = (rows - full * self._target(rows, full)).square().mean(1, keepdim=True)
            error = error + 2 * (self.devices.programming_noise * full).square()  # two devices
            best, least = torch.where(error < least, full, best), torch.minimum(error, least)
        best = best.to(weight.dtype)
        return best.reshape(-1, *[1] * (weight.dim() - 1)) if self.per_channel else best.reshape(())

    def extra_repr(self) -> str:
        """Show the devices."""
        return f"{self.devices}, per_channel={self.per_channel}"


class ReadNoise:
    """Each device's conductance G becomes G (1 + share xi), xi ~ N(0, 1), anew for each image and,
    in a convolution, each position.

    So a neuron's potential is off by N(0, Σ_i (share full)² (G+² + G-²) s_i²) for charges s: drawn
    once a neuron, which has the law of a draw for each device. The noise of phase-change memory,
    S_G / G² = Q / f (Nandakumar et al. 2019), is a share of the conductance, too.
    """

    def __init__(self, weights: Any, share: float, seed: int):
        self.weights, self.share = weights, share
        self.stream = Stream(seed)

    def potentials(self, potentials: Tensor, charges: Tensor) -> Tensor:
        """Map the potentials [N, ...] that the charges [N, ...] give to those that are read."""
        xi = self.stream.normal(potentials)
        variance = self._sum(at_least_float32(charges).square(), self.variances())
        smallest = torch.finfo(variance.dtype).tiny  # the root has no slope at 0
        return potentials + xi * variance.clamp(min=smallest).sqrt().to(xi.dtype)

    def variances(self) -> Tensor:
        """Return the variance of each current, of the shape of the weights, in float32 at least."""
        stored = self.weights.parametrizations.weight
        [pairs] = stored
        conductances = at_least_float32(pairs.conductances(stored.original.detach()))
        return (self.share * at_least_float32(pairs.full)).square() * conductances.square().sum(0)

    def in_time(self, shape: tuple[int, ...], images: int) -> np.ndarray:
        """Return the draws [images, neurons] of a chip that is deployed anew."""
        stream = Stream(self.stream.seed).on(torch.device("cpu"))
        xi = torch.randn(images, *shape, generator=stream, dtype=torch.float64)
        return xi.reshape(images, -1).numpy()

    def _sum(self, squares: Tensor, variances: Tensor) -> Tensor:
        if isinstance(self.weights, nn.Linear):
            return F.linear(squares, variances)
        return self.weights._conv_forward(squares, variances, None)

    def __repr__(self) -> str:
        return f"read_noise={self.share}"


def attach_devices_(synapses: Synapses, devices: Devices, per_channel: bool, seed: int) -> None:
    """Hold the weights of the synapses in pairs of devices, and read them with noise."""
    weights = synapses.weights
    pairs = Pairs(devices, weights.weight, per_channel, seed)
    parametrize.register_parametrization(weights, "weight", pairs)
    if devices.read_noise:
        synapses.reads = ReadNoise(weights, devices.read_noise, seed_of(seed, "reads"))


def program_(chip: nn.Module) -> None:
    """Write all weights of a chip once more: memristive devices take other values each time."""
    for module in chip.modules():
        if isinstance(module, Pairs):
            module.program_()
