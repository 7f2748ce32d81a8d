"""Where data are looked for, and the one way in which new ones arrive."""

import lzma
import os
import shutil
import sys
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from ttfs.errors import UserError

DATA = Path("data")
ARCHIVES = (".tar.xz", ".tar.gz", ".tgz", ".tar")


def places() -> list[Path]:
    """Return the folders to look in, in their order: TTFS_DATA (only ever read) where it is set, then data/."""
    at_hand = os.environ.get("TTFS_DATA")
    if at_hand and not Path(at_hand).is_dir():
        raise UserError(
            f"TTFS_DATA={at_hand}: no such folder; name the one that holds the data, or unset it"
        )
    return [Path(at_hand), DATA] if at_hand else [DATA]


def listed() -> str:
    """Return the places as messages name them."""
    return " or ".join(str(place.absolute()) for place in places())


def find(name: str) -> Path | None:
    """Return the file or folder of that name in the first place that has it; an absolute path is its own place."""
    return next((place / name for place in places() if (place / name).exists()), None)


def find_folder(name: str, where: str) -> Path:
    """Return the folder of that name; where there is only an archive of it, unpack that into data/ first."""
    if (folder := find(name)) and folder.is_dir():
        return folder
    archive = next((found for suffix in ARCHIVES if (found := find(name + suffix))), None)
    base = Path(name).name
    if archive is None:
        raise UserError(
            f"{where}: key 'source.folder': no folder {name!r}; put it, or its contents packed as {base}.tar.xz, "
            f"into {listed()}"
        )
    target = DATA / base
    with alone(base):
        if not target.is_dir():
            print(f"unpacking {archive} into {target}", file=sys.stderr)
            try:
                with staged(base) as staging, tarfile.open(archive) as tar:
                    tar.extractall(staging / base, filter="data")
            except (tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, OSError) as error:
                raise UserError(
                    f"{archive}: cannot be unpacked: {reason(error)}; get it again"
                ) from None
    return target


def reason(error: Exception) -> str:
    """Return what an error of a library says as one line, or its name where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__


@contextmanager
def alone(name: str) -> Iterator[None]:
    """Hold the lock of what is about to arrive in data/: of several jobs that need it, one fetches it."""
    lock = FileLock(DATA / f".{name}.lock")
    try:
        DATA.mkdir(exist_ok=True)
        lock.acquire()
    except OSError as error:
        raise UserError(
            f"{DATA.absolute()}: cannot be written ({error.strerror}); make it writable, or set TTFS_DATA"
        ) from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def staged(name: str) -> Iterator[Path]:
    """Give an empty folder inside data/, and move its contents into data/ when the block ends without an error.

    torchvision takes a folder that exists for a complete one; so what a kill or a lost connection leaves behind must
    lie where nobody looks for data, until the next attempt clears it away.
    """
    staging = DATA / f".{name}.partial"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir()
    try:
        yield staging
        for entry in staging.iterdir():
            goal = DATA / entry.name
            if goal.is_dir():
                shutil.rmtree(goal)
            entry.replace(goal)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
