"""Metrics, each a pure function with its formula; `docs/metrics/` works an example of each by hand."""

from ttfs.metrics._agreement import accuracy, agreement
from ttfs.metrics._selection import kept_epoch, score
from ttfs.metrics._spikes import (
    SpikeCounter,
    dense_energy,
    fan_out,
    multiply_accumulates,
    spikes_per_neuron,
    spiking_energy,
    synaptic_operations,
)

__all__ = [
    "SpikeCounter",
    "accuracy",
    "agreement",
    "dense_energy",
    "fan_out",
    "kept_epoch",
    "multiply_accumulates",
    "score",
    "spikes_per_neuron",
    "spiking_energy",
    "synaptic_operations",
]
