"""figures: the records, curves and study tables of a grid as figures."""

from ttfs.config import Grid
from ttfs.results import figures as writer
from ttfs.results.frame import collect
from ttfs.stages.spikes import spikes
from ttfs.studies import figures as studies


def figures(grid: Grid) -> None:
    """Write results/<grid>/figures/ from the records of the grid's cells."""
    results = collect(grid)
    writer.write(results, grid.folder / "figures", spikes(results))
    studies.write(grid, grid.folder / "figures")
