"""A process that has imported torch and Lightning once, and forks a child for each stage of a run.

The workflow starts one, and it ends with the run. A stage connects to its socket and hands over its
standard output and error. Where there is no server, as on a cluster, or where the code has changed
since it started, a stage runs by itself.
"""

import array
import contextlib
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ttfs import digest
from ttfs.errors import UserError
from ttfs.stages.process import POLL, alive, connect, forked, run_stage, run_verb, watch
from ttfs.stages.progress import Due, Progress

SERVER = "TTFS_SERVER"
"""Environment variable: the socket of the run's server."""
PRELOADED = (
    "pytorch_lightning",
    "torchvision",
    "mlflow.tracking",
    "mlflow.store.tracking.sqlalchemy_store",
    "pandas",
    "scipy.sparse",
)
ROOMS = (
    "stages.cells",
    "training",
    "methods._measuring",
    "methods._deploying",
    "results.tracking",
)
PATIENCE = 10.0
"""Seconds that the server waits for a client that has connected and says nothing."""
KEPT = ("TTFS_DATA", "TTFS_RUN", "MLFLOW_TRACKING_URI", "OMP_NUM_THREADS")
"""Environment variables of a stage that its child has too."""


def ask(verb: str, grid_file: Path, name: str, signals: list[int]) -> int | None:
    """Have the server run a stage of the cell of a name, or of the whole grid where the name is
    empty, and pass on to it the signals that come; return the child's wait status, None where no
    server takes it.
    """
    channels = _streams()
    connection = connect(os.environ.get(SERVER, "/nowhere")) if channels else None
    if connection is None:
        return None
    environment = {key: os.environ[key] for key in KEPT if key in os.environ}
    job = {
        "verb": verb,
        "grid": str(grid_file),
        "cell": name,
        "folder": str(Path.cwd()),
        "environment": environment,
        "code": code_state(),
    }
    with connection:
        return _answer(connection, json.dumps(job).encode() + b"\n", channels, signals)


def _streams() -> list[int]:
    """Return the standard output and error of this process; nothing where one is closed, or is no
    file.
    """
    try:
        return [sys.stdout.fileno(), sys.stderr.fileno()]
    except (AttributeError, OSError, ValueError):
        return []


def _answer(
    connection: socket.socket, job: bytes, channels: list[int], signals: list[int]
) -> int | None:
    """Hand a job and the standard streams over, and wait for the status of the child; pass signals
    on. If the run has ended, leave, which ends the child.

    A signal that comes before the server has begun, as while it imports, ends the stage here.
    """
    orphaned, received = watch(), b""
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", channels))
    with contextlib.suppress(ConnectionError):  # the server just died: `_received` says so
        connection.sendmsg([job], [rights])
    while not received.endswith(b"\n"):
        if select.select([connection], [], [], POLL)[0]:
            part = _received(connection)
            if not part:
                break
            received += part
        elif orphaned() or (signals and not received):
            return int(signals[0] if signals else signal.SIGKILL)
        elif signals:
            with contextlib.suppress(OSError):
                connection.sendall(f"{signals.pop(0)}\n".encode())
    match received.split():
        case [b"started", status]:
            return int(status)
        case [b"started"]:  # the server died, and its children with it
            return int(signal.SIGKILL)
        case _:  # it did not begin: another may do it
            return int(signals[0]) if signals else None


def _received(connection: socket.socket) -> bytes:
    """Return what the server said; nothing where it died, perhaps with words of ours unread."""
    try:
        return connection.recv(64)
    except ConnectionError:
        return b""


@dataclass
class Client:
    """A client whose stage runs here."""

    connection: socket.socket
    stage: Due | None
    """None of one that is not of a cell: progress counts those of cells."""


def serve(path: str, run: int, due: Sequence[Due], grid_file: Path) -> None:
    """Listen on a socket until the run of a grid ends, and print the progress of the stages that
    are due on standard error.
    """
    progress = Progress(due)
    clients: dict[int, Client] = {}  # by the process of their stage
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)  # first: stages that come while it imports wait
        listener.listen(128)
        code = code_state()
        _preload(grid_file)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the terminal: the run decides
        while alive(run):
            connections = [client.connection for client in clients.values()]
            ready, _, _ = select.select([listener, *connections], [], [], POLL)
            for process, client in clients.items():
                if client.connection in ready:
                    _pass_on(client.connection, process)
            _reap(clients, progress)
            if listener in ready:
                _admit(listener, clients, progress, code)
            progress.tell()
    Path(path).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        Path(path).parent.rmdir()


