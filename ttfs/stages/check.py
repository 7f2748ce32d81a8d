"""check: a grid and every file that it names, its cells, and their results."""

from collections.abc import Iterator

from ttfs.config import Cell, Grid, Study
from ttfs.errors import UserError
from ttfs.results.record import FAILURE, MADE, RECORD, Record, damaged, read, read_made
from ttfs.results.state import other


def check(grid: Grid, results: bool = False) -> int:
    """Print the cells of a grid, which was checked when it was read; or the faults of their
    results.

    With `results`, each record, network and curve is compared with its checksum, and each record
    with the network that it is of; the exit status is 2 where one differs.
    """
    if not results:
        _list(grid)
        return 0
    faults = [fault for cell in grid.every for fault in _faults(cell)]
    print("\n".join(faults) if faults else f"{grid.name}: all results are as they were written")
    return 2 if faults else 0


def _faults(cell: Cell | Study) -> Iterator[str]:
    """Faults of the files of a cell; none where it has no files."""
    for name in (RECORD, FAILURE):
        try:
            if (cell.folder / name).exists():
                record = read(cell.folder / name, cell.name)
                files = record.digests.get("files", {})
                reason = damaged(cell.folder, files, name, closely=True) or _other(record, cell)
                if reason is not None:
                    yield f"{cell.folder}: {reason}"
        except UserError as error:
            yield str(error)
    try:
        if (cell.folder / MADE).exists():
            reason = damaged(cell.folder, read_made(cell.folder).files, MADE, closely=True)
            if reason is not None:
                yield f"{cell.folder}: {reason}; run the workflow again, which makes it anew"
    except UserError as error:
        yield str(error)


def _other(record: Record, cell: Cell | Study) -> str | None:
    """How a record is not of the network that is there; nothing of failures and studies."""
    if record.error or isinstance(cell, Study) or not (cell.network.folder / MADE).exists():
        return None
    reason = other(record, read_made(cell.network.folder))
    return reason and f"{reason}; run the workflow again"


def _list(grid: Grid) -> None:
    for cell in grid.every:
        print(cell.name)
