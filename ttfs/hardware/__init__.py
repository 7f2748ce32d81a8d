"""TTFS networks on imperfect hardware: jitter, coarse time, few-bit weights, short windows. Pure torch."""

from ttfs.hardware._chip import Hardware, deploy

__all__ = ["Hardware", "deploy"]
