"""Leaky integrate-and-fire neurons, trained through time with a surrogate gradient.

    V[t] = β V[t-1] (1 - z[t-1]) + I[t],    z[t] = 1 where V[t] >= 1, else 0

with a hard reset that passes no gradient. Backward, dz/dV = 1 / (1 + α |V - 1|)². Currents go
through batch norm, whose statistics are shared over the time steps. Our reading of Ledinauskas et
al. 2020 (arXiv 2006.04436), of which only secondary notes could be read; the values of α and β are
ours.

snnTorch's `Leaky` with reset to zero is the same equation; it evaluates the surrogate twice a step,
keeps its state in the module and takes one step a call, so it would be a slower dependency.
"""

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ttfs.arguments import is_number
from ttfs.errors import UserError
from ttfs.snn import Fire, SpikingNetwork, convert
from ttfs.snn.graph import module_of
from ttfs.snn.precision import at_least_float32
from ttfs.timed.network import (
    Clock,
    Neurons,
    TimedNetwork,
    check_steps,
    layer_shapes,
    spiking_nodes,
)


class Membrane(torch.autograd.Function):
    """The equations above for all steps, forward and backward, written out.

    By autograd they keep six arrays a step and read each several times; this keeps two: a training
    step of lenet5 takes a fifth less time, with the same bits.
    """

    @staticmethod
    def forward(context: Any, currents: Tensor, beta: float, alpha: float) -> Tensor:
        """Return the spikes [T, ...] of currents [T, ...]."""
        distances, spikes = torch.empty_like(currents), torch.empty_like(currents)
        potential = torch.zeros_like(at_least_float32(currents[0]))
        for current, distance, spike in zip(currents, distances, spikes, strict=True):
            potential.mul_(beta).add_(current)
            torch.sub(potential, 1.0, out=distance)
            torch.ge(potential, 1.0, out=spike)
            potential.mul_(1.0 - spike)
        context.save_for_backward(distances, spikes)
        context.beta, context.alpha = beta, alpha
        return spikes

    @staticmethod
    @once_differentiable
    def backward(context: Any, by_spikes: Tensor) -> tuple[Tensor, None, None]:
        """Return the gradient by currents: dL/dI[t] = dL/dV[t], as V[t] holds I[t] as it is.

        dL/dV[t] = dL/dz[t] / (1 + α |V[t] - 1|)² + dL/dV[t+1] β (1 - z[t])
        """
        distances, spikes = context.saved_tensors
        by_currents = torch.empty_like(distances)
        later = torch.zeros_like(at_least_float32(distances[0]))
        for t in reversed(range(len(distances))):
            by_potential = by_currents[t]
            torch.abs(distances[t], out=by_potential).mul_(context.alpha).add_(1.0).square_()
            torch.div(by_spikes[t], by_potential, out=by_potential)
            later.mul_(1.0 - spikes[t]).add_(by_potential)
            by_potential.copy_(later)
            later.mul_(context.beta)
        return by_currents, None, None


def leaky(currents: Tensor, beta: float, alpha: float) -> Tensor:
    """Return the spikes [T, N, ...] of currents [T, N, ...].

    >>> leaky(torch.tensor([0.6, 0.6, 0.6, 0.6]), beta=0.9, alpha=2.0).tolist()
    [0.0, 1.0, 0.0, 1.0]
    """
    return Membrane.apply(currents, beta, alpha)


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


class OtherNorm(nn.BatchNorm1d):
    """Batch norm of values [N, C, ...] of more dimensions than images have, such as the branches
    of a maximum side by side.
    """

    def forward(self, values: Tensor) -> Tensor:
        """Map values [N, C, ...]."""
        return super().forward(values.flatten(2)).reshape(values.shape)


NORMS = {0: nn.BatchNorm1d, 1: nn.BatchNorm1d, 2: nn.BatchNorm2d}
"""By the dimensions of a channel."""


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
                norm = NORMS.get(len(rest), OtherNorm)
                body.add_submodule(f"{node.name}_norm", norm(channels))
                with body.graph.inserting_before(node):
                    normalized = body.graph.call_module(f"{node.name}_norm", node.args)
                node.args = (normalized,)
                body.set_submodule(str(node.target), Leaky(clock, beta, alpha))
        body.recompile()
        emitters = spiking_nodes(snn)
        super().__init__(body, copy.deepcopy(snn.encode), snn.input_shape, clock, emitters)


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
        alpha: > 0, finite; the larger, the narrower the surrogate.
        input_range: (low, high), the range of the inputs.

    Raises:
        UserError: for values out of range.
        ConversionError: naming the module and the reason, where the network cannot be mapped.
    """
    check_steps(steps)
    if not isinstance(example, Tensor):
        raise UserError(f"example is {type(example).__name__}; give a tensor of inputs [N, ...]")
    if not is_number(beta) or not 0 <= beta <= 1:
        raise UserError(f"beta is {beta!r}; the share that stays from step to step is 0 to 1")
    if not is_number(alpha) or not 0 < alpha < math.inf:
        raise UserError(
            f"alpha is {alpha!r}; the steepness of the surrogate is above 0, and finite"
        )
    snn = convert(ann, example, input_range=input_range)
    network = LeakyNetwork(snn, Clock(steps), beta, alpha)
    return network.to(example.device, example.dtype).train()
