"""Data sets: one YAML file each, batches of float32 inputs out.

The names load torch when first used: `ttfs.data.stamp` goes without it.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ttfs.data.dataset import DataSet, load
    from ttfs.data.splits import Batches, Split

__all__ = ["Batches", "DataSet", "Split", "load"]
_HOMES = {"Batches": "splits", "DataSet": "dataset", "Split": "splits", "load": "dataset"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ttfs.data' has no attribute {name!r}")
    return getattr(importlib.import_module(f"ttfs.data.{_HOMES[name]}"), name)
