"""publish: make the MLflow store agree with the records of a grid."""

from ttfs.config import Grid
from ttfs.results import tracking
from ttfs.results.frame import collect


def publish(grid: Grid) -> None:
    """Write the runs that are new or changed, delete those without a record, and print the
    counts.
    """
    done = tracking.publish(collect(grid))
    print(
        f"{tracking.tracking_uri()}: {done.runs} runs, {done.written} written, {done.deleted} "
        "deleted"
    )
