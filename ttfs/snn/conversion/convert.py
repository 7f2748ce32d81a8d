"""Exact conversion of a trained ReLU network to a TTFS network: keep the graph, replace each ReLU by neurons."""

import itertools
import math
from collections.abc import Iterable

from torch import Tensor, nn

from ttfs.errors import ConversionError
from ttfs.snn.conversion.alpha1 import to_alpha1
from ttfs.snn.conversion.mapping import Walk
from ttfs.snn.conversion.tracing import trace
from ttfs.snn.conversion.verification import layer_differences
from ttfs.snn.network import NEURONS, SpikingNetwork
from ttfs.snn.windows import calibrate, check_range


def convert(
    ann: nn.Module,
    calibration: Tensor | Iterable[Tensor],
    neuron: str = "b1",
    headroom: float = 0.5,
    input_range: tuple[float, float] = (0.0, 1.0),
) -> SpikingNetwork:
    """Map a feed-forward ReLU network exactly to a TTFS network; the ANN is left as it is.

    The weights of B1 neurons are the ANN's own, batch norm folded in (Stanojevic et al. 2024, Nat. Commun. 15:6793).
    α1 neurons store currents from which these weights follow, up to a scale of each neuron (`to_alpha1`).
    Each window is (1 + headroom) times the largest activation of its layer over the calibration images (Stanojevic et
    al. 2023, Neural Networks, with headroom 0.5); a stronger activation is clipped to the opening of its window.

    Args:
        ann: any module that `torch.fx` can trace, made of Linear, Conv1d/2d, BatchNorm1d/2d, ReLU, MaxPool, AvgPool,
            AdaptiveAvgPool, sums, concatenation of channels, flatten, dropout; as modules or functions, used once or
            more. It is mapped as in `eval()`. A module used twice becomes two sets of synapses.
        calibration: images [N, ...] as the ANN takes them, or an iterable of such batches.
        neuron: the neuron model, "b1", or "alpha1" for a chain of convolutions, linear layers and max pools.
        headroom: margin of the windows over the largest activation, >= 0.
        input_range: (low, high), the range of the inputs; low stays silent, high spikes at once.

    Returns:
        A SpikingNetwork with the ANN's inputs, outputs and dtype.

    Raises:
        ConversionError: naming the module and the reason, where there is no exact counterpart or calibration fails.
    """
    if neuron not in NEURONS:
        raise ConversionError(f"neuron {neuron!r} is not known; choose from: {', '.join(NEURONS)}")
    if not 0 <= headroom < math.inf:
        raise ConversionError(f"headroom is {headroom}; it must be 0 or more, and finite")
    low, high = input_range
    if not -math.inf < low < high < math.inf:
        raise ConversionError(f"input_range is {input_range}; the first must be below the second, both finite")
    for name, tensor in ann.state_dict().items():
        if isinstance(tensor, Tensor) and not tensor.isfinite().all():
            raise ConversionError(f"{name} of the network holds NaN or infinity")
    batches = iter(calibration.split(256) if isinstance(calibration, Tensor) else calibration)
    first = next(batches, None)
    if first is None or not len(first):
        raise ConversionError("calibration holds no image; give at least one")
    check_range(first, low, high)
    snn = Walk(trace(ann, first[:1]), low, high).run()
    snn.to(first.device).train(ann.training)
    calibrate(snn, [first[:8]], headroom)  # activations that are not finite are no fault of the mapping
    _check_mapping(ann, snn, first[:8])
    if neuron == "alpha1":
        to_alpha1(snn)
    calibrate(snn, itertools.chain([first], batches), headroom)
    return snn


def _check_mapping(ann: nn.Module, snn: SpikingNetwork, images: Tensor) -> None:
    """Catch a network whose graph does not tell all it does (a buffer written in forward, an alias), not rounding."""
    off = {name: value for name, value in layer_differences(ann, snn, images).items() if not value < 1e-2}
    if off:
        name, value = next(iter(off.items()))
        raise ConversionError(f"layer {name}: its activations differ from the ANN's by {value:.1%} of the largest one")
