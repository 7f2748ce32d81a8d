"""Training of any network that maps items to logits. Lightning is imported here and nowhere
else.
"""

from ttfs.training.chance import ChipStreams
from ttfs.training.classifier import Classifier
from ttfs.training.fit import fit
from ttfs.training.windows import GrowingWindows

__all__ = ["ChipStreams", "Classifier", "GrowingWindows", "fit"]
