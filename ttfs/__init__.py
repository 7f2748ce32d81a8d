"""ttfs: time-to-first-spike spiking networks, from exact conversion to honest comparison.

The public names load torch when first used, so that `import ttfs` and the command line's help stay quick.
"""

import importlib
from typing import Any

__version__ = "0.1.0"
_HOMES = {
    "convert": "ttfs.snn",
    "simulate": "ttfs.snn",
    "SpikingNetwork": "ttfs.snn",
    "ConversionError": "ttfs.snn",
    "spikes_per_neuron": "ttfs.metrics",
    "Hardware": "ttfs.hardware",
    "deploy": "ttfs.hardware",
}
__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ttfs' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
