"""TTFS coding, neurons, conversion, networks and their event-driven simulation. Pure torch."""

from ttfs.errors import ConversionError
from ttfs.snn.alpha1 import Alpha1Synapses, slopes, stalled_neurons
from ttfs.snn.b1 import Fire
from ttfs.snn.conversion import (
    convert,
    layer_differences,
    relative_difference,
    relu_twin,
    to_alpha1,
)
from ttfs.snn.encode import Encode
from ttfs.snn.network import INPUT, NEURONS, OUTPUT, SpikingNetwork
from ttfs.snn.pools import EarliestSpike
from ttfs.snn.simulation import Population, Projection, Simulation, connectivity, simulate
from ttfs.snn.synapses import OneToOne, Synapses
from ttfs.snn.windows import WindowGrowth, calibrate

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
    "calibrate",
    "connectivity",
    "convert",
    "layer_differences",
    "relative_difference",
    "relu_twin",
    "simulate",
    "slopes",
    "stalled_neurons",
    "to_alpha1",
]
