"""Files by name, size and time of change. Imports the standard library alone."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path


def describe(path: Path) -> str:
    """Return name, size and time of change [ns] of a file, or a digest of those below a folder."""
    if path.is_dir():
        return _digest(_lines(path, "", ()))
    info = path.stat()
    return f"{path.name}\t{info.st_size}\t{info.st_mtime_ns}"


@dataclass(frozen=True)
class Unpacked:
    """A note beside a folder that came out of an archive: both as they were then."""

    archive: str
    folder: str

    @classmethod
    def read(cls, folder: Path) -> "Unpacked | None":
        """Return the note of a folder, None if it did not come out of an archive."""
        path = _note(folder)
        if not path.is_file():
            return None
        lines = path.read_text("utf-8", "surrogateescape").rstrip("\n").split("\n")
        return cls(*lines) if len(lines) == 2 else None

    def write(self, folder: Path) -> None:
        """Write the note of a folder."""
        _note(folder).write_text(f"{self.archive}\n{self.folder}\n", "utf-8", "surrogateescape")

    def came_from(self, archive: Path) -> bool:
        """Return whether the archive has the name and size of the one that was unpacked."""
        return self.archive.rsplit("\t", 1)[0] == describe(archive).rsplit("\t", 1)[0]


def _note(folder: Path) -> Path:
    return folder.parent / f".{folder.name}.unpacked"


def _lines(folder: Path, prefix: str, above: tuple[tuple[int, int], ...]) -> Iterator[str]:
    """One line for each file below the folder, in order; links are followed, but not in circles."""
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            try:
                info = entry.stat()
            except FileNotFoundError:  # a link to nothing
                info = entry.stat(follow_symlinks=False)
            name, here = prefix + entry.name, (info.st_dev, info.st_ino)
            if not entry.is_dir():
                yield f"{name}\t{info.st_size}\t{info.st_mtime_ns}"
            elif here not in above:
                yield from _lines(Path(entry.path), f"{name}/", (*above, here))


def _digest(lines: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for line in lines:
        digest.update(f"{line}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()[:16]
