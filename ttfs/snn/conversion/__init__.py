"""Exact conversion of ReLU networks to TTFS networks, and the comparison of the two."""

from ttfs.snn.conversion.alpha1 import to_alpha1
from ttfs.snn.conversion.convert import convert
from ttfs.snn.conversion.verification import layer_differences, relative_difference, relu_twin

__all__ = [
    "convert",
    "layer_differences",
    "relative_difference",
    "relu_twin",
    "to_alpha1",
]
