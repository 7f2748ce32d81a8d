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

EXACT, FINE = 1e-6, 1e-4
"""How far logits in float64 may be from the ANN's, and beside which share of others; see
`distance`.
"""
ROUGH = 1e-2
"""How far logits in float32 may be from those in float64."""
CLOSE, CAST = 0.1, 0.5
"""How far those of the ANN in its own precision may be, and beside which share of others: in
float32, and where it has fewer digits on its way, as with autocast.
"""


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


def distance(value: Tensor, reference: Tensor, beside: float) -> float:
    """Return how far logits [N, ...] are from others: the largest |value - reference| / scale,
    infinite where shapes differ or infinite ones are not equal.

    The scale of an output is s + beside (S + r), where s is how far it varies over the images,
    max |reference - mean|, S the largest s of all outputs, and r the output's max |reference|. So a
    large constant, as of a mask of classes, hides nothing.

    >>> masked = torch.tensor([[1.0, -1e9], [2.0, -1e9]])
    >>> distance(masked + torch.tensor([0.5, 0.0]), masked, beside=0.0)
    1.0
    """
    finite = reference.isfinite()
    if value.shape != reference.shape or not torch.equal(value[~finite], reference[~finite]):
        return math.inf
    value, reference = value.where(finite, 0.0), reference.where(finite, 0.0)
    spread = (reference - reference.mean(0)).abs().amax(0)
    scale = spread + beside * (spread.max() + reference.abs().amax(0))
    off = (value - reference).abs()
    return torch.where(off == 0, 0.0, off / scale).max().item()  # NaN stays NaN


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
