"""Exact conversion of a ReLU network to B1 neurons: keep the graph, replace each ReLU by neurons."""

import itertools
import math
from collections.abc import Iterable, Iterator

from torch import Tensor, nn

from ttfs.errors import ConversionError
from ttfs.snn.conversion.mapping import Walk
from ttfs.snn.conversion.tracing import trace
from ttfs.snn.conversion.verification import layer_differences
from ttfs.snn.network import SpikingNetwork
from ttfs.snn.windows import calibrate_, check_range


def convert_to_b1(
    ann: nn.Module,
    calibration: Tensor | Iterable[Tensor],
    headroom: float = 0.5,
    input_range: tuple[float, float] = (0.0, 1.0),
) -> SpikingNetwork:
    """Map a ReLU network exactly to a network of B1 neurons; see `ttfs.convert`."""
    snn, batches = map_network(ann, calibration, headroom, input_range)
    calibrate_(snn, batches, headroom)
    return snn


def map_network(
    ann: nn.Module, calibration: Tensor | Iterable[Tensor], headroom: float, input_range: tuple[float, float]
) -> tuple[SpikingNetwork, Iterator[Tensor]]:
    """Return the network of B1 neurons, compared with the ANN, and the batches that its windows are to be measured on."""
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
    calibrate_(snn, [first[:8]], headroom)  # activations that are not finite are no fault of the mapping
    _check_mapping(ann, snn, first[:8])
    return snn, itertools.chain([first], batches)


def _check_mapping(ann: nn.Module, snn: SpikingNetwork, images: Tensor) -> None:
    """Catch a network whose graph does not tell all it does (a buffer written in forward, an alias), not rounding."""
    off = {name: value for name, value in layer_differences(ann, snn, images).items() if not value < 1e-2}
    if off:
        name, value = next(iter(off.items()))
        raise ConversionError(f"layer {name}: its activations differ from the ANN's by {value:.1%} of the largest one")
