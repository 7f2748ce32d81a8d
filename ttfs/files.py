"""Files written whole or not at all, their checksums, and locks that end with their holder."""

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ttfs.errors import UserError


def atomic_write(path: Path, content: str | bytes) -> None:
    """Write a file whole or not at all, making its folder; the old file stays until then.

    Raises UserError if the place cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        fix = "make the folder writable or free some space"
        raise UserError(f"{path}: cannot be written ({error.strerror}); {fix}") from None


def checksum(content: bytes) -> str:
    """Return the SHA-256 of bytes in hexadecimal digits.

    >>> checksum(b"spike")[:8]
    '798552d3'
    """
    return hashlib.sha256(content).hexdigest()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file at a path, waiting for whoever holds it; the lock ends with its process.

    Raises UserError if the place cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("w")
    except OSError as error:
        raise UserError(
            f"{path.parent}: cannot be written ({error.strerror}); make the folder writable"
        ) from None
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def is_locked(path: Path) -> bool:
    """Whether somebody holds the lock file at a path."""
    try:
        with path.open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False
