"""page: the results of a grid as one HTML file."""

from ttfs.config import Grid
from ttfs.results import page as writer
from ttfs.results.frame import collect


def page(grid: Grid) -> None:
    """Write results/<grid>/index.html from the records and figures of the grid."""
    writer.write(collect(grid), grid.folder)
    print(f"{grid.folder}/index.html")
