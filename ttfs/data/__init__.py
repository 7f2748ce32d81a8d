"""Data sets: one YAML file each, batches of float32 images out."""

from ttfs.data._dataset import DataSet, load
from ttfs.data._split import Batches, Split

__all__ = ["Batches", "DataSet", "Split", "load"]
