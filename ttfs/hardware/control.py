"""The control: the same ReLU network with weights and activations of few bits, quantised the
ordinary way.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ttfs.hardware.chip import Hardware, deploy
from ttfs.snn import SpikingNetwork


class QuantizedReLU(nn.Module):
    """Uniform activations of 2^bits levels from 0 to the largest: a <- step clip(round(v / step),
    0, 2^bits - 1).

    The gradient passes straight through the rounding, and is 0 where the activation is clipped.
    """

    def __init__(self, largest: float, bits: int):
        super().__init__()
        self.largest, self.bits = largest, bits

    def forward(self, potential: Tensor) -> Tensor:
        """Map potentials of any shape to activations of the same shape."""
        most = 2**self.bits - 1
        return torch.fake_quantize_per_tensor_affine(potential, self.largest / most, 0, 0, most)

    def extra_repr(self) -> str:
        """Show the bits."""
        return f"largest={self.largest:g}, bits={self.bits}"


class QuantizedNetwork(nn.Module):
    """The ReLU network of a TTFS network, with pixels and activations of 2^bits levels; of float
    ones if bits is None.

    Maps images [N, ...] to logits [N, classes]. It takes over the modules of the TTFS network that
    it is made from.
    """

    def __init__(self, snn: SpikingNetwork, bits: int | None):
        super().__init__()
        self.encode, self.body = snn.encode, snn.body
        self.pixels = nn.Identity() if bits is None else QuantizedReLU(1.0, bits)
        self._layers = list(snn.layers)
        if bits is not None:
            for name, fire in snn.layers.items():
                self.body.set_submodule(name, QuantizedReLU(fire.width, bits))

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits [N, classes] of images [N, ...]."""
        return self.body(self.pixels(self.encode(images)))

    def neurons(self) -> list[nn.Module]:
        """Return the hidden layers, whose outputs a penalty on activity is about."""
        return [self.body.get_submodule(name) for name in self._layers]


def quantized_relu(
    snn: SpikingNetwork, hardware: Hardware, calibration: Tensor | Iterable[Tensor] | None = None
) -> "QuantizedNetwork":
    """Return the ReLU network of a TTFS network with as few bits as the chip has: what the spike
    code is held against.

    Weights are those of the chip (`weight_bits`, or the levels of its conductances), activations
    and pixels have 2^time_bits levels, up to the width of the chip's window. Of jitter, mismatch,
    dead neurons, lost spikes, and of noise, drift and defects of memristive devices, it has none.
    Train it to fine-tune it.
    """
    chip = deploy(
        snn,
        Hardware(
            weight_bits=hardware.weight_bits,
            weight_scale=hardware.weight_scale,
            equalize=hardware.equalize,
            conductance_bits=hardware.conductance_bits,
            window_quantile=hardware.window_quantile,
        ),
        calibration,
    )
    return QuantizedNetwork(chip, hardware.time_bits)
