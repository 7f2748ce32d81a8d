"""Compare a TTFS network with the ReLU network it came from, layer by layer."""

import copy
import math
from collections.abc import Container

import torch
from torch import Tensor, fx, nn

from ttfs.snn.conversion.reading import operation
from ttfs.snn.conversion.tracing import record, trace
from ttfs.snn.network import OUTPUT, SpikingNetwork
from ttfs.snn.pools import EarliestSpike


def reference_network(snn: SpikingNetwork) -> nn.Module:
    """Return a copy of the network with a ReLU for each layer of neurons: what a trained TTFS
    network should equal.
    """
    twin = copy.deepcopy(snn)
    for name, layer in twin.layers.items():
        clips = layer.ceiling < math.inf
        twin.body.set_submodule(name, nn.Hardtanh(0.0, layer.ceiling) if clips else nn.ReLU())
    return nn.Sequential(twin.encode, twin.body)


@torch.no_grad()
def layer_differences(ann: nn.Module, snn: SpikingNetwork, images: Tensor) -> dict[str, float]:
    """Return {layer: largest |charge - activation| / largest activation} over the images, and
    "output" for the logits.

    In the order of the network: the first large one is where a conversion goes wrong.
    """
    graph = trace(ann, images)
    spiking_logits, converted = record(snn.body, snn.encode(images))
    reference = {node.name: node.meta.get("value") for node in graph.graph.nodes}
    logits = reference[graph.graph.output_node().all_input_nodes[0].name]
    neurons = {node.name: node for node in snn.body.graph.nodes if node.target in snn.layers}
    result = {}
    for node in graph.graph.nodes:
        if node.name in neurons and isinstance(operation(node, graph), nn.ReLU):
            carrier = neurons[node.name]
            while (pool := _pool_after(carrier, snn)) and _is_own(pool, node, reference):
                carrier = pool  # the ReLU network pooled before this ReLU
            result[node.name] = relative_difference(converted[carrier.name], reference[node.name])
    return result | {OUTPUT: relative_difference(spiking_logits, logits)}


def _is_own(pool: fx.Node, node: fx.Node, names: Container[str]) -> bool:
    """Whether a pool was put behind a ReLU that the ReLU network has behind its pool."""
    return pool.name.startswith(f"{node.name}_pool") and pool.name not in names


def _pool_after(node: fx.Node, snn: SpikingNetwork) -> fx.Node | None:
    modules = ((user, getattr(snn.body, str(user.target), None)) for user in node.users)
    return next((user for user, module in modules if isinstance(module, EarliestSpike)), None)


def relative_difference(value: Tensor, reference: Tensor) -> float:
    """Return max |value - reference| / max |reference|; the plain difference where the reference is
    all 0. Raises ValueError where the shapes differ or hold nothing.

    >>> relative_difference(torch.tensor([1.0, 3.0]), torch.tensor([1.0, 4.0]))
    0.25
    """
    if value.shape != reference.shape or not value.numel():
        raise ValueError(
            f"relative_difference: shapes {list(value.shape)} and {list(reference.shape)}; give "
            "two of one shape, with a number at least"
        )
    scale = reference.abs().max().item()
    return (value - reference).abs().max().item() / (scale or 1.0)
