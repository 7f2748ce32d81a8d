"""TTFS networks on imperfect hardware: jitter, coarse time, few-bit weights, short windows. Pure
torch.
"""

from ttfs.hardware.chip import Hardware, deploy
from ttfs.hardware.control import QuantizedNetwork, QuantizedReLU, quantized_relu

__all__ = ["Hardware", "QuantizedNetwork", "QuantizedReLU", "deploy", "quantized_relu"]
