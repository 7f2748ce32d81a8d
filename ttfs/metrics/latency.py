"""Latency: when the answer is there, and the windows behind it. Facts of a network, which its kind
tells.
"""

from ttfs.metrics.metric import Metric

METRICS = (
    Metric("latency", "Latency", "τ_c", ".2f", "lower", place=50),
    Metric("time_steps", "Time steps", "", ",.0f", "lower", place=60),
    Metric("t_min", "Window opens", "τ_c", ".2f", in_summary=False, place=920),
    Metric("t_max", "Window closes", "τ_c", ".2f", in_summary=False, place=930),
)
