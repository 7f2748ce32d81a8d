"""Training of any network that maps items to logits. Lightning is imported here and nowhere else."""

from ttfs.training._windows import GrowingWindows
from ttfs.training.classifier import Classifier
from ttfs.training.fit import fit
from ttfs.training.selection import kept_epoch, score

__all__ = ["Classifier", "GrowingWindows", "fit", "kept_epoch", "score"]
