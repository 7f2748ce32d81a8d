"""Data sets: one YAML file each, batches of float32 images out."""

from ttfs.data.dataset import DataSet, load
from ttfs.data.splits import Batches, Split

__all__ = ["Batches", "DataSet", "Split", "load"]
