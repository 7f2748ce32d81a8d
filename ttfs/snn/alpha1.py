"""α1 neurons, whose slope at threshold is 1 plus the sum of their input currents J (Stanojevic et
al. 2023, Neural Networks).

A spike at t_j switches a current J_j on that stays on. Once all inputs have come, dV/dt = B with B
= α + Σ_j J_j, and the neuron reaches its threshold B (T - D) at t = t_max - (Σ_j W_j x_j + D),
where x_j are the charges of its inputs and

    W = J / (α + Σ J),        J = α W / (1 - Σ W),        α = 1.

So an α1 network is the ReLU network with weights W: a reparametrisation. It holds only if every
input spikes, so a neuron that would stay silent is forced to spike at t_max, and every neuron
spends exactly one spike.
"""

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ttfs.snn.network import SpikingNetwork
from ttfs.snn.synapses import Synapses

ALPHA = 1.0


class Slope(nn.Module):
    """Parametrisation of weights [C_out, ...] by currents J of the same shape: W = J / (α + Σ J),
    row by row.

    A neuron whose slope α + Σ J is zero or below never reaches its threshold: its row of W is 0.
    `right_inverse` maps ReLU weights to currents and raises ValueError where a row's sum is 1 or
    more.
    """

    def forward(self, currents: Tensor) -> Tensor:
        """Return the weights of the ReLU network that the currents amount to."""
        slope = slopes(currents).reshape(-1, *[1] * (currents.dim() - 1))
        rises = slope > 0
        if not torch.compiler.is_compiling() and rises.all():  # as a rule; in half the passes
            return currents / slope
        return torch.where(rises, currents / torch.where(rises, slope, 1.0), 0.0)

    def right_inverse(self, weights: Tensor) -> Tensor:
        """Return the currents J = α W / (1 - Σ W)."""
        left = 1.0 - weights.flatten(1).sum(1)
        if not (left > 0).all():
            raise ValueError(
                f"a neuron's weights sum to {1.0 - left.min().item():.3g}; α1 needs sums below 1"
            )
        return ALPHA * weights / left.reshape(-1, *[1] * (weights.dim() - 1))


class Alpha1Synapses(Synapses):
    """Synapses that end in α1 neurons: `weights.weight` is the ReLU weight W, parametrised by the
    currents J.

    Neurons without a positive slope get the potential 0, so they are forced to spike at t_max and
    leave no charge. No gradient reaches them.
    """

    def __init__(self, synapses: Synapses):
        super().__init__(synapses.weights)
        self.bias_map = synapses.bias_map
        parametrize.register_parametrization(self.weights, "weight", Slope())

    @property
    def currents(self) -> nn.Parameter:
        """The currents J that are stored and learnt."""
        return self.weights.parametrizations.weight.original

    @property
    def slopes(self) -> Tensor:
        """The slopes B = α + Σ J [C_out] at threshold."""
        return slopes(self.currents)

    def forward(self, charges: Tensor) -> Tensor:
        """Map charges [N, C, ...] to potentials [N, C', ...]."""
        potential = super().forward(charges)
        stalled = self.slopes <= 0
        if not torch.compiler.is_compiling() and not stalled.any():
            return potential
        return potential.masked_fill(stalled.reshape(-1, *[1] * (potential.dim() - 2)), 0.0)


def slopes(currents: Tensor) -> Tensor:
    """Return the slopes B = α + Σ J [C_out] at threshold; those of a convolution count the
    padding's spikes too.

    >>> slopes(torch.tensor([[0.5, 1.0], [-2.0, 0.5]])).tolist()
    [2.5, -0.5]
    """
    return ALPHA + currents.flatten(1).sum(1)


def stalled_neurons(snn: SpikingNetwork) -> float:
    """Return the share of hidden neurons whose slope is zero or below; 0.0 in a B1 network.

    Layers weigh as many neurons as they have weights' rows: channels in a convolution.
    """
    counts = [(m.slopes <= 0).double() for m in snn.modules() if isinstance(m, Alpha1Synapses)]
    return torch.cat(counts).mean().item() if counts else 0.0
