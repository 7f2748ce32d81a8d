"""Leaky integrate-and-fire neurons, trained through time with a surrogate gradient.

    V[t] = β V[t-1] (1 - z[t-1]) + I[t],    z[t] = 1 where V[t] >= 1, else 0

with a hard reset that passes no gradient. Backward, dz/dV = 1 / (1 + α |V - 1|)². Currents go
through batch norm, whose statistics are shared over the time steps. Our reading of Ledinauskas et
al. 2020 (arXiv 2006.04436), of which only secondary notes could be read; the values of α and β are
ours.

snnTorch's `Leaky` with reset to zero is the same equation; it evaluates the surrogate twice a step
and keeps its state in the module, so it would be a dependency that saves one line.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from ttfs.errors import ConversionError, UserError
from ttfs.snn import SpikingNetwork, convert
from ttfs.snn.conversion.operations import DROPOUTS, Concatenate, operation
from ttfs.snn.conversion.tracing import trace
from ttfs.timed.network import Clock, Hold, Neurons, TimedNetwork, check_steps, replace_modules

MAX_POOLS = (nn.MaxPool1d, nn.MaxPool2d)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


class Spike(torch.autograd.Function):
    """1 where x >= 0, else 0; the gradient is 1 / (1 + α |x|)²."""

    @staticmethod
    def forward(context: Any, x: Tensor, alpha: float) -> Tensor:
        """Return the spikes of distances x from the threshold."""
        context.save_for_backward(x)
        context.alpha = alpha
        return (x >= 0).to(x.dtype)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """Return the gradient by x."""
        (x,) = context.saved_tensors
        return gradients[0] / (1 + context.alpha * x.abs()).square(), None


def leaky(currents: Tensor, beta: float, alpha: float) -> Tensor:
    """Return the spikes [T, N, ...] of currents [T, N, ...].

    >>> leaky(torch.tensor([0.6, 0.6, 0.6, 0.6]), beta=0.9, alpha=2.0).tolist()
    [0.0, 1.0, 0.0, 1.0]
    """
    potential = torch.zeros_like(currents[0])
    spikes = []
    for current in currents:
        potential = beta * potential + current
        spike = Spike.apply(potential - 1.0, alpha)
        potential = potential * (1.0 - spike.detach())
        spikes.append(spike)
    return torch.stack(spikes)


class Leaky(Neurons):
    """A layer of leaky integrate-and-fire neurons with threshold 1."""

    def __init__(self, clock: Clock, beta: float, alpha: float):
        super().__init__(clock)
        self.beta, self.alpha = beta, alpha

    def over_time(self, values: Tensor) -> Tensor:
        """Map currents [T, N, ...] to spikes."""
        return leaky(values, self.beta, self.alpha)

    def extra_repr(self) -> str:
        """Show leak and surrogate."""
        return f"beta={self.beta:g}, alpha={self.alpha:g}"


class LeakyNetwork(TimedNetwork):
    """The graph of a ReLU network with leaky integrate-and-fire neurons in place of each ReLU.

    Inputs are constant currents. The last layer does not spike; the logits are the mean of its
    outputs over T steps. Make one with `to_leaky`, and train it as any module.
    """

    def counterpart(self, input_range: tuple[float, float]) -> SpikingNetwork:
        """Return the TTFS network of the same graph, which says what its synapses are."""
        twin = _relu_graph(self.body).eval()
        parameter = next(self.parameters())
        low = torch.full((1, *self.input_shape), input_range[0]).to(parameter)
        return convert(twin, low, input_range=input_range)


def to_leaky(
    ann: nn.Module, example: Tensor, steps: int = 10, beta: float = 0.9, alpha: float = 2.0
) -> LeakyNetwork:
    """Return a network of leaky neurons with the graph and weights of a ReLU network, in `train()`.

    Args:
        ann: a network that `ttfs.convert` maps, with no max pool between synapses and their ReLU.
        example: an input [1, ...].
        steps: T, the number of time steps.
        beta: the share of the potential that stays from step to step, on [0, 1].
        alpha: > 0; the larger, the narrower the surrogate.

    Batch norm is put before each layer of neurons that has none.

    Raises:
        UserError: for values out of range.
        ConversionError: naming the module and the reason, where the network cannot be mapped.
    """
    check_steps(steps)
    if not 0 <= beta <= 1:
        raise UserError(f"beta is {beta}; the share that stays from step to step is 0 to 1")
    if not alpha > 0:
        raise UserError(f"alpha is {alpha}; the steepness of the surrogate is above 0")
    precision = next((p.dtype for p in ann.parameters()), example.dtype)
    graph = trace(ann, torch.cat([example, example]))  # in float64
    clock = Clock(steps)
    calls = [n for n in graph.graph.nodes if n.op.startswith("call_")]
    modules = {node: operation(node, graph) for node in calls}
    populations: list[str] = []
    for node, module in modules.items():
        if isinstance(module, MAX_POOLS):
            _check_pool(node, modules, populations)
        if isinstance(module, (nn.ReLU, *MAX_POOLS)):
            populations.append(node.name)
    for node, module in modules.items():
        if isinstance(module, nn.ReLU):
            _put_neurons(graph, node, Leaky(clock, beta, alpha), modules)
    for node in graph.graph.nodes:
        node.meta.clear()
    graph.delete_all_unused_submodules()
    graph.recompile()
    shape = tuple(example.shape[1:])
    network = LeakyNetwork(graph, nn.Identity(), shape, clock, populations)
    return network.to(precision).train()


def _put_neurons(
    graph: fx.GraphModule, node: fx.Node, neurons: Leaky, modules: Mapping[fx.Node, nn.Module]
) -> None:
    """Make the call of a ReLU one of neurons, under the node's name, after batch norm."""
    (source,) = node.all_input_nodes
    value = source.meta["value"]
    if not isinstance(modules.get(source), BATCH_NORMS):
        kind = nn.BatchNorm2d if value.dim() == 4 else nn.BatchNorm1d
        name = f"{node.name}_norm"
        graph.add_submodule(name, kind(value.shape[1]).to(value.device, value.dtype))
        with graph.graph.inserting_before(node):
            source = graph.graph.call_module(name, (source,))
    graph.add_submodule(node.name, neurons)
    node.op, node.target = "call_module", node.name
    node.args, node.kwargs = (source,), {}


def _check_pool(
    node: fx.Node, modules: Mapping[fx.Node, nn.Module], populations: Sequence[str]
) -> None:
    """Raise ConversionError for a pool of what is no spikes: of the input, of neurons, of pools."""
    (source,) = node.all_input_nodes
    while isinstance(modules.get(source), (nn.Identity, *DROPOUTS)):
        (source,) = source.all_input_nodes
    branches = source.all_input_nodes if isinstance(modules.get(source), Concatenate) else [source]
    if not all(b.op == "placeholder" or b.name in populations for b in branches):
        raise ConversionError(
            f"{node.name} ({type(modules[node]).__name__}): it pools before a ReLU; leaky neurons "
            "need pools of spikes, so put the ReLU first"
        )


def _relu_graph(body: fx.GraphModule) -> fx.GraphModule:
    """Return a copy of a graph with a ReLU for each layer of neurons, for one step."""
    twin = copy.deepcopy(body)

    def still(name: str, module: nn.Module) -> nn.Module | None:
        if isinstance(module, Neurons):
            return nn.ReLU()
        return nn.Identity() if isinstance(module, Hold) else None

    replace_modules(twin, still)
    return twin
