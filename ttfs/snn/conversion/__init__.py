"""Exact conversion of ReLU networks to TTFS networks, and the comparison of the two."""

from ttfs.snn.conversion.alpha1 import convert_to_alpha1, to_alpha1_
from ttfs.snn.conversion.convert import convert_to_b1, images_of
from ttfs.snn.conversion.neurons import convert
from ttfs.snn.conversion.verification import (
    layer_differences,
    reference_network,
    relative_difference,
)

__all__ = [
    "convert",
    "convert_to_alpha1",
    "convert_to_b1",
    "images_of",
    "layer_differences",
    "reference_network",
    "relative_difference",
    "to_alpha1_",
]
