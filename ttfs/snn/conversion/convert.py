"""Exact conversion of a ReLU network to B1 neurons: keep the graph, replace each ReLU by
neurons.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ttfs.errors import ConversionError
from ttfs.snn.conversion.copying import Float64, copied, hooked, unwrapped
from ttfs.snn.conversion.mapping import Walk
from ttfs.snn.conversion.tracing import trace_copy
from ttfs.snn.conversion.verification import layer_differences, relative_difference
from ttfs.snn.network import SpikingNetwork
from ttfs.snn.windows import calibrate_, check_range

EXACT = 1e-6
"""How far, as a share of the largest, logits in float64 may be from the ANN's."""


@torch.inference_mode(False)
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
    ann: nn.Module,
    calibration: Tensor | Iterable[Tensor],
    headroom: float,
    input_range: tuple[float, float],
) -> tuple[SpikingNetwork, Iterator[Tensor]]:
    """Return the network of B1 neurons, compared with the ANN, and the batches that its windows are
    to be measured on.
    """
    ann = unwrapped(ann)
    low, high = _checked(ann, headroom, input_range)
    batches = images_of(calibration)
    first = next(batches, None)
    if first is None or not len(first):
        raise ConversionError("calibration holds no image; give at least one")
    check_range(first, low, high)
    parameter = next(ann.parameters(), torch.empty(0))
    snn = _mapped(ann, first, parameter, low, high)
    snn.to(parameter.dtype).to(first.device).train(ann.training)
    return snn, itertools.chain([first], batches)


def images_of(calibration: Any) -> Iterator[Tensor]:
    """Yield batches of images: of a tensor [N, ...], or of batches, with labels or without."""
    if isinstance(calibration, Tensor):
        yield from calibration.split(256)
        return
    for batch in calibration:
        if isinstance(batch, Mapping):
            keys = [
                key for key in ("image", "images", "pixel_values", "x", "input") if key in batch
            ]
            tensors = [batch[key] for key in keys] or [
                v for v in batch.values() if isinstance(v, Tensor)
            ]
        else:
            tensors = list(batch) if isinstance(batch, tuple | list) else [batch]
        if not tensors or not isinstance(tensors[0], Tensor):
            kind = type(tensors[0] if tensors else batch).__name__
            raise ConversionError(
                f"calibration gives {kind}; give images [N, ...], or batches of them: tensors, "
                "(images, labels), or dicts with the key 'image'"
            )
        yield tensors[0]


def _checked(ann: nn.Module, headroom: float, span: Any) -> tuple[float, float]:
    """Refuse options and weights that no network has; return the range of the inputs."""
    if not 0 <= headroom < math.inf:
        raise ConversionError(f"headroom is {headroom}; it must be 0 or more, and finite")
    if not isinstance(span, tuple | list) or len(span) != 2:
        raise ConversionError(f"input_range is {span}; give (low, high), such as (0.0, 1.0)")
    low, high = span
    if not -math.inf < low < high < math.inf:
        raise ConversionError(
            f"input_range is {span}; the first must be below the second, both finite"
        )
    for name, tensor in ann.named_parameters():
        if isinstance(tensor, nn.parameter.UninitializedParameter):
            raise ConversionError(f"{name} of the network has no shape yet; run it once on images")
    return low, high


@torch.no_grad()
def _mapped(
    ann: nn.Module, images: Tensor, parameter: Tensor, low: float, high: float
) -> SpikingNetwork:
    """Return the network in float64, once its logits were compared with those of the ANN itself."""
    kind, shape = type(ann).__name__, list(images.shape[1:])
    if not images.is_floating_point() or (parameter.numel() and images.dtype != parameter.dtype):
        raise ConversionError(
            f"{kind}: fails on {images.dtype} images of shape {shape}: its weights are "
            f"{parameter.dtype}"
        )
    few = images[:8].double()
    reference = copied(ann)
    try:
        graph = trace_copy(reference, torch.cat([few[:1], few[:1]]))  # to see what mixes images up
    except ConversionError as error:
        raise ConversionError(str(error).replace("torch.float64", str(images.dtype))) from error
    snn = Walk(graph, low, high).run().eval()
    for name, tensor in ann.state_dict().items():
        if isinstance(tensor, Tensor) and not tensor.isfinite().all():
            raise ConversionError(f"{name} of the network holds NaN or infinity")
    try:
        with Float64():
            expected = reference(few.clone())
    except Exception as error:
        reason = " ".join(str(error).split())
        raise ConversionError(f"{kind}: fails in float64 ({reason})") from error
    found = snn(few)
    if expected.isfinite().all() and not relative_difference(found, expected) <= EXACT:
        _name_difference(reference, snn, few, relative_difference(found, expected))
    return snn


def _name_difference(ann: nn.Module, snn: SpikingNetwork, images: Tensor, off: float) -> None:
    """Raise for a network whose graph does not tell all that it does, with the layer if there is
    one.
    """
    for name, value in layer_differences(ann, snn, images).items():
        if not value <= EXACT:
            raise ConversionError(
                f"layer {name}: its activations differ from the ANN's by {value:.1%} of the "
                "largest one"
            )
    hooks = ", ".join(hooked(ann))
    cause = (
        f"hooks of {hooks} change values"
        if hooks
        else "a redefined __call__, or a state that changes"
    )
    raise ConversionError(
        f"{type(ann).__name__}: its outputs differ by {off:.1%} from those of its graph ({cause}); "
        "write in forward all that it does"
    )
