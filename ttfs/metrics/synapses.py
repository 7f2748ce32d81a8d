"""Synaptic operations of spikes, and multiply-accumulates of the dense ReLU network."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ttfs.metrics._arguments import check_network

if TYPE_CHECKING:
    from torch import Tensor

    from ttfs.snn import SpikingNetwork

METRICS = ()


def fan_out(snn: "SpikingNetwork") -> "dict[str, Tensor]":
    """Return {population: synapses that leave each of its neurons [...]}, in float64.

    Populations are the input, the hidden layers and what their pools let pass. Synapses of weight
    zero and those that a border cuts off do not count; each target counts once, also if reached
    through an average pool; a residual sum is one synapse.
    """
    from ttfs.snn import count_synapses

    check_network(snn, "fan_out")
    counted = count_synapses(snn)
    return _written_out(snn) if counted is None else counted


def _written_out(snn: "SpikingNetwork") -> "dict[str, Tensor]":
    """Count the synapses one by one."""
    import numpy as np
    import torch

    from ttfs.snn import connectivity

    counts: dict[str, np.ndarray] = {}
    populations = []
    for population in connectivity(snn):
        populations.append(
            replace(population, projection=None)
        )  # synapses are large; none outlives its count
        counts[population.name] = np.zeros(int(np.prod(population.shape)))
        if population.projection is not None:
            for name, matrix in population.projection.matrices.items():
                matrix.eliminate_zeros()
                counts[name] += np.diff(matrix.indptr)
    for population in reversed(populations):
        if population.kind == "concatenation":
            ends = np.cumsum([counts[source].size for source in population.sources])[:-1]
            for source, part in zip(
                population.sources, np.split(counts.pop(population.name), ends), strict=True
            ):
                counts[source] += part
    shapes = {p.name: p.shape for p in populations if p.kind in ("input", "fire", "pool")}
    return {name: torch.from_numpy(counts[name]).reshape(shape) for name, shape in shapes.items()}


def synaptic_operations(fired: "Mapping[str, Tensor]", fan_out: "Mapping[str, Tensor]") -> "Tensor":
    """Return the synaptic operations [N] of each image: sum over spikes of their fan-out.

    Takes which neurons spiked, `snn.fired` of the charges of `snn.charges(images, pooled=True)`,
    and the counts of `fan_out(snn)`. Input spikes count, for their synapses work too; a spike that
    a pool holds back reaches no synapse. Counts of spikes, of neurons that spike more often, are
    added up; charges are none, and raise ValueError.

    >>> from torch import tensor
    >>> fired = {"input": tensor([[True, False], [True, True]])}
    >>> synaptic_operations(fired, {"input": tensor([3.0, 4.0])}).tolist()
    [3.0, 7.0]
    """
    import torch

    operations = torch.zeros(len(next(iter(fired.values()))), dtype=torch.float64)
    for name, count in fan_out.items():
        spikes = fired[name].flatten(1)
        if spikes.is_floating_point() and not torch.equal(spikes, spikes.round()):
            raise ValueError(f"synaptic_operations: {name}: charges; give snn.fired(charges)")
        weights = count.to(spikes.device, torch.float64).flatten()  # where the spikes are
        operations += (spikes.double() @ weights).cpu()
    return operations


def multiply_accumulates(snn: "SpikingNetwork") -> int:
    """Return the multiply-accumulates that an item costs the reference network: weights x
    positions, over all layers; of a transposed convolution, positions of its input.

    Zero weights and padding count, for a dense computation multiplies by them too.

    >>> import ttfs
    >>> from torch import nn, rand
    >>> conv, linear = nn.Conv2d(1, 2, 3, padding=1), nn.Linear(32, 10)
    >>> ann = nn.Sequential(conv, nn.ReLU(), nn.Flatten(), linear)
    >>> multiply_accumulates(ttfs.convert(ann, rand(1, 1, 4, 4)))  # 18 weights x 16 places, and 320
    608
    """
    import torch

    check_network(snn, "multiply_accumulates")
    with torch.no_grad():
        potentials = snn.potentials(snn.silence)
    return sum(_products(snn, name, potential.numel()) for name, potential in potentials.items())


def _products(snn: "SpikingNetwork", name: str, outputs: int) -> int:
    """The products of values with the weights of a convolution or linear map."""
    from ttfs.snn.graph import module_of
    from ttfs.snn.synapses import Spread

    synapses: Any = snn.body.get_submodule(name)
    weight = synapses.weights.weight
    [node] = snn.body.graph.find_nodes(op="call_module", target=name)
    values = module_of(snn.body, node.args[0])
    if isinstance(values, Spread):  # its zeros are no values of the reference network
        channels = values.shape[0]
        return int((values.index >= 0).sum()) // channels * weight.numel()
    return weight[0].numel() * outputs
