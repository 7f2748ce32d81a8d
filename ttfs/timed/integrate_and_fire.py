"""Rate-coded networks of integrate-and-fire neurons, on the graph of a TTFS network.

The neuron: V(0) = θ/2, V[t] = V[t-1] + I[t]; it spikes where V[t] >= θ, and then V[t] -= θ (reset
by subtraction). A spike delivers θ, so the mean output over T steps is the rate r = θ N / T of N
spikes, the counterpart of the activation. With a constant current I the rate is

    Q(I) = (θ / T) clip(floor(T I / θ + 1/2), 0, T),

which is the activation of QCFS with L = T (Bu et al. 2022). The soft reset and the start at half
the threshold are those of the public code of DSR (Meng et al. 2022).
"""

import copy
from bisect import bisect_left
from typing import Any

import torch
from torch import Tensor, nn

from ttfs.snn import EarliestSpike, Fire, SpikingNetwork
from ttfs.snn.precision import at_least_float32
from ttfs.snn.state import Numbers
from ttfs.timed.network import (
    Clock,
    Neurons,
    OverTime,
    TimedNetwork,
    layer_shapes,
    spiking_nodes,
)


class IntegrateAndFire(Neurons, Numbers):
    """Integrate-and-fire neurons with soft reset, and a threshold for each setting of the network.

    A current [C, ...] of bias correction adds to what the synapses give; it is 0 without one.
    """

    clock: "SettingsClock"
    thresholds: Tensor
    corrections: Tensor

    def __init__(self, clock: "SettingsClock", shape: tuple[int, ...] = (1,)):
        super().__init__(clock)
        settings = len(clock.settings)
        self.register_number("thresholds", (1.0,) * settings)
        self.register_buffer("corrections", torch.zeros(settings, *shape))

    @property
    def threshold(self) -> float:
        """The threshold θ that the current number of steps asks for."""
        return self.thresholds[self.clock.setting].item()

    @threshold.setter
    def threshold(self, value: float) -> None:
        self.thresholds[self.clock.setting] = value

    @property
    def correction(self) -> Tensor:
        """The current of bias correction [C, ...] that the current number of steps asks for."""
        return self.corrections[self.clock.setting]

    def over_time(self, values: Tensor) -> Tensor:
        """Map currents [T, N, ...] to θ where a neuron spikes, and 0 elsewhere."""
        return integrate_and_fire(values, self.threshold, self.correction)

    def extra_repr(self) -> str:
        """Show the thresholds."""
        return f"thresholds={[round(value, 6) for value in self.thresholds.tolist()]}"


def integrate_and_fire(
    currents: Tensor, threshold: float, correction: Tensor | float = 0.0
) -> Tensor:
    """Return θ where a neuron spikes, and 0 elsewhere, of currents [T, N, ...].

    >>> integrate_and_fire(torch.tensor([0.4, 0.4, 0.4, 0.4]), 1.0).tolist()
    [0.0, 1.0, 0.0, 1.0]
    """
    potential = torch.full_like(at_least_float32(currents[0]), threshold / 2)
    outputs = torch.empty_like(currents)
    for current, output in zip(currents, outputs, strict=True):
        potential += current
        potential += correction
        torch.ge(potential, threshold, out=output).mul_(threshold)
        potential -= output
    return outputs


def quantized(currents: Tensor, threshold: float, steps: int) -> Tensor:
    """Return Q(I) = (θ / T) clip(floor(T I / θ + 1/2), 0, T), the rate of a constant current I.

    >>> quantized(torch.tensor([-1.0, 0.2, 0.4, 9.0]), 1.0, 4).tolist()
    [0.0, 0.25, 0.5, 1.0]
    """
    spikes = (steps * currents / threshold + 0.5).floor().clamp(0, steps)
    return spikes * (threshold / steps)


def summed(values: Tensor) -> Tensor:
    """Return the sums over the steps so far of values [T, ...], in double precision, then rounded
    to theirs, float32 at least: many spikes in a sum of few digits leave no room for one more.

    As `values.cumsum(0)` does, and three times as fast, because a step is contiguous.
    """
    sums = torch.empty_like(at_least_float32(values))
    total = torch.zeros_like(values[0], dtype=torch.float64)
    for value, so_far in zip(values, sums, strict=True):
        so_far.copy_(total.add_(value))
    return sums


class GatedPool(OverTime):
    """Pooling of spikes, gated by accumulated charge: a spike passes if it raises what has passed.

    The output of step t is pool(S[t]) - pool(S[t-1]), S[t] what each neuron has delivered until
    then. So the mean output is the pool of the rates, exactly, for max pools and for min pools (of
    channels with a negative scale) alike.
    """

    def __init__(self, clock: Clock, pool: EarliestSpike):
        super().__init__(clock)
        self.pool = pool

    def over_time(self, values: Tensor) -> Tensor:
        """Map spikes [T, N, C, ...] to those that pass."""
        passed = self.pool(summed(values).flatten(0, 1)).unflatten(0, values.shape[:2])
        first = torch.zeros_like(passed[:1])
        steps = passed.diff(dim=0, prepend=first)
        rounding = torch.finfo(steps.dtype).eps * passed  # of S, which is no spike
        return torch.where(steps > rounding, steps, 0.0).to(values.dtype)


class SettingsClock(Clock):
    """A clock for a network that is set for several numbers of steps."""

    def __init__(self, settings: tuple[int, ...]):
        super().__init__(settings[-1])
        self.settings = settings

    @property
    def setting(self) -> int:
        """The position of the smallest setting that is not below the current steps, or the last."""
        return min(bisect_left(self.settings, self.steps), len(self.settings) - 1)


class RateNetwork(TimedNetwork):
    """A rate-coded network: the graph of a TTFS network with integrate-and-fire neurons.

    Inputs are constant currents; the logits are the mean over T steps. Make one with
    `ttfs.convert_to_rate`. It has no gradient.
    """

    clock: SettingsClock

    def __init__(self, snn: SpikingNetwork, settings: tuple[int, ...]):
        clock = SettingsClock(settings)
        body = copy.deepcopy(snn.body)
        spiking, shapes = spiking_nodes(snn), layer_shapes(snn)
        for name in spiking:
            module: Any = body.get_submodule(name)
            if isinstance(module, Fire):
                channels, *rest = shapes[name]
                timed: nn.Module = IntegrateAndFire(clock, (channels, *[1] * len(rest)))
            else:
                timed = GatedPool(clock, module)
            body.set_submodule(name, timed)
        super().__init__(body, copy.deepcopy(snn.encode), snn.input_shape, clock, spiking)
        for name in spiking:  # a pool of constant currents is a pool
            pool = body.get_submodule(name)
            if isinstance(pool, GatedPool) and name not in self._moving:
                body.set_submodule(name, pool.pool)
        self.to(snn.silence).eval()

    @property
    def settings(self) -> tuple[int, ...]:
        """Numbers of steps that thresholds are set for, rising."""
        return self.clock.settings

    @torch.no_grad()
    def forward(self, inputs: Tensor, steps: int | None = None) -> Tensor:
        """Return the logits [N, classes] of inputs [N, ...] after a number of steps."""
        return super().forward(inputs, steps)
