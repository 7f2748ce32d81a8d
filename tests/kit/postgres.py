"""A PostgreSQL server on this machine."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from kit.pages import block
from kit.ports import free_port


def missing() -> str | None:
    """Return why no server can be started here, None if one can."""
    if _binaries() is None:
        return "needs initdb and pg_ctl: Debian's package postgresql"
    if find_spec("psycopg2") is None:
        return "needs psycopg2: pip install 'ttfs[cluster]'"
    return None


@dataclass(frozen=True)
class Postgres:
    """A running server, whose administrator is known by the user that runs it, and each other role
    by a password, as Debian sets one up.
    """

    folder: Path
    port: int

    @property
    def uri(self) -> str:
        """Where clients find the database of docs/cluster.md."""
        return f"postgresql://ttfs:my-password@localhost:{self.port}/ttfs"

    def shell(self, commands: str) -> None:
        """Run commands as the administrator."""
        mine = {"PGHOST": str(self.folder), "PGPORT": str(self.port), "PATH": os.environ["PATH"]}
        _run("bash", "-euo", "pipefail", "-c", commands, environment=mine)


@contextmanager
def started() -> Iterator[Postgres]:
    """Start a server on this machine alone, with the role and the database that docs/cluster.md
    makes, and end it with the block.
    """
    binaries, port = _binaries(), free_port()
    assert binaries is not None
    with tempfile.TemporaryDirectory() as folder:
        shutil.chown(folder, *_owner())
        data = Path(folder, "data")
        _run(binaries / "initdb", "-D", data, "--auth-local=peer", "--auth-host=scram-sha-256")
        options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1"
        log = Path(folder, "log")
        _run(binaries / "pg_ctl", "-D", data, "-o", options, "-l", log, "-w", "start")
        try:
            running = Postgres(Path(folder), port)
            running.shell(block("cluster.md", "createdb"))
            yield running
        finally:
            _run(binaries / "pg_ctl", "-D", data, "-m", "fast", "-w", "stop")


def _binaries() -> Path | None:
    found = shutil.which("initdb")
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin")) if found is None else []
    return Path(found).parent if found else next(reversed(folders), None)


def _owner() -> tuple[str | int, str | int]:
    """The user and group of the server, which refuses to run as root."""
    return ("postgres", "postgres") if os.geteuid() == 0 else (os.geteuid(), os.getegid())


def _run(*words: str | Path, environment: Mapping[str, str] | None = None) -> None:
    user = "postgres" if os.geteuid() == 0 else None
    done = subprocess.run(
        words, user=user, cwd="/", env=environment, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, f"{words[0]} failed"
