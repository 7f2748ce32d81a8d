"""Size: how many numbers a classifier has learned. A fact, which its kind tells."""

from ttfs.metrics.metric import Metric

METRICS = (Metric("parameters", "Parameters", "", ",.0f", in_summary=False, place=150),)
