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
from typing import Any

import torch
from torch import Tensor, nn

from ttfs.errors import UserError
from ttfs.snn import Fire, SpikingNetwork, convert
from ttfs.snn.graph import module_of
from ttfs.timed.network import (
    Clock,
    Neurons,
    TimedNetwork,
    check_steps,
    layer_shapes,
    spiking_nodes,
)


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
    """A network of leaky neurons on the graph of a TTFS network, batch norm before each layer.

    Inputs are constant currents, scaled to [0, 1]. A max pool takes the spikes of each step. The
    last layer does not spike; the logits are the mean of its outputs over T steps. Make one with
    `to_leaky`, and train it as any module.
    """

    def __init__(self, snn: SpikingNetwork, clock: Clock, beta: float, alpha: float):
        body = copy.deepcopy(snn.body)
        shapes = layer_shapes(snn)
        for node in list(body.graph.nodes):
            if isinstance(module_of(body, node), Fire):
                channels, *rest = shapes[node.name]
                norm = nn.BatchNorm2d if len(rest) == 2 else nn.BatchNorm1d
                body.add_submodule(f"{node.name}_norm", norm(channels))
                with body.graph.inserting_before(node):
                    normalized = body.graph.call_module(f"{node.name}_norm", node.args)
                node.args = (normalized,)
                body.set_submodule(str(node.target), Leaky(clock, beta, alpha))
        body.recompile()
        emitters = spiking_nodes(snn)
        super().__init__(body, copy.deepcopy(snn.encode), snn.input_shape, clock, emitters)
        self.to(next(snn.body.parameters()))


def to_leaky(
    ann: nn.Module,
    example: Tensor,
    steps: int = 10,
    beta: float = 0.9,
    alpha: float = 2.0,
    input_range: tuple[float, float] = (0.0, 1.0),
) -> LeakyNetwork:
    """Return a network of leaky neurons with the graph and weights of a ReLU network, in `train()`.

    It is the network that `ttfs.convert` makes, with leaky neurons in the place of TTFS neurons, so
    all that can be mapped there can be trained here. Dropout is left out, as it is there.

    Args:
        ann: a network that `ttfs.convert` maps.
        example: inputs [N, ...], one at least.
        steps: T, the number of time steps.
        beta: the share of the potential that stays from step to step, on [0, 1].
        alpha: > 0; the larger, the narrower the surrogate.
        input_range: (low, high), the range of the inputs.

    Raises:
        UserError: for values out of range.
        ConversionError: naming the module and the reason, where the network cannot be mapped.
    """
    check_steps(steps)
    if not 0 <= beta <= 1:
        raise UserError(f"beta is {beta}; the share that stays from step to step is 0 to 1")
    if not alpha > 0:
        raise UserError(f"alpha is {alpha}; the steepness of the surrogate is above 0")
    snn = convert(ann, example, input_range=input_range)
    return LeakyNetwork(snn, Clock(steps), beta, alpha).train()
