"""Training of any network that maps images to logits. Lightning is imported here and nowhere else."""

from ttfs.training._classifier import Classifier
from ttfs.training._fit import fit
from ttfs.training._windows import GrowingWindows

__all__ = ["Classifier", "GrowingWindows", "fit"]
