"""Studies: what sets neuron models apart when they learn. Four networks of one initial draw, side by side."""

from ttfs.studies._figures import draw
from ttfs.studies._gradients import gradients
from ttfs.studies._trajectory import trajectory

STUDIES = {"trajectory": trajectory, "gradients": gradients}

__all__ = ["STUDIES", "draw", "gradients", "trajectory"]
