"""Map a B1 network to an α1 network: J = α W / (1 - Σ W), neuron by neuron (Stanojevic et al.
2023).
"""

import copy
import itertools
import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ttfs.errors import ConversionError
from ttfs.snn.alpha1 import Alpha1Synapses
from ttfs.snn.b1 import Fire
from ttfs.snn.conversion.convert import few_images, map_network
from ttfs.snn.conversion.verification import EXACT, FINE, distance
from ttfs.snn.graph import module_of
from ttfs.snn.network import SpikingNetwork
from ttfs.snn.pools import EarliestSpike
from ttfs.snn.synapses import Reshape, Synapses, scale_columns
from ttfs.snn.windows import calibrate_

LOWEST_SUM, HIGHEST_SUM = -10.0, 0.99
"""Bounds on a neuron's sum of ReLU weights in the mapping (Stanojevic et al. 2023); above 1 there
is no slope left.
"""


@torch.inference_mode(False)
def convert_to_alpha1(
    ann: nn.Module,
    calibration: Tensor | Iterable[Tensor],
    headroom: float = 0.5,
    input_range: tuple[float, float] = (0.0, 1.0),
) -> SpikingNetwork:
    """Map a ReLU network exactly to a network of α1 neurons; see `ttfs.convert`."""
    snn, batches = map_network(ann, calibration, headroom, input_range)
    first = next(batches)
    _check_mapping(snn, first)
    to_alpha1_(snn)
    calibrate_(snn, itertools.chain([first], batches), headroom)
    return snn


@torch.no_grad()
def _check_mapping(b1: SpikingNetwork, images: Tensor) -> None:
    """Raise where α1 neurons would give other logits than B1 neurons, in float64.

    A chain may hold what scales of neurons do not go through, such as a maximum over channels.
    """
    exact = copy.deepcopy(b1).double().eval()
    images = few_images(images, exact.encode.low, exact.encode.high)
    trial = copy.deepcopy(exact)
    try:
        to_alpha1_(trial)
        calibrate_(trial, [images], 0.5)
        off = distance(trial(images), exact(images), FINE)
    except ConversionError:
        raise
    except (RuntimeError, ValueError, ArithmeticError):  # scales of other neurons than there are
        off = math.inf
    if not off <= EXACT:
        found = "" if math.isinf(off) else f"; the logits would be off by {off:.1%}"
        raise ConversionError(
            "α1 neurons need a chain in which pools and moves stay within a channel"
            + found
            + "; use neuron 'b1'"
        )


@torch.no_grad()
def to_alpha1_(snn: SpikingNetwork, drawn: bool = False) -> None:
    """Turn a B1 network into an α1 network, in place.

    The mapping is exact (Stanojevic et al. 2023): where a neuron's weights sum to more than 0.99 or
    less than -10, its weights and bias are scaled to that bound and the next layer's weights make
    up for it; then J = α W / (1 - Σ W). Windows have to be calibrated anew, for charges are scaled
    too.

    Args:
        snn: a chain of convolutions or linear layers, neurons and max pools, as `ttfs.convert`
            makes it.
        drawn: take the weights for the currents as they are instead, J = W. The function changes;
            what a network is when J is drawn as ReLU weights are.

    Raises:
        ConversionError: where the network is no chain (sums, means, concatenations), where no
            neurons come between two layers of weights, or where neurons come last: a scale would be
            left that no weights make up for.
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
    """The modules {name: module} in order, in which synapses and neurons take turns and synapses
    come last.
    """
    if snn.neuron != "b1":
        raise ConversionError(f"the network has {snn.neuron} neurons already; convert the ANN anew")
    chain: dict[str, nn.Module] = {}
    due: type[nn.Module] = Synapses
    for node in snn.body.graph.nodes:
        module = module_of(snn.body, node)
        known = isinstance(module, due | EarliestSpike | Reshape) or node.op == "placeholder"
        if isinstance(module, Fire) and module.ceiling < math.inf:
            known = False  # a scale would move the value that they clip at
        if node.op == "output":
            node, known = node.all_input_nodes[0], due is Fire
        if not known or len(node.users) > 1:
            raise ConversionError(
                f"{node.name}: α1 neurons need a chain of weights and neurons in turn, weights "
                "last; use neuron 'b1'"
            )
        if isinstance(module, due):
            due = Synapses if due is Fire else Fire
        if module is not None:
            chain[str(node.target)] = module
    return chain


def _bound_sums(synapses: Synapses) -> Tensor:
    """Scale rows and biases so that each neuron's weights sum to [-10, 0.99]; return the scales
    [C_out].
    """
    weight = synapses.weights.weight
    total = weight.double().flatten(1).sum(1)
    bound = total.clamp(LOWEST_SUM, HIGHEST_SUM)
    scale = torch.where(bound == total, 1.0, bound / total)
    weight.copy_(weight.double() * scale.reshape(-1, *[1] * (weight.dim() - 1)))
    for bias in (synapses.weights.bias, synapses.bias_map):
        if bias is not None:
            bias.copy_(bias.double() * scale.reshape(-1, *[1] * (bias.dim() - 1)))
    return scale
