"""why: the stages that the next run will do, and the reasons."""

from ttfs.config import Grid
from ttfs.results.state import State


def why(grid: Grid) -> None:
    """Print a line for each stage that is due: stage, cell, reason."""
    due = State(grid).due
    for (stage, cell), reason in due.items():
        print(f"{stage:8} {cell.name}: {reason}")
    if not due:
        print(f"{grid.name}: all records are up to date with configuration, code and data")
