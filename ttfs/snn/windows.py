"""Windows of a TTFS network: calibrated on images, or growing with the potentials while it
learns.
"""

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ttfs.errors import ConversionError
from ttfs.snn.encode import rounding
from ttfs.snn.network import INPUT, SpikingNetwork


@torch.no_grad()
def calibrate_(snn: SpikingNetwork, batches: Iterable[Tensor], headroom: float) -> None:
    """Give each layer the window (1 + headroom) x its largest charge over batches of images, in
    place.

    Raises ConversionError where images or activations are not finite, images leave the network's
    input range, or there are none; the windows then stay as they were.
    """
    before = {layer: layer.width for layer in snn.layers.values()}
    try:
        largest = _largest(snn, batches)
    except BaseException:
        for layer, width in before.items():
            layer.width = width
        raise
    for name, layer in snn.layers.items():
        if layer.ceiling == math.inf:
            layer.width = (1.0 + headroom) * largest[name] if largest[name] > 0 else 1.0


def _largest(snn: SpikingNetwork, batches: Iterable[Tensor]) -> dict[str, float]:
    """The largest charge of each layer, without windows."""
    for layer in snn.layers.values():
        layer.width = layer.ceiling  # clip nothing that is to be measured
    largest = dict.fromkeys(snn.layers, 0.0)
    images = None
    for images in batches:
        check_range(images, snn.encode.low, snn.encode.high)
        for name, charges in snn.charges(images)[1].items():
            strongest = charges.max().item()
            if not math.isfinite(strongest):
                raise ConversionError(
                    f"layer {name}: an activation is {strongest} over the calibration images"
                )
            if name != INPUT:
                largest[name] = max(largest[name], strongest)
    if images is None:
        raise ConversionError("calibration holds no image; give at least one")
    return largest


def check_range(images: Tensor, low: float, high: float) -> None:
    """Raise ConversionError if calibration images are not finite or leave [low, high] by more than
    rounding.
    """
    smallest, largest = images.min().item(), images.max().item()
    if not (math.isfinite(smallest) and math.isfinite(largest)):
        raise ConversionError("the calibration images hold NaN or infinity")
    slack = rounding(low, high, images.dtype)
    if smallest < low - slack or largest > high + slack:
        raise ConversionError(
            f"the calibration images lie on [{smallest:.4g}, {largest:.4g}], outside input_range "
            f"({low:g}, {high:g}); scale them, or convert with their range"
        )


class WindowGrowth:
    """After each training batch, T <- max(T, growth x largest potential of the batch), layer by
    layer.

    Windows never shrink (Stanojevic et al. 2024, published code, with growth 10). Times count from
    the end of a window, so a wider one changes no charge: it only makes room. A potential above T
    is clipped in the batch where it first appears, which a growth of 10 makes rare.

    Call `start` before training, `grow` after each batch, `stop` when the network is to outlive its
    training.
    """

    def __init__(self, snn: SpikingNetwork, growth: float):
        self._layers = [layer for layer in snn.layers.values() if layer.ceiling == math.inf]
        self._growth = growth
        self._largest: dict[nn.Module, Tensor] = {}
        self._hooks: list[RemovableHandle] = []

    def start(self) -> None:
        """Listen to the potentials that reach each layer."""
        self._hooks = [layer.register_forward_pre_hook(self._measure) for layer in self._layers]

    def grow(self, over_ranks: Callable[[Tensor], Tensor] = lambda largest: largest) -> None:
        """Widen the windows that the last batch came close to.

        Where processes have parts of the batch, `over_ranks` makes of their largest potentials
        [layers] those of the whole batch.
        """
        if not self._layers:
            return
        largest = over_ranks(torch.stack([self._largest[layer] for layer in self._layers]))
        for layer, potential in zip(self._layers, largest.tolist(), strict=True):
            layer.width = max(layer.width, self._growth * potential)

    def stop(self) -> None:
        """Listen no more."""
        for hook in self._hooks:
            hook.remove()

    def _measure(self, layer: nn.Module, inputs: tuple[Tensor]) -> None:
        if layer.training:
            self._largest[layer] = inputs[0].detach().amax()
