"""The synapses that leave each neuron, counted without being written out one by one."""

import copy
from collections.abc import Callable, Sequence
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
    """A neuron may reach a target in two ways: they are one synapse, or cancel."""


@dataclass(frozen=True)
class _Arriving:
    """Charges on their way through synapses that are 1 where there is one, and 0 elsewhere."""

    value: Tensor  # [1, ...], float64
    sources: frozenset[str]
    spread: bool = False
    """Whether the charge of a neuron may be in many places, whose synapses may meet."""
    spikes: bool = False
    """Whether these are spikes as neurons or pools send them, or a concatenation of such. That is a
    population of its own: a neuron in two of its places has the synapses of both.
    """


@torch.inference_mode(False)
@torch.enable_grad()
def count_synapses(snn: SpikingNetwork) -> dict[str, Tensor] | None:
    """Return {population: synapses that leave each of its neurons [...]}, in float64, on the CPU;
    `ttfs.metrics.fan_out` has the rules.

    With the weights w replaced by [w ≠ 0], the gradient of the sum of all potentials with respect
    to a charge is the number of its targets, if there is one way to each. None where there may be
    two: by weights or means without neurons after weights, after means that overlap or after pixels
    that are repeated, or by a sum of terms that share a source.
    """
    charges: dict[str, Tensor] = {}
    ends: list[Tensor] = []

    def spikes(name: str, shape: Sequence[int]) -> _Arriving:
        charges[name] = torch.zeros(shape, dtype=torch.float64, device="cpu", requires_grad=True)
        return _Arriving(charges[name], frozenset((name,)), spikes=True)

    def pass_on(node: fx.Node, inputs: list[_Arriving]) -> _Arriving:
        if node.op == "placeholder":
            return spikes(INPUT, (1, *snn.input_shape))
        if node.op == "call_function":
            return _together(node, inputs)
        module, (before,) = module_of(snn.body, node), inputs
        if node.op == "output":
            ends.append(before.value.sum())
            return before
        if isinstance(module, Fire):
            ends.append(before.value.sum())
            return spikes(str(node.target), before.value.shape)
        if isinstance(module, EarliestSpike):  # a spike that it holds back reaches no synapse
            return spikes(str(node.target), module.pool(before.value.detach()).shape)
        return replace(_through(module, before), spikes=False)

    values: dict[fx.Node, _Arriving] = {}
    try:
        for node in snn.body.graph.nodes:
            sources: Any = node.args[0] if node.target is torch.cat else node.args
            values[node] = pass_on(node, [values[source] for source in sources])
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
        on_cpu = copy.deepcopy(module).cpu()  # the network stays where it is
        return replace(before, value=on_cpu(value), spread=before.spread or often)
    if isinstance(module, OneToOne):
        return replace(before, value=value * _present(module.weight).double())
    if before.spread:  # what follows brings places together
        raise _TwoWays
    if isinstance(module, Synapses):
        return replace(before, value=_MadeAgain.apply(value, _weighted(module)), spread=True)
    reached, size = _places(module, value.shape[2:])
    after = (value.flatten(2) if value.dim() > 2 else value.unsqueeze(2)) @ reached.double()
    often = bool((reached.sum(1) > 1).any())
    return replace(before, value=after.reshape(1, -1, *size), spread=often)


class _MadeAgain(torch.autograd.Function):
    """A linear map whose gradient makes the weights once more: kept, they would take the memory of
    all layers together, in float64.
    """

    @staticmethod
    def forward(ctx: Any, value: Tensor, linear: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.shape, ctx.linear = value.shape, linear
        return linear(value)

    @staticmethod
    def backward(ctx: Any, *targets: Tensor) -> Any:
        value = torch.zeros(ctx.shape, dtype=torch.float64, device="cpu", requires_grad=True)
        with torch.enable_grad():
            return *torch.autograd.grad(ctx.linear(value), value, targets), None


def _present(weight: Tensor) -> Tensor:
    return (weight.detach() != 0).cpu()


def _weighted(synapses: Synapses) -> Callable[[Tensor], Tensor]:
    """The map of the synapses, with 1 for each weight that is not 0."""
    weights, present = synapses.weights, _present(synapses.currents)
    if isinstance(weights, nn.Linear):
        return lambda value: F.linear(value, present.double())
    if weights.padding_mode != "zeros":  # pixels are repeated
        raise _TwoWays
    convolve: Any = F.conv1d if isinstance(weights, nn.Conv1d) else F.conv2d
    geometry = (weights.stride, weights.padding, weights.dilation, weights.groups)
    return lambda value: convolve(value, present.double(), None, *geometry)


def _places(module: Any, size: Sequence[int]) -> tuple[Tensor, tuple[int, ...]]:
    """Which of a channel's places after a map [H W, places] the charge of each place comes to, and
    the size that they have, of a map that treats each channel alike.
    """
    single = torch.eye(prod(size), dtype=torch.float64, device="cpu").reshape(-1, 1, *size)
    answers = module(single)
    return answers.reshape(prod(size), -1) != 0, tuple(answers.shape[2:])
