"""keep: the records and tables of a grid, as small text files that git keeps."""

import shutil

from ttfs.config import RESULTS, Grid
from ttfs.errors import UserError
from ttfs.results.records import atomic_write, collect, collect_hardware, write

PUBLISHED = RESULTS / "published"


def keep(grid: Grid) -> None:
    """Put the records and tables of results/<grid>/ in the place of those in results/published/<grid>/."""
    records = [*collect(grid), *collect_hardware(grid)]
    tables = sorted((grid.folder / "tables").glob("*"))
    if not tables:
        raise UserError(f"{grid.folder / 'tables'}: no tables there; run `python -m ttfs tables` first")
    shutil.rmtree(PUBLISHED / grid.name, ignore_errors=True)
    for record in records:
        write(record, PUBLISHED / record.place)
    for table in tables:
        atomic_write(PUBLISHED / grid.name / "tables" / table.name, table.read_bytes())
    print(f"{PUBLISHED / grid.name}: {len(records)} records, {len(tables)} tables")
