"""The synapses that leave each neuron, counted without being written out one by one."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from ttfs.snn.b1 import Fire
from ttfs.snn.graph import module_of
from ttfs.snn.network import INPUT, SpikingNetwork
from ttfs.snn.pools import EarliestSpike
from ttfs.snn.synapses import Gather, OneToOne, Reshape, Synapses


class _TwoWays(Exception):
    """A neuron may reach a target on two ways, which are one synapse, or cancel."""


@dataclass(frozen=True)
class _Arriving:
    """Charges on their way through synapses that are 1 where there is one, and 0 elsewhere."""

    value: Tensor  # [1, ...], float64
    sources: frozenset[str]
    spread: bool = False
    """Whether the charge of a neuron may be in many places."""
    spikes: bool = False
    """Whether these are spikes as neurons or pools send them."""


@torch.inference_mode(False)
@torch.enable_grad()
def count_synapses(snn: SpikingNetwork) -> dict[str, Tensor] | None:
    """Return {population: synapses that leave each of its neurons [...]}, in float64, on the CPU;
    `ttfs.metrics.fan_out` has the rules.

    With the weights w replaced by [w ≠ 0], the gradient of the sum of all potentials with respect
    to a charge is the number of its targets, if there is one way to each. None where there may be
    two: by overlapping averages, padding that repeats pixels, or x + f(x) with weights in f and no
    neurons.
    """
    charges: dict[str, Tensor] = {}
    ends = [torch.zeros((), dtype=torch.float64, requires_grad=True)]

    def spikes(name: str, shape: Sequence[int]) -> _Arriving:
        charges[name] = torch.zeros(shape, dtype=torch.float64, requires_grad=True)
        return _Arriving(charges[name], frozenset((name,)), spikes=True)

    def pass_on(node: fx.Node, inputs: list[_Arriving]) -> _Arriving:
        if node.op == "placeholder":
            return spikes(INPUT, (1, *snn.input_shape))
        if node.op == "call_function":
            return _together(node, inputs)
        module, (before,) = module_of(snn.body, node), inputs
        if module is None or isinstance(module, Fire):
            ends.append(before.value.sum())
            return spikes(str(node.target), before.value.shape) if module else before
        if isinstance(module, EarliestSpike):  # a spike that it holds back reaches no synapse
            return spikes(str(node.target), module.pool(before.value.detach()).shape)
        return replace(_through(module, before), spikes=False)

    values: dict[fx.Node, _Arriving] = {}
    try:
        for node in snn.body.graph.nodes:
            sources: Any = node.args[0] if node.target is torch.cat else node.args
            values[node] = pass_on(node, [values[source] for source in sources if node.args])
    except _TwoWays:
        return None
    targets = torch.autograd.grad(
        torch.stack(ends).sum(), list(charges.values()), allow_unused=True, materialize_grads=True
    )
    return {name: count[0] for name, count in zip(charges, targets, strict=True)}


def _together(node: fx.Node, parts: list[_Arriving]) -> _Arriving:
    """A sum or a concatenation."""
    sources = frozenset().union(*(part.sources for part in parts))
    apart = len(sources) == sum(len(part.sources) for part in parts)
    spread = any(part.spread for part in parts)
    if node.target is torch.cat:
        spikes = all(part.spikes for part in parts)  # which count at each place
        value = torch.cat([part.value for part in parts], 1)
        return _Arriving(value, sources, spread or not (apart or spikes), spikes)
    if not apart:
        raise _TwoWays
    first, second = parts
    return _Arriving(first.value + second.value, sources, spread)


def _through(module: nn.Module | None, before: _Arriving) -> _Arriving:
    """What one map, without neurons, makes of what arrives."""
    value = before.value
    if isinstance(module, Reshape):
        return replace(before, value=module(value))
    if isinstance(module, Gather):
        taken = module.index[module.index >= 0]
        often = len(taken.unique()) < len(taken)
        on_cpu = copy.deepcopy(module).cpu()
        return replace(before, value=on_cpu(value), spread=before.spread or often)
    if isinstance(module, OneToOne):
        return replace(before, value=value * _present(module.weight))
    if before.spread:  # what follows brings places together
        raise _TwoWays
    if isinstance(module, Synapses):
        return replace(before, value=_weighted(module, value), spread=True)
    reached = _places(module, value.shape[2:])
    after = value.flatten(2) @ reached.flatten(1).double()
    often = bool((reached.flatten(1).sum(1) > 1).any())
    return replace(before, value=after.reshape(1, -1, *reached.shape[1:]), spread=often)


def _present(weight: Tensor) -> Tensor:
    return (weight.detach() != 0).double().cpu()


def _weighted(synapses: Synapses, value: Tensor) -> Tensor:
    weights, present = synapses.weights, _present(synapses.currents)
    if isinstance(weights, nn.Linear):
        return F.linear(value, present)
    if weights.padding_mode != "zeros":
        raise _TwoWays
    convolve: Any = F.conv1d if isinstance(weights, nn.Conv1d) else F.conv2d
    geometry = (weights.stride, weights.padding, weights.dilation, weights.groups)
    return convolve(value, present, None, *geometry)


def _places(module: Any, size: Sequence[int]) -> Tensor:
    """Which places [H W, *after] a map that treats each channel alike takes a charge to."""
    single = torch.eye(prod(size), dtype=torch.float64).reshape(-1, 1, *size)
    return module(single)[:, 0] != 0
