"""TTFS networks on imperfect hardware: jitter, coarse time, few-bit weights, short windows. Pure torch."""

from ttfs.hardware._chip import Hardware, deploy
from ttfs.hardware._control import QuantisedReLU, quantised_relu

__all__ = ["Hardware", "QuantisedReLU", "deploy", "quantised_relu"]
