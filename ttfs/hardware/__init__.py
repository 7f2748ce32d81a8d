"""TTFS networks on imperfect hardware: jitter, coarse time, few-bit weights, memristive synapses,
short windows. Pure torch.
"""

from ttfs.hardware.chip import Hardware, deploy
from ttfs.hardware.control import QuantizedNetwork, QuantizedReLU, quantized_relu
from ttfs.hardware.memristive import program_
from ttfs.hardware.stream import streams
from ttfs.hardware.windows import EmittedCharges

__all__ = [
    "EmittedCharges",
    "Hardware",
    "QuantizedNetwork",
    "QuantizedReLU",
    "deploy",
    "program_",
    "quantized_relu",
    "streams",
]
