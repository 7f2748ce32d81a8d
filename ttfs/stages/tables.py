"""tables: the records of a grid as CSV and Markdown."""

from ttfs.config import Grid
from ttfs.results import tables as writer
from ttfs.results.records import collect, collect_hardware


def tables(grid: Grid) -> None:
    """Write results/<grid>/tables/ from the records of the grid's cells, beside the published values."""
    records, sweeps = collect(grid), collect_hardware(grid)
    writer.write(records, sweeps, grid.folder / "tables", grid.published, grid.settings["sparsity_tolerance"])
