"""Spiking networks that run for T time steps: integrate-and-fire and leaky. Pure torch."""

from ttfs.timed.conversion import BIAS_CORRECTIONS, THRESHOLDS, convert_to_rate, settings_of
from ttfs.timed.errors import TERMS, error_split, split
from ttfs.timed.integrate_and_fire import IntegrateAndFire, RateNetwork
from ttfs.timed.lif import LeakyNetwork, leaky, to_leaky
from ttfs.timed.network import Observed, TimedNetwork

__all__ = [
    "BIAS_CORRECTIONS",
    "TERMS",
    "THRESHOLDS",
    "IntegrateAndFire",
    "LeakyNetwork",
    "Observed",
    "RateNetwork",
    "TimedNetwork",
    "convert_to_rate",
    "error_split",
    "leaky",
    "settings_of",
    "split",
    "to_leaky",
]
