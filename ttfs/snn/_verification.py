"""Compare a TTFS network with the ReLU network it came from, layer by layer."""

import torch
from torch import Tensor, fx, nn

from ttfs.snn._network import OUTPUT, SpikingNetwork
from ttfs.snn._tracing import operation, trace


@torch.no_grad()
def layer_differences(ann: nn.Module, snn: SpikingNetwork, images: Tensor) -> dict[str, float]:
    """Return {layer: largest |charge - activation| / largest activation} over the images, and "output" for the logits.

    In the order of the network: the first large one is where a conversion goes wrong.
    """
    graph = trace(ann, images[:1])
    relus = {node.name for node in graph.graph.nodes if isinstance(operation(node, graph), nn.ReLU)}
    reference = _Recorder(graph)
    logits = reference.run(images)
    converted = _Recorder(snn.body)
    result = {}
    spiking_logits = converted.run(snn.encode(images))
    for name in reference.values:
        if name in relus and name in converted.values:
            carrier = [key for key in converted.values if key == name or key.startswith(f"{name}_pool")][-1]
            result[name] = relative_difference(converted.values[carrier], reference.values[name])
    return result | {OUTPUT: relative_difference(spiking_logits, logits)}


def relative_difference(value: Tensor, reference: Tensor) -> float:
    """Return max |value - reference| / max |reference|; the plain difference where the reference is all 0.

    >>> relative_difference(torch.tensor([1.0, 3.0]), torch.tensor([1.0, 4.0]))
    0.25
    """
    scale = reference.abs().max().item()
    return (value - reference).abs().max().item() / (scale or 1.0)


class _Recorder(fx.Interpreter):
    """Run a graph and keep the value of each node."""

    def __init__(self, graph: fx.GraphModule):
        super().__init__(graph)
        self.values: dict[str, Tensor] = {}

    def run_node(self, node: fx.Node) -> Tensor:
        value = super().run_node(node)
        if isinstance(value, Tensor):
            self.values[node.name] = value.clone()
        return value
