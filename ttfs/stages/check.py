"""check: a grid and every file that it names, and its cells."""

from ttfs.config import Grid


def check(grid: Grid) -> None:
    """Print the cells of a grid, which was checked when it was read."""
    for cell in grid.every:
        print(cell.name)
