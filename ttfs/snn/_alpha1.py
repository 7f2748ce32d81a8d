"""α1 neurons, whose slope at threshold is 1 plus the sum of their weights (Stanojevic et al. 2023, Neural Networks).

A spike at t_j switches a current J_j on that stays on. Once all inputs have come, dV/dt = B with B = α + Σ_j J_j, and
the neuron reaches its threshold B (T - D) at t = t_max - (Σ_j W_j x_j + D), where x_j are the charges of its inputs and

    W = J / (α + Σ J),        J = α W / (1 - Σ W),        α = 1.

So an α1 network is the ReLU network with weights W: a reparametrisation. It holds only if every input spikes, so a
neuron that would stay silent is forced to spike at t_max, and every neuron spends exactly one spike.
"""

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ttfs.snn._mapping import scale_columns
from ttfs.snn._network import SpikingNetwork
from ttfs.snn._neurons import EarliestSpike, Fire, Reshape, Synapses
from ttfs.snn._tracing import ConversionError

ALPHA = 1.0
LOWEST_SUM, HIGHEST_SUM = -10.0, 0.99
"""Bounds on a neuron's sum of ReLU weights in the mapping (Stanojevic et al. 2023); above 1 there is no slope left."""


class Slope(nn.Module):
    """Parametrisation of weights [C_out, ...] by currents J of the same shape: W = J / (α + Σ J), row by row.

    A neuron whose slope α + Σ J is zero or below never reaches its threshold: its row of W is 0. `right_inverse` maps
    ReLU weights to currents and raises ValueError where a row's sum is 1 or more.
    """

    def forward(self, currents: Tensor) -> Tensor:
        """Return the weights of the ReLU network that the currents amount to."""
        slope = slopes(currents).reshape(-1, *[1] * (currents.dim() - 1))
        rises = slope > 0
        return torch.where(rises, currents / torch.where(rises, slope, 1.0), 0.0)

    def right_inverse(self, weights: Tensor) -> Tensor:
        """Return the currents J = α W / (1 - Σ W)."""
        left = 1.0 - weights.flatten(1).sum(1)
        if not (left > 0).all():
            raise ValueError(f"a neuron's weights sum to {1.0 - left.min().item():.3g}; α1 needs sums below 1")
        return ALPHA * weights / left.reshape(-1, *[1] * (weights.dim() - 1))


class Alpha1Synapses(Synapses):
    """Synapses that end in α1 neurons: `weights.weight` is the ReLU weight W, parametrised by the currents J.

    Neurons without a positive slope get the potential 0, so they are forced to spike at t_max and leave no charge. No
    gradient reaches them.
    """

    def __init__(self, synapses: Synapses):
        super().__init__(synapses.weights)
        self.bias_map = synapses.bias_map
        parametrize.register_parametrization(self.weights, "weight", Slope())

    @property
    def currents(self) -> nn.Parameter:
        """The currents J that are stored and learnt."""
        return self.weights.parametrizations.weight.original

    def forward(self, charges: Tensor) -> Tensor:
        """Map charges [N, C, ...] to potentials [N, C', ...]."""
        potential = super().forward(charges)
        stalled = slopes(self.currents) <= 0
        if not stalled.any():
            return potential
        return potential.masked_fill(stalled.reshape(-1, *[1] * (potential.dim() - 2)), 0.0)


def slopes(currents: Tensor) -> Tensor:
    """Return the slopes B = α + Σ J [C_out] at threshold; those of a convolution count the padding's spikes too.

    >>> slopes(torch.tensor([[0.5, 1.0], [-2.0, 0.5]])).tolist()
    [2.5, -0.5]
    """
    return ALPHA + currents.flatten(1).sum(1)


def stalled_neurons(snn: SpikingNetwork) -> float:
    """Return the share of hidden neurons whose slope is zero or below; 0.0 in a B1 network.

    Layers weigh as many neurons as they have weights' rows: channels in a convolution.
    """
    counts = [(slopes(m.currents) <= 0).double() for m in snn.modules() if isinstance(m, Alpha1Synapses)]
    return torch.cat(counts).mean().item() if counts else 0.0


@torch.no_grad()
def to_alpha1(snn: SpikingNetwork, drawn: bool = False) -> None:
    """Turn a B1 network into an α1 network, in place.

    The mapping is exact (Stanojevic et al. 2023): where a neuron's weights sum to more than 0.99 or less than -10, its
    weights and bias are scaled to that bound and the next layer's weights make up for it; then J = α W / (1 - Σ W).
    Windows have to be calibrated anew, for charges are scaled too.

    Args:
        snn: a chain of convolutions or linear layers, neurons and max pools, as `ttfs.convert` makes it.
        drawn: take the weights for the currents as they are instead, J = W. The function changes; what a network is
            when J is drawn as ReLU weights are.

    Raises:
        ConversionError: where the network is no chain (sums, means, concatenations), where no neurons come between two
            layers of weights, or where neurons come last: a scale would be left that no weights make up for.
    """
    compensation: Tensor | None = None  # what charges are multiplied by, [C] or [features]
    chain = _chain(snn)
    *_, read_out = (name for name, module in chain.items() if isinstance(module, Synapses))
    for name, module in chain.items():
        if isinstance(module, Reshape) and compensation is not None:
            compensation = compensation.repeat_interleave(module.shape[0] // len(compensation))
        if not isinstance(module, Synapses):
            continue
        if compensation is not None:
            scale_columns(module.weights, 1.0 / compensation)
        if name == read_out:
            break
        compensation = None if drawn else _bound_sums(module)
        if drawn:
            weights = module.weights.weight.clone()
            module.weights.weight.zero_()  # whose currents are 0 too: any sum is fine
        hidden = Alpha1Synapses(module)
        if drawn:
            hidden.currents.copy_(weights)
        snn.body.set_submodule(name, hidden)
    snn.neuron = "alpha1"


def _chain(snn: SpikingNetwork) -> dict[str, nn.Module]:
    """The modules {name: module} in order, in which synapses and neurons take turns and synapses come last."""
    chain: dict[str, nn.Module] = {}
    due: type[nn.Module] = Synapses
    for node in snn.body.graph.nodes:
        module = snn.body.get_submodule(str(node.target)) if node.op == "call_module" else None
        known = isinstance(module, due | EarliestSpike | Reshape) or node.op == "placeholder"
        if node.op == "output":
            node, known = node.all_input_nodes[0], due is Fire
        if not known or len(node.users) > 1:
            raise ConversionError(
                f"{node.name}: α1 neurons need a chain of weights and neurons in turn, weights last; use neuron 'b1'"
            )
        if isinstance(module, due):
            due = Synapses if due is Fire else Fire
        if module is not None:
            chain[str(node.target)] = module
    return chain


def _bound_sums(synapses: Synapses) -> Tensor:
    """Scale rows and biases so that each neuron's weights sum to [-10, 0.99]; return the scales [C_out]."""
    weight = synapses.weights.weight
    total = weight.double().flatten(1).sum(1)
    bound = total.clamp(LOWEST_SUM, HIGHEST_SUM)
    scale = torch.where(bound == total, 1.0, bound / total)
    weight.copy_(weight.double() * scale.reshape(-1, *[1] * (weight.dim() - 1)))
    for bias in (synapses.weights.bias, synapses.bias_map):
        if bias is not None:
            bias.copy_(bias.double() * scale.reshape(-1, *[1] * (bias.dim() - 1)))
    return scale
