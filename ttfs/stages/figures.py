"""figures: the records and curves of a grid as figures."""

from ttfs.config import Grid
from ttfs.results import figures as writer
from ttfs.results.records import collect, collect_hardware


def figures(grid: Grid) -> None:
    """Write results/<grid>/figures/ from the records of the grid's cells."""
    writer.write(collect(grid), collect_hardware(grid), grid.folder / "figures", grid.settings["sparsity_tolerance"])
