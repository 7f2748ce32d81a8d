"""keep: the records and tables of a grid, as small text files that git keeps."""

from ttfs.config import RESULTS, Grid
from ttfs.results.records import atomic_write, collect, write

PUBLISHED = RESULTS / "published"


def keep(grid: Grid) -> None:
    """Copy the records and tables of a grid from results/<grid>/ to results/published/<grid>/, and say which."""
    records = collect(grid)
    for record in records:
        write(record, PUBLISHED / str(record.cell))
    texts = sorted((grid.folder / "tables").iterdir())
    for text in texts:
        atomic_write(PUBLISHED / grid.name / "tables" / text.name, text.read_bytes())
    print(f"{PUBLISHED / grid.name}: {len(records)} records, {len(texts)} tables")
