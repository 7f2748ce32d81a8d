"""Which records a view of a grid, such as its tables, was made from: their times alone do not tell,
for a record that is copied to its place may be older than a view of the record before.
"""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ttfs.config import Grid
from ttfs.digest import digest_of
from ttfs.files import atomic_write
from ttfs.results.record import RECORD


def records_of(grid: Grid) -> str:
    """Return a digest of the names, sizes and times of the records of a grid."""

    def states() -> Iterator[str]:
        for cell in grid.every:
            with suppress(FileNotFoundError):  # another run may take a record away meanwhile
                found = (cell.folder / RECORD).stat()
                yield f"{cell.name} {found.st_size} {found.st_mtime_ns}"

    return digest_of({}, *states())


def note_seen(grid: Grid, view: str, records: str) -> None:
    """Note that a view was made from the records of a digest, where the workflow keeps such
    notes.
    """
    path = _file(grid, view)
    if path.parent.is_dir():
        atomic_write(path, records)


def seen(grid: Grid, view: str) -> str | None:
    """Return the digest of the records that a view was made from; None where none was noted."""
    path = _file(grid, view)
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else None


def _file(grid: Grid, view: str) -> Path:
    return grid.folder / ".views" / f"{view}.seen"
