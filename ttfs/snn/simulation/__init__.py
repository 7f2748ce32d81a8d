"""Event-driven simulation of TTFS networks, spike by spike and synapse by synapse."""

from ttfs.snn.simulation.connectivity import Population, Projection, connectivity
from ttfs.snn.simulation.simulator import Simulation, simulate

__all__ = ["Population", "Projection", "Simulation", "connectivity", "simulate"]
