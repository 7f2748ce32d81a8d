"""publish: make the MLflow store agree with the records of a grid."""

from ttfs.config import Grid
from ttfs.results import tracking
from ttfs.results.frame import collect


def publish(grid: Grid) -> None:
    """Write the runs that are new or changed, and print the counts."""
    done = tracking.publish(collect(grid))
    words = [f"{done.runs} runs", f"{done.written} written"]
    if done.superseded:
        words.append(f"{done.superseded} earlier ones kept, marked superseded")
    if done.killed:
        words.append(f"{done.killed} of killed trainings marked so")
    print(f"{tracking.without_password(tracking.tracking_uri())}: {', '.join(words)}")
