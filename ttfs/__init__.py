"""ttfs: time-to-first-spike spiking networks, from exact conversion to honest comparison.

Public names load torch when they are first used, so that `import ttfs` stays quick.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ttfs.data.correlative import encode_metadata as encode_metadata
    from ttfs.errors import ConversionError as ConversionError
    from ttfs.hardware import Hardware as Hardware
    from ttfs.hardware import deploy as deploy
    from ttfs.metrics import spikes_per_neuron as spikes_per_neuron
    from ttfs.snn import SpikingNetwork as SpikingNetwork
    from ttfs.snn import convert as convert
    from ttfs.snn import simulate as simulate
    from ttfs.snn import to_nir as to_nir
    from ttfs.stages.load import load as load
    from ttfs.timed import LeakyNetwork as LeakyNetwork
    from ttfs.timed import RateNetwork as RateNetwork
    from ttfs.timed import convert_to_rate as convert_to_rate
    from ttfs.timed import to_leaky as to_leaky

__version__ = "0.1.0"
_HOMES = {
    "convert": "ttfs.snn",
    "encode_metadata": "ttfs.data.correlative",
    "simulate": "ttfs.snn",
    "to_nir": "ttfs.snn",
    "SpikingNetwork": "ttfs.snn",
    "ConversionError": "ttfs.errors",
    "spikes_per_neuron": "ttfs.metrics",
    "Hardware": "ttfs.hardware",
    "deploy": "ttfs.hardware",
    "load": "ttfs.stages.load",
    "RateNetwork": "ttfs.timed",
    "convert_to_rate": "ttfs.timed",
    "LeakyNetwork": "ttfs.timed",
    "to_leaky": "ttfs.timed",
}
__all__ = [
    "ConversionError",
    "Hardware",
    "LeakyNetwork",
    "RateNetwork",
    "SpikingNetwork",
    "convert",
    "convert_to_rate",
    "deploy",
    "encode_metadata",
    "load",
    "simulate",
    "spikes_per_neuron",
    "to_leaky",
    "to_nir",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ttfs' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
