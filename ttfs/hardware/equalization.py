"""Hidden neurons rescaled, channel by channel: the same network, weights that few levels hold."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, fx, nn

from ttfs.snn import EarliestSpike, SpikingNetwork, Synapses
from ttfs.snn.graph import module_of
from ttfs.snn.synapses import Reshape, scale_columns

PASSES_ON = (EarliestSpike, Reshape, nn.AvgPool1d, nn.AvgPool2d)
"""What may lie between neurons and the synapses that read them."""
SWEEPS = 100
SETTLED = 1e-3
"""Sweeps end when no factor differs from 1 by more than this share."""


class Reader(NamedTuple):
    """Synapses that read a layer, and the channel [C_in] that each of their inputs is of."""

    synapses: Synapses
    channels: Tensor


class Layer(NamedTuple):
    """Hidden neurons of C channels between the synapses that feed them and those that read them."""

    name: str
    entry: Synapses
    readers: list[Reader]


@torch.no_grad()
def equalize_(snn: SpikingNetwork) -> list[str]:
    """Give the weights into and out of each channel of hidden neurons one range, in place; return
    the layers.

    Potentials that are k > 0 times as large give B1 neurons k times the charge. So the weights and
    the bias into channel c may be multiplied by k_c and what reads it divided by k_c: the network
    computes what it did. With r_c the largest |w| into channel c, and q_c the largest out of it,
    k_c = sqrt(q_c / r_c) makes both sqrt(r_c q_c). Layers share weights, so they take turns until
    all agree (cross-layer equalization; Nagel et al. 2019, arXiv 1906.04721, section 4.1). In the
    end each layer's factors are divided by their largest: windows, and so the latency, stay, and no
    window clips more than before.

    It is for weights of few levels, above all where a batch norm after the ReLU has left columns of
    very different size in the weights, which no scale of a layer or an output channel can hold.

    A layer keeps its scale where it clips (ReLU6), and where another thing than synapses, behind
    pools at most, feeds or reads it, as in a residual sum.
    """
    layers = [layer for node in snn.body.graph.nodes if (layer := _layer(snn, node)) is not None]
    total = {layer.name: torch.ones_like(_rows(layer)) for layer in layers}
    for _ in range(SWEEPS):
        moved = 0.0
        for layer in layers:
            rows, columns = _rows(layer), _columns(layer)
            scale = torch.where((rows > 0) & (columns > 0), columns / rows, 1.0).sqrt()
            _scale_(layer, scale)
            total[layer.name] *= scale
            moved = max(moved, (scale - 1).abs().max().item())
        if moved <= SETTLED:
            break
    for layer in layers:
        _scale_(layer, (1 / total[layer.name].max()).expand(len(total[layer.name])))
    return [layer.name for layer in layers]


def _layer(snn: SpikingNetwork, node: fx.Node) -> Layer | None:
    """The layer of a node, where it can be rescaled."""
    fire = snn.layers.get(str(node.target))
    if fire is None or fire.ceiling < math.inf:
        return None
    [source] = node.all_input_nodes
    entry = module_of(snn.body, source)
    if not isinstance(entry, Synapses) or len(source.users) > 1:
        return None
    readers = _readers(snn, node)
    return None if readers is None else Layer(str(node.target), entry, readers)


def _readers(snn: SpikingNetwork, node: fx.Node) -> list[Reader] | None:
    """The synapses that read a layer; None where anything else does."""
    shape = snn.charges(snn.silence)[1][str(node.target)].shape
    numbers = torch.arange(shape[1], device=snn.silence.device, dtype=snn.silence.dtype)
    waiting = [(node, numbers.view(1, -1, *[1] * (len(shape) - 2)).expand(shape))]
    found = []
    while waiting:
        source, channels = waiting.pop()
        for user in source.users:
            module = module_of(snn.body, user)
            if isinstance(module, PASSES_ON):
                waiting.append((user, module(channels)))
                continue
            rows = channels[0].reshape(channels.shape[1], -1)
            if not isinstance(module, Synapses) or not (rows == rows[:, :1]).all():
                return None
            found.append(Reader(module, rows[:, 0].long()))
    return found


def _rows(layer: Layer) -> Tensor:
    """The largest |w| into each channel [C]."""
    return layer.entry.weights.weight.abs().flatten(1).amax(1)


def _columns(layer: Layer) -> Tensor:
    """The largest |w| out of each channel [C]."""
    largest = torch.zeros_like(_rows(layer))
    for synapses, channels in layer.readers:
        weight = synapses.weights.weight.abs()
        groups = getattr(synapses.weights, "groups", 1)
        inputs = weight.flatten(2).amax(2) if weight.dim() > 2 else weight  # [C_out, C_in / groups]
        inputs = inputs.view(groups, -1, inputs.shape[1]).amax(1).flatten()  # [C_in]
        largest.scatter_reduce_(0, channels, inputs, "amax")
    return largest


def _scale_(layer: Layer, scale: Tensor) -> None:
    """Multiply the potentials of each channel by a scale [C], and divide what reads it by it."""
    entry = layer.entry
    for part in (entry.weights.weight, entry.weights.bias, entry.bias_map):
        if part is not None:
            part.mul_(scale.view(-1, *[1] * (part.dim() - 1)))
    for synapses, channels in layer.readers:
        scale_columns(synapses.weights, scale.reciprocal()[channels])
