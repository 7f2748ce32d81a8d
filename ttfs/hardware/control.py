"""The control: the same ReLU network with weights and activations of few bits, quantised the ordinary way."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ttfs.hardware.chip import Hardware, deploy
from ttfs.snn import SpikingNetwork


class QuantizedReLU(nn.Module):
    """Uniform activations of 2^bits levels from 0 to the largest: a <- step clip(round(v / step), 0, 2^bits - 1).

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


def quantized_relu(
    snn: SpikingNetwork, hardware: Hardware, calibration: Tensor | Iterable[Tensor] | None = None
) -> nn.Module:
    """Return the ReLU network of a TTFS network with as few bits as the chip has: what the spike code is held against.

    Weights are those of the chip (`weight_bits`), activations and pixels have 2^time_bits levels, up to the width of
    the chip's window. Of jitter, mismatch, dead neurons and lost spikes it has none. Train it to fine-tune it.
    """
    chip = deploy(
        snn,
        Hardware(
            weight_bits=hardware.weight_bits,
            weight_scale=hardware.weight_scale,
            window_quantile=hardware.window_quantile,
        ),
        calibration,
    )
    relu: list[nn.Module] = [chip.encode]
    if hardware.time_bits is not None:
        relu.append(QuantizedReLU(1.0, hardware.time_bits))
        for name, fire in chip.layers.items():
            chip.body.set_submodule(name, QuantizedReLU(fire.width, hardware.time_bits))
    return nn.Sequential(*relu, chip.body)
