"""Exact conversion of a ReLU network to B1 neurons: keep the graph, replace each ReLU by
neurons.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ttfs.arguments import is_number
from ttfs.errors import ConversionError
from ttfs.snn.conversion.copying import (
    Float64,
    Narrowest,
    copied,
    hooked,
    in_float64,
    unwrapped,
)
from ttfs.snn.conversion.mapping import Walk
from ttfs.snn.conversion.tracing import FailsOnImages, trace_copy
from ttfs.snn.conversion.verification import (
    CAST,
    CLOSE,
    EXACT,
    FINE,
    ROUGH,
    distance,
    layer_differences,
)
from ttfs.snn.network import SpikingNetwork
from ttfs.snn.windows import calibrate_, check_range

COMPARED, DRAWN = 8, 2
"""Images that the two networks are compared on, and how many of them are drawn: those at hand may
be blank, where much of a network does not show.
"""

GIVE = (
    "give images [N, ...], or batches of them: tensors, (images, labels), or dicts with the key "
    "'image'"
)
"""What calibration takes, at the end of an error."""


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
    if first is None:
        raise ConversionError("calibration holds no image; give at least one")
    check_range(first, low, high)
    parameter = next(ann.parameters(), torch.empty(0))
    snn = _mapped(ann, first, parameter, low, high)
    return snn.train(ann.training), itertools.chain([first], batches)


def images_of(calibration: Any) -> Iterator[Tensor]:
    """Yield batches of images, none of them empty: of a tensor [N, ...], or of batches, with
    labels or without.
    """
    if isinstance(calibration, Tensor):
        calibration = calibration.split(256) if calibration.dim() else [calibration]
    try:
        batches = iter(calibration)
    except TypeError as error:  # perhaps of a loader's own code
        raise ConversionError(f"calibration is {calibration!r} ({error}); {GIVE}") from error
    form = None
    for images in map(_images, batches):
        if not len(images):
            continue
        items = tuple(images.shape[1:])
        own = items if len(items) < 2 else len(items)  # images may differ in size, vectors not
        form = own if form is None else form
        if own != form:
            raise ConversionError(
                f"calibration gives items of shape {items} after others of another form; {GIVE}; "
                "one pair as [(images, labels)]"
            )
        yield images


def _images(batch: Any) -> Tensor:
    """The images of a batch that a loader gives."""
    if isinstance(batch, Mapping):
        keys = [key for key in ("image", "images", "pixel_values", "x", "input") if key in batch]
        parts = [batch[key] for key in keys] or [v for v in batch.values() if isinstance(v, Tensor)]
    else:
        parts = list(batch) if isinstance(batch, tuple | list) else [batch]
    if not parts or not isinstance(parts[0], Tensor):
        kind = type(parts[0] if parts else batch).__name__
        raise ConversionError(f"calibration gives {kind}; {GIVE}")
    if not parts[0].dim():
        raise ConversionError(f"calibration gives a single number; {GIVE}")
    return parts[0]


def _checked(ann: nn.Module, headroom: float, span: Any) -> tuple[float, float]:
    """Refuse options and weights that no network has; return the range of the inputs."""
    if not is_number(headroom) or not 0 <= headroom < math.inf:
        raise ConversionError(f"headroom is {headroom!r}; it must be 0 or more, and finite")
    if not isinstance(span, tuple | list) or len(span) != 2 or not all(map(is_number, span)):
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
    """Return the network, once its logits in float64 were compared with those of the ANN itself."""
    kind, shape = type(ann).__name__, list(images.shape[1:])
    if not images.is_floating_point() or (parameter.numel() and images.dtype != parameter.dtype):
        raise ConversionError(
            f"{kind}: fails on {images.dtype} images of shape {shape}: its weights are "
            f"{parameter.dtype}"
        )
    few = few_images(images, low, high)
    reference = in_float64(copied(ann))
    try:
        graph = trace_copy(reference, torch.cat([few[:1], few[:1]]))  # to see what mixes images up
    except FailsOnImages as error:
        _answers(ann, few.to(images.dtype))  # raises its own error, if it fails on these, too
        raise ConversionError(
            f"{error}, but not on {images.dtype}; hold what forward computes with as parameters or "
            "buffers, and ask for no dtype"
        ) from error
    snn = Walk(graph, low, high).run().eval()
    for name, tensor in ann.state_dict().items():
        if isinstance(tensor, Tensor) and not tensor.isfinite().all():
            raise ConversionError(f"{name} of the network holds NaN or infinity")
    logits = _compare(reference, snn, few)
    snn.to(images.device, images.dtype)
    _check_dtype(ann, snn, few.to(images.dtype), logits)
    return snn


def _answers(ann: nn.Module, images: Tensor) -> Tensor:
    """The logits of the ANN in its own precision, of a copy."""
    try:
        return copied(ann)(images.clone())
    except Exception as error:
        reason = " ".join(str(error).split())
        raise ConversionError(
            f"{type(ann).__name__}: fails on {images.dtype} images of shape "
            f"{list(images.shape[1:])}: {reason}"
        ) from error


def _in_training(ann: nn.Module, images: Tensor, without: Tensor) -> Tensor:
    """The same with gradients on; those without where it takes none, as one that writes into
    views.
    """
    try:
        with torch.enable_grad():
            return copied(ann)(images.clone()).detach()
    except Exception:
        return without


def _check_dtype(ann: nn.Module, snn: SpikingNetwork, images: Tensor, logits: Tensor) -> None:
    """Raise where a network in its own precision is something else than in float64, which it was
    read and compared in; or where that precision is too coarse for the TTFS network alone, as
    min(v, c) = c - relu(c - v) loses v beside a large c.

    Infinite logits are the layer's that overflows, which calibration names.
    """
    kind, eps = type(ann).__name__, torch.finfo(images.dtype).eps
    with Narrowest() as seen:
        answers = _answers(ann, images)
    coarse = CLOSE if seen.eps <= torch.finfo(torch.float32).eps else CAST
    own = distance(answers.to(logits), logits, coarse)
    off = distance(snn(images).to(logits), logits, coarse)
    finite = bool(answers[logits.isfinite()].isfinite().all())
    if finite and off <= coarse < own:  # so not by rounding
        raise ConversionError(
            f"{kind}: its outputs in {images.dtype} differ by {own:.1e} of their spread over "
            "images from those in float64; its forward may not ask for the dtype"
        )
    if finite and not distance(_in_training(ann, images, answers), answers, coarse) <= ROUGH:
        raise ConversionError(
            f"{kind}: its outputs are others with gradients on; its forward may not ask for them"
        )
    if max(ROUGH, 16 * eps) + 2 * own < off < math.inf:
        raise ConversionError(
            f"{kind}: rounding to {str(images.dtype).removeprefix('torch.')} moves its outputs by "
            f"{off:.1%}, as constants far larger than activations do; convert it in float64, or "
            "make them smaller"
        )


def _compare(ann: nn.Module, snn: SpikingNetwork, images: Tensor) -> Tensor:
    """Return the logits. Raise where they differ, or where those of the ANN do not follow from its
    input.
    """
    kind = type(ann).__name__
    try:
        with Float64():
            expected, again = ann(images.clone()), ann(images[-DRAWN:].clone())
            alone = _of_one(ann, images[:1].clone(), expected)
    except Exception as error:
        reason = " ".join(str(error).split())
        raise ConversionError(f"{kind}: fails in float64 ({reason})") from error
    if expected.isnan().any():
        calibrate_(snn, [images], 0.0)  # tells the layer whose activations overflow
        raise ConversionError(f"{kind}: its outputs are NaN")
    logits = snn(images)
    off = distance(logits, expected, FINE)
    if not off <= EXACT:
        _name_difference(ann, snn, images, off)
    if again.shape == expected[-DRAWN:].shape:
        again = torch.cat([alone, expected[1:-DRAWN], again])
    if not distance(again, expected, FINE) <= EXACT:
        raise ConversionError(
            f"{kind}: the same images get other outputs in another call; in eval() it may draw no "
            "chance, keep no state, and mix no images of a batch"
        )
    return logits


def _of_one(ann: nn.Module, image: Tensor, expected: Tensor) -> Tensor:
    """The logits of the first image by itself, those expected where the ANN takes no single image;
    it may leave out their first dimension, as `squeeze` does.
    """
    try:
        logits = ann(image)
    except Exception:  # as batch norm after `squeeze`
        return expected[:1]
    if isinstance(logits, Tensor) and logits.numel() == expected[0].numel():
        return logits.reshape(expected[:1].shape)
    return torch.full_like(expected[:1], torch.nan)


def few_images(images: Tensor, low: float, high: float) -> Tensor:
    """Return the images, float64, that two networks are compared on: some of those at hand, and
    drawn ones.
    """
    given = images[: COMPARED - DRAWN].double().clamp(low, high)  # they may leave it by rounding
    return torch.cat([given, _drawn(images, low, high)])


def _drawn(images: Tensor, low: float, high: float) -> Tensor:
    """Images of uniform pixels in float64, always the same, of the shape and device of others."""
    stream = torch.Generator().manual_seed(0)
    pixels = torch.rand(DRAWN, *images.shape[1:], generator=stream, dtype=torch.float64)
    return (low + (high - low) * pixels).to(images.device)


def _name_difference(ann: nn.Module, snn: SpikingNetwork, images: Tensor, off: float) -> None:
    """Raise for a network whose graph does not tell all that it does, with the layer if there is
    one.
    """
    for name, value in layer_differences(ann, snn, images).items():
        if not value <= EXACT:
            raise ConversionError(
                f"layer {name}: its activations differ from the ANN's by {value:.1e} of the "
                "largest one"
            )
    hooks = ", ".join(hooked(ann))
    cause = (
        f"hooks of {hooks} change values"
        if hooks
        else "a redefined __call__, a state that changes, or constants far larger than activations"
    )
    raise ConversionError(
        f"{type(ann).__name__}: its outputs differ by {off:.1e} of their spread over images "
        f"from those of its graph ({cause}); write in forward all that it does"
    )
