"""The epoch of a training that is kept."""

from collections.abc import Mapping, Sequence

from ttfs.metrics.metric import Metric

METRICS = (
    Metric(
        "best_validation_accuracy", "Best validation accuracy", "%", ".2f", "higher",
        in_summary=False, place=130,
    ),
    Metric("best_epoch", "Best epoch", "", ".0f", in_summary=False, place=140),
)  # fmt: skip


def score(row: Mapping[str, float]) -> tuple[float, float]:
    """Return what the best epoch has the largest of: validation accuracy, and among equals the
    lower validation loss.
    """
    return row["validation_accuracy"], -row["validation_loss"]


def kept_epoch(rows: Sequence[Mapping[str, float]], select: str) -> dict[str, float]:
    """Return the number and validation accuracy of the epoch that `select` ("best" or "last") keeps
    of a curve.

    >>> kept_epoch([{"epoch": 1.0, "validation_accuracy": 97.0, "validation_loss": 0.1}], "best")
    {'best_validation_accuracy': 97.0, 'best_epoch': 1.0}
    """
    kept = max(rows, key=score) if select == "best" else rows[-1]
    return {"best_validation_accuracy": kept["validation_accuracy"], "best_epoch": kept["epoch"]}
