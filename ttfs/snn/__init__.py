"""TTFS coding, neurons, conversion, networks and their event-driven simulation. Pure torch."""

from ttfs.snn._alpha1 import Alpha1Synapses, slopes, stalled_neurons, to_alpha1
from ttfs.snn._connectivity import Population, Projection, connectivity
from ttfs.snn._conversion import NEURONS, calibrate, convert
from ttfs.snn._network import INPUT, OUTPUT, SpikingNetwork
from ttfs.snn._neurons import EarliestSpike, Encode, Fire, OneToOne, Synapses
from ttfs.snn._simulator import Simulation, simulate
from ttfs.snn._tracing import ConversionError
from ttfs.snn._verification import layer_differences, relative_difference, relu_twin
from ttfs.snn._windows import WindowGrowth

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
