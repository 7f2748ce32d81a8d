"""The one way in which new data arrive in data/: once, and whole or not at all."""

import hashlib
import lzma
import shutil
import sys
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from ttfs.data.listing import Unpacked, describe
from ttfs.data.places import DATA, find, find_archive, listed
from ttfs.errors import UserError


def find_folder(name: str, where: str) -> Path:
    """Return the folder of that name; unpack it into data/ first where there is only an archive."""
    archive, base = find_archive(name), Path(name).name
    goal = DATA / _inside(name)
    folder = find(name) or goal
    if folder.is_dir():
        unpacked = Unpacked.read(folder)
        if unpacked and archive and not unpacked.came_from(archive):
            raise UserError(
                f"{folder}: unpacked from another {archive.name} than there is now; "
                "delete the folder, and the new one is unpacked"
            )
        return folder
    if archive is None:
        raise UserError(
            f"{where}: key 'source.folder': no folder {name!r}; put it, or its contents packed as "
            f"{base}.tar.xz, into {listed()}"
        )
    alias = _inside(name).replace("/", "-")
    with alone(alias):
        if not goal.is_dir():
            print(f"unpacking {archive} into {goal}", file=sys.stderr)
            _unpack(archive, goal, alias)
    return goal


def _inside(name: str) -> str:
    """The place below data/ for a folder of a name: its own, so that no two share one."""
    path = Path(name)
    if path.is_absolute() or ".." in path.parts:
        return f"{path.name}-{hashlib.sha256(str(path.absolute()).encode()).hexdigest()[:8]}"
    return path.as_posix()


def reason(error: BaseException) -> str:
    """Return the message of a library's error as one line, or its name where it has none."""
    return " ".join(str(error).split()) or type(error).__name__


@contextmanager
def alone(name: str) -> Iterator[None]:
    """Hold the lock of data that are to arrive, so that one of several jobs fetches them."""
    lock = FileLock(DATA / f".{name}.lock")
    try:
        DATA.mkdir(exist_ok=True)
        lock.acquire()
    except OSError as error:
        raise UserError(
            f"{DATA.absolute()}: cannot be written ({error.strerror}); "
            "make it writable, or set TTFS_DATA"
        ) from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def staged(name: str, into: Path = DATA) -> Iterator[Path]:
    """Give an empty folder inside data/; move its contents into data/, or a folder there, if the
    block succeeds.

    torchvision takes a folder that exists for a complete one. So the leavings of a kill or of a
    lost connection must lie where nobody looks for data, until the next attempt clears them away.
    """
    staging = DATA / f".{name}.partial"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir()
    try:
        yield staging
        into.mkdir(parents=True, exist_ok=True)
        for entry in staging.iterdir():
            goal = into / entry.name
            if goal.is_dir():
                shutil.rmtree(goal)
            entry.replace(goal)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _unpack(archive: Path, goal: Path, alias: str) -> None:
    try:
        with staged(alias, goal.parent) as staging, tarfile.open(archive) as tar:
            folder = staging / goal.name
            tar.extractall(folder, filter="data")
            _check_end(tar)
            Unpacked(describe(archive), describe(folder)).write(folder)
    except (tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, OSError) as error:
        raise UserError(f"{archive}: cannot be unpacked: {reason(error)}; get it again") from None


def _check_end(tar: tarfile.TarFile) -> None:
    """Raise where an archive that was read does not end as one: `tarfile` takes a header that is
    damaged or missing for the end.
    """
    file = tar.fileobj
    assert file is not None
    file.seek(tar.offset)
    if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError(f"it ends early, or is damaged, at byte {tar.offset}")
