"""Where a rate-coded network loses what the ReLU network says: an exact split of its error.

For a neuron with pre-activation z in the ReLU network, mean current I over T steps and rate r,

    propagated    relu(z) - relu(I)          errors of the layers before
    clipping      relu(I) - clip(I, 0, θ)    no more than one spike a step
    quantization  clip(I, 0, θ) - Q(I)       whole spikes: at most θ / 2T
    deviation     Q(I) - r                   currents that vary over time

add up to relu(z) - r exactly. Where 0 <= I <= θ the deviation is (θ / T) floor(V(T) / θ), and for a
constant current 0. Our algebra; the terms are named in the abstract of Meng et al. 2022, Neural
Networks 153.
"""

from collections.abc import Callable
from contextlib import ExitStack

import torch
from torch import Tensor

from ttfs.snn import SpikingNetwork
from ttfs.timed.conversion import pre_activations
from ttfs.timed.integrate_and_fire import IntegrateAndFire, RateNetwork, quantized

TERMS = ("propagated", "clipping", "quantization", "deviation")


def split(wanted: Tensor, currents: Tensor, rates: Tensor, threshold: float) -> dict[str, Tensor]:
    """Return the four terms [N, ...] of the error relu(z) - r.

    Args:
        wanted: pre-activations z [N, ...] of the ReLU network.
        currents: I[t] [T, N, ...].
        rates: r = θ N / T [N, ...].
        threshold: θ.
    """
    mean = currents.mean(0)
    clipped = mean.clamp(0.0, threshold)
    whole = quantized(mean, threshold, len(currents))
    terms = (wanted.relu() - mean.relu(), mean.relu() - clipped, clipped - whole, whole - rates)
    return dict(zip(TERMS, terms, strict=True))


@torch.no_grad()
def error_split(
    rate: RateNetwork, snn: SpikingNetwork, inputs: Tensor, steps: int
) -> dict[str, dict[str, Tensor]]:
    """Return {layer: {term: [N, ...]}} of inputs [N, ...] after a number of steps.

    `snn` is the TTFS network that `ttfs.convert` makes of the same ReLU network.
    """
    wanted = pre_activations(snn, inputs)
    found: dict[str, dict[str, Tensor]] = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(neurons: IntegrateAndFire, arguments: tuple[Tensor], outputs: Tensor) -> None:
            currents = arguments[0].unflatten(0, (steps, -1)) + neurons.correction
            rates = outputs.unflatten(0, (steps, -1)).mean(0)
            found[name] = split(wanted[name], currents, rates, neurons.threshold)

        return hook

    with ExitStack() as stack:
        for name, neurons in rate.layers.items():
            stack.callback(neurons.register_forward_hook(keep(name)).remove)
        rate.observe(inputs, steps)
    return found
