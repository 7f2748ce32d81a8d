"""Exactness: how far the closed form is from the event-driven simulator. Facts, which the kind's
check measures.
"""

from ttfs.metrics.metric import Metric

METRICS = (
    Metric(
        "spike_time_error", "Largest spike-time error", "τ_c", ".1e", "lower", "max",
        in_summary=False, place=100,
    ),
    Metric("early_fire_rate", "Early-fire rate", "", ".4f", "lower", in_summary=False, place=110),
    Metric(
        "stalled_neurons", "Neurons without a positive slope", "", ".4f", "lower",
        in_summary=False, place=120,
    ),
)  # fmt: skip