def _preload(grid_file: Path) -> None:
    """Import what stages import, and read what they read: files that change are read again."""
    import importlib

    for room in ROOMS:  # first: they tell MLflow to be quiet, which it asks when it is imported
        importlib.import_module(f"ttfs.{room}")
    for name in PRELOADED:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    from ttfs.config import load_grid
    from ttfs.digest import kind_digest
    from ttfs.methods import kinds
    from ttfs.results.state import DATA

    for kind in kinds():  # the modules behind digests are read once, too
        for stage in ("make", "evaluate", "deploy"):
            kind_digest(stage, kind, *DATA)
    with contextlib.suppress(UserError):  # its stages say what is wrong
        load_grid(grid_file)


def _admit(
    listener: socket.socket, clients: dict[int, Client], progress: Progress, code: str
) -> None:
    """Accept a client, and fork a child for its stage; one of newer code runs its stage by itself,
    and one may be gone.
    """
    connection, _ = listener.accept()
    connection.settimeout(PATIENCE)
    channels: list[int] = []
    try:
        job = _receive(connection, channels)
        stage = Due(job["verb"], job["cell"]) if job["cell"] else None
        stale = job["code"] != code
        connection.sendall(b"stale\n" if stale else b"started ")
        if stale:
            connection.close()
            if stage is not None:
                progress.drop(stage)
            return
        held = [listener, connection, *(client.connection for client in clients.values())]
        process = forked(lambda: _become(job, channels, held))
        clients[process] = Client(connection, stage)
        if stage is not None:
            progress.start(stage)
    except (OSError, ValueError):
        connection.close()
    finally:
        for channel in channels:
            os.close(channel)


def _pass_on(client: socket.socket, process: int) -> None:
    """Send a stage the signal that its client sends, and end it where the client is gone."""
    words = b""
    with contextlib.suppress(OSError):
        words = client.recv(64)
    number = int(words.split()[-1]) if words else signal.SIGKILL
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, number)


def _reap(clients: dict[int, Client], progress: Progress) -> None:
    """Tell the clients whose stages ended how, and forget them."""
    with contextlib.suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            process, status = found
            client = clients.pop(process)
            with client.connection, contextlib.suppress(OSError):
                client.connection.sendall(f"{status}\n".encode())
            if client.stage is not None:
                progress.end(client.stage, status)


def _become(job: dict[str, Any], channels: list[int], inherited: list[socket.socket]) -> int:
    """Run the stage in this process, with the client's output, environment and folder.

    Connections close first: a client knows by its own that the server has died.
    """
    for connection in inherited:
        connection.close()
    for channel, standard in zip(channels, (1, 2), strict=True):
        os.dup2(channel, standard)
        os.close(channel)
    for key in KEPT:
        os.environ.pop(key, None)
    os.environ.update(job["environment"])
    os.chdir(job["folder"])
    verb, grid_file = job["verb"], Path(job["grid"])
    if job["cell"]:
        return run_stage(verb, grid_file, job["cell"])
    digest.forget()  # networks of the working directory may have changed since the server began
    _use_threads(os.environ.get("OMP_NUM_THREADS", ""))
    return run_verb(verb, grid_file)


def _use_threads(wanted: str) -> None:
    """Compute with the threads that the client's environment asks for: torch read the server's."""
    import torch

    if wanted.isdigit():
        torch.set_num_threads(int(wanted))


def _receive(connection: socket.socket, channels: list[int]) -> dict[str, Any]:
    """Return the job that a client sends; its standard output and error are added to `channels`."""
    received = b""
    while not received.endswith(b"\n"):
        part, ancillary, _, _ = connection.recvmsg(65536, socket.CMSG_SPACE(8))
        if not part:
            raise OSError("the client is gone")
        received += part
        for _, kind, data in ancillary:
            if kind == socket.SCM_RIGHTS:
                channels += array.array("i", data[: len(data) - len(data) % 4])
    return json.loads(received)


def code_state() -> str:
    """Return a text that changes when a file of this package does, or a kind of the working
    directory: their newest time of change, and their number.
    """
    files = [*Path(__file__).parents[1].rglob("*.py"), *Path("methods").glob("*.py")]
    return f"{len(files)} {max(path.stat().st_mtime_ns for path in files)}"
