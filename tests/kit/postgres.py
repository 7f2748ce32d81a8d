"""A PostgreSQL server on this machine, with an empty database."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from kit.ports import free_port


def missing() -> str | None:
    """Return why no server can be started here, None if one can."""
    if _binaries() is None:
        return "needs initdb and pg_ctl: Debian's package postgresql"
    if find_spec("psycopg2") is None:
        return "needs psycopg2: pip install 'ttfs[cluster]'"
    return None


@contextmanager
def started() -> Iterator[str]:
    """Start a server on this machine alone, and end it with the block; give its database's URI."""
    binaries, port = _binaries(), free_port()
    assert binaries is not None
    with tempfile.TemporaryDirectory() as folder:
        shutil.chown(folder, *_owner())
        data = Path(folder, "data")
        _run(binaries / "initdb", "-D", data, "-A", "trust", "-U", "ttfs")
        options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1"
        log = Path(folder, "log")
        _run(binaries / "pg_ctl", "-D", data, "-o", options, "-l", log, "-w", "start")
        try:
            yield f"postgresql://ttfs@127.0.0.1:{port}/postgres"
        finally:
            _run(binaries / "pg_ctl", "-D", data, "-m", "fast", "-w", "stop")


def _binaries() -> Path | None:
    found = shutil.which("initdb")
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin")) if found is None else []
    return Path(found).parent if found else next(reversed(folders), None)


def _owner() -> tuple[str | int, str | int]:
    """The user and group of the server, which refuses to run as root."""
    return ("postgres", "postgres") if os.geteuid() == 0 else (os.geteuid(), os.getegid())


def _run(*words: str | Path) -> None:
    user = "postgres" if os.geteuid() == 0 else None
    done = subprocess.run(
        words, user=user, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, f"{words[0]} failed"
