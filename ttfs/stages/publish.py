"""publish: make the MLflow store agree with the records of a grid."""

from ttfs.config import Grid
from ttfs.results import tracking
from ttfs.results.records import collect, collect_hardware


def publish(grid: Grid) -> None:
    """Write the runs that are new or changed, delete those that stand for nothing any more, and say so."""
    done = tracking.publish(grid.name, [*collect(grid), *collect_hardware(grid)])
    print(f"{tracking.tracking_uri()}: {done.runs} runs, {done.written} written, {done.deleted} deleted")
