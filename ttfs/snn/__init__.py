"""TTFS coding, neurons, conversion, networks and their event-driven simulation. Pure torch."""

from ttfs.errors import ConversionError
from ttfs.snn.alpha1 import Alpha1Synapses, slopes, stalled_neurons
from ttfs.snn.b1 import Fire
from ttfs.snn.conversion import (
    convert,
    convert_to_alpha1,
    convert_to_b1,
    images_of,
    layer_differences,
    reference_network,
    relative_difference,
    to_alpha1_,
)
from ttfs.snn.encode import Encode
from ttfs.snn.export import checksums, to_nir
from ttfs.snn.fan_out import count_synapses
from ttfs.snn.network import INPUT, NEURONS, OUTPUT, SpikingNetwork
from ttfs.snn.pools import EarliestSpike
from ttfs.snn.simulation import Population, Projection, Simulation, connectivity, simulate
from ttfs.snn.synapses import OneToOne, Synapses
from ttfs.snn.windows import WindowGrowth, calibrate_

__all__ = [
    "INPUT",
    "NEURONS",
    "OUTPUT",
    "Alpha1Synapses",
    "ConversionError",
    "EarliestSpike",
    "Encode",
    "Fire",
    "OneToOne",
    "Population",
    "Projection",
    "Simulation",
    "SpikingNetwork",
    "Synapses",
    "WindowGrowth",
    "calibrate_",
    "checksums",
    "connectivity",
    "convert",
    "convert_to_alpha1",
    "convert_to_b1",
    "count_synapses",
    "images_of",
    "layer_differences",
    "reference_network",
    "relative_difference",
    "simulate",
    "slopes",
    "stalled_neurons",
    "to_alpha1_",
    "to_nir",
]
