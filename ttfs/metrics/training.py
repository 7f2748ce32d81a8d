"""Facts of a training: the epoch that was kept, and the size of the network."""

from ttfs.metrics.metric import Metric

METRICS = (
    Metric(
        "best_validation_accuracy", "Best validation accuracy", "%", ".2f", "higher",
        in_summary=False, place=130,
    ),
    Metric("best_epoch", "Best epoch", "", ".0f", in_summary=False, place=140),
    Metric("parameters", "Parameters", "", ",.0f", in_summary=False, place=150),
)  # fmt: skip
