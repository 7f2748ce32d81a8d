"""tables: the records of a grid as CSV and Markdown."""

from ttfs.config import Grid
from ttfs.results import tables as writer
from ttfs.results.frame import collect


def tables(grid: Grid) -> None:
    """Write results/<grid>/tables/ from the records of the grid's cells, beside the published
    values.
    """
    writer.write(collect(grid), grid.folder / "tables")
