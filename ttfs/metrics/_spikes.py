"""How many spikes a network spends, and what they cost at the synapses."""

from dataclasses import replace
from typing import cast

import numpy as np
import torch
from torch import Tensor

from ttfs.snn import INPUT, SpikingNetwork, Synapses, connectivity

ADD_ENERGY = 0.9
"""Energy of a 32-bit floating-point addition in 45 nm CMOS at 0.9 V, in pJ (Horowitz, ISSCC 2014)."""

MULTIPLY_ENERGY = 3.7
"""Energy of a 32-bit floating-point multiplication in 45 nm CMOS at 0.9 V, in pJ (Horowitz, ISSCC 2014)."""


def spikes_per_neuron(snn: SpikingNetwork, images: Tensor) -> float:
    """Return spikes / neurons over the hidden layers, before pooling, as a mean over images [N, ...].

    Input pixels and the output layer, which does not spike, are left out (as in Stanojevic et al. 2024). A TTFS neuron
    spikes at most once an image, so the value lies on [0, 1]; in an α1 network it is 1, for silence there is a spike at
    t_max.

    >>> import ttfs
    >>> from torch import nn, tensor
    >>> ann = nn.Sequential(nn.Linear(1, 2, bias=False), nn.ReLU(), nn.Linear(2, 2))
    >>> _ = ann[0].weight.data.copy_(tensor([[1.0], [-1.0]]))
    >>> spikes_per_neuron(ttfs.convert(ann, tensor([[1.0]])), tensor([[0.5], [0.0]]))  # one neuron, for one image
    0.25
    """
    counter = SpikeCounter(snn)
    counter.update({name: snn.fired(charges) for name, charges in snn.charges(images)[1].items()})
    return counter.spikes_per_neuron


class SpikeCounter:
    """Count hidden spikes over batches, and, given the `fan_out` of the network, what they set off at the synapses.

    `update` takes what `SpikingNetwork.fired` says of each population's charges.
    """

    def __init__(self, snn: SpikingNetwork, fan_out: dict[str, Tensor] | None = None):
        self._spikes = dict.fromkeys(snn.layers, 0)
        self._neurons = dict.fromkeys(snn.layers, 0)
        self._images = 0
        self._fan_out = fan_out
        self._operations = 0.0

    def update(self, fired: dict[str, Tensor]) -> None:
        """Add one batch: {layer: which neurons spiked [N, ...]}; the input, and pools for synapses, with them."""
        for name in self._spikes:
            self._spikes[name] += int(fired[name].count_nonzero())
            self._neurons[name] = fired[name][0].numel()
        self._images += len(fired[INPUT])
        if self._fan_out is not None:
            self._operations += synaptic_operations(fired, self._fan_out).sum().item()

    @property
    def neurons(self) -> dict[str, int]:
        """Neurons of each hidden layer."""
        return dict(self._neurons)

    @property
    def spikes_per_layer(self) -> dict[str, float]:
        """Spikes / neurons of each hidden layer, mean over the images seen."""
        return {name: self._spikes[name] / (self._neurons[name] * self._images) for name in self._spikes}

    @property
    def spikes_per_neuron(self) -> float:
        """Spikes / neurons over all hidden layers, mean over the images seen."""
        return sum(self._spikes.values()) / max(sum(self._neurons.values()) * self._images, 1)

    @property
    def synaptic_operations(self) -> float:
        """Synaptic operations of an image, mean over the images seen; 0 without a `fan_out`."""
        return self._operations / max(self._images, 1)


def fan_out(snn: SpikingNetwork) -> dict[str, Tensor]:
    """Return {population: synapses that leave each of its neurons [...]}, in float64.

    Populations are the input, the hidden layers and what their pools let pass. Synapses of weight zero and those that
    a border cuts off do not count; each target counts once, also if reached through an average pool; a residual sum is
    one synapse.
    """
    counts: dict[str, np.ndarray] = {}
    populations = []
    for population in connectivity(snn):
        populations.append(replace(population, projection=None))  # synapses are large; none outlives its count
        counts[population.name] = np.zeros(int(np.prod(population.shape)))
        if population.projection is not None:
            for name, matrix in population.projection.matrices.items():
                matrix.eliminate_zeros()
                counts[name] += np.diff(matrix.indptr)
    for population in reversed(populations):
        if population.kind == "concatenation":
            ends = np.cumsum([counts[source].size for source in population.sources])[:-1]
            for source, part in zip(population.sources, np.split(counts.pop(population.name), ends), strict=True):
                counts[source] += part
    shapes = {p.name: p.shape for p in populations if p.kind in ("input", "fire", "pool")}
    return {name: torch.from_numpy(counts[name]).reshape(shape) for name, shape in shapes.items()}


def synaptic_operations(fired: dict[str, Tensor], fan_out: dict[str, Tensor]) -> Tensor:
    """Return the synaptic operations [N] of each image: sum over spikes of their fan-out.

    Takes which neurons spiked, `snn.fired` of the charges of `snn.charges(images, pooled=True)`, and the counts of
    `fan_out(snn)`. Input spikes count, for their synapses work too; a spike that a pool holds back reaches no synapse.

    >>> from torch import tensor
    >>> synaptic_operations({"input": tensor([[True, False], [True, True]])}, {"input": tensor([3.0, 4.0])}).tolist()
    [3.0, 7.0]
    """
    operations = torch.zeros(len(next(iter(fired.values()))), dtype=torch.float64)
    for name, count in fan_out.items():
        spikes = fired[name].flatten(1).double().cpu()
        operations += spikes @ count.double().flatten()
    return operations


def spiking_energy(operations: float) -> float:
    """Return the energy of synaptic operations in nJ: operations x 0.9 pJ, an addition each.

    An estimate from operation costs alone (Horowitz, ISSCC 2014, 45 nm): memory, neurons and leakage are not in it.

    >>> spiking_energy(100_000)
    90.0
    """
    return operations * ADD_ENERGY / 1000.0


@torch.no_grad()
def multiply_accumulates(snn: SpikingNetwork) -> int:
    """Return the multiply-accumulates an image costs the ReLU twin: weights x positions, over all layers.

    Zero weights and padding count, for a dense computation multiplies by them too.

    >>> import ttfs
    >>> from torch import nn, rand
    >>> ann = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(32, 10))
    >>> multiply_accumulates(ttfs.convert(ann, rand(1, 1, 4, 4)))  # 2 * 9 weights at 16 positions, and 320
    608
    """
    parameter = next(snn.parameters())
    silence = torch.full((1, *snn.input_shape), snn.encode.low, dtype=parameter.dtype, device=parameter.device)
    costs = []
    for name, potential in snn.potentials(silence).items():
        weight = cast(Synapses, snn.body.get_submodule(name)).weights.weight
        costs.append(weight[0].numel() * potential.numel())
    return sum(costs)


def dense_energy(operations: float) -> float:
    """Return the energy of multiply-accumulates in nJ: operations x (3.7 + 0.9) pJ. See `spiking_energy`.

    >>> round(dense_energy(1000), 3)
    4.6
    """
    return operations / 1000.0 * (MULTIPLY_ENERGY + ADD_ENERGY)
