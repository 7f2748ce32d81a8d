"""why: the stages that the next run will do, and the reasons."""

from ttfs.config import Grid
from ttfs.results.state import State


def why(grid: Grid, cell: str = "") -> None:
    """Print a line for each stage that is due: stage, cell, reason; for one cell, also that nothing
    is.
    """
    if cell:
        grid.find(cell)  # a name that the grid has not is said
    due = [
        f"{stage:8} {one.name}: {reason}"
        for (stage, one), reason in State(grid).due.items()
        if not cell or one.name == cell
    ]
    for line in due:
        print(line)
    if not due:
        what = cell or f"{grid.name}: all records"
        print(f"{what} {'is' if cell else 'are'} up to date with configuration, code and data")
