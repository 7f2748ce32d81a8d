"""A process that has imported torch and Lightning once, and forks a child for each stage of a cell.

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
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ttfs.errors import UserError
from ttfs.stages.process import POLL, alive, connect, exit_with, handed_on, run_stage, watch

if TYPE_CHECKING:
    from ttfs.config import Stage

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
LINES = 40
"""Lines of progress of a run, at most, where they stay: in a file, in the log of a cluster."""
KEPT = ("TTFS_DATA", "TTFS_RUN", "MLFLOW_TRACKING_URI", "OMP_NUM_THREADS")
"""Environment variables of a stage that its child has too."""


def ask(stage: "Stage", grid_file: Path, name: str) -> int | None:
    """Have the server run a stage; return the child's wait status, None where no server takes
    it.
    """
    connection = connect(os.environ.get(SERVER, "/nowhere"))
    if connection is None:
        return None
    environment = {key: os.environ[key] for key in KEPT if key in os.environ}
    job = {
        "stage": stage,
        "grid": str(grid_file),
        "cell": name,
        "folder": str(Path.cwd()),
        "environment": environment,
        "code": code_state(),
    }
    with connection:
        channels = array.array("i", [sys.stdout.fileno(), sys.stderr.fileno()])
        message = json.dumps(job).encode() + b"\n"
        connection.sendmsg([message], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, channels)])
        answer = _answer(connection)
    return None if answer in (None, "stale") else int(answer)


def _answer(connection: socket.socket) -> str | None:
    """Wait for the status of the child; pass signals on. If the run has ended, leave, which ends
    the child.

    A signal that comes before the server has begun, as while it imports, ends the stage here.
    """
    orphaned, received = watch(), b""
    ended: list[int] = []

    def pass_on(number: int) -> None:
        if received:
            connection.sendall(f"{number}\n".encode())
        else:
            ended.append(number)

    with handed_on(pass_on):
        while not received.endswith(b"\n"):
            if ended or orphaned():
                return str(int(ended[0] if ended else signal.SIGKILL))
            if select.select([connection], [], [], POLL)[0]:
                part = connection.recv(64)
                if not part:
                    # The server died, and its children with it; before it began, another may do it.
                    return str(int(signal.SIGKILL)) if received else None
                received += part
    return received.decode().split()[-1]


def serve(path: str, run: int, jobs: int, grid_file: Path) -> None:
    """Listen on a socket until the run of a grid ends, and print the progress of its jobs on
    standard error.
    """
    progress = Progress(jobs)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)  # first: stages that come while it imports wait
        listener.listen(128)
        listener.settimeout(0.5)
        code = code_state()
        _preload(grid_file)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the terminal: the run decides
        while alive(run):
            with contextlib.suppress(TimeoutError):
                connection, _ = listener.accept()
                if os.fork() == 0:
                    listener.close()
                    _keep(connection, code)
                connection.close()
                progress.running += 1
            progress.ended(_reaped())
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

    for kind in kinds():  # the modules behind digests are read once, too
        for stage in ("make", "evaluate", "deploy"):
            kind_digest(stage, kind, "ttfs.data.dataset", "ttfs.models", "ttfs.seeds")
    with contextlib.suppress(UserError):  # its stages say what is wrong
        load_grid(grid_file)


def _reaped() -> list[int]:
    """The exit statuses of keepers that ended: 0 where the stage did, else another one."""
    statuses = []
    with contextlib.suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            statuses.append(found[1])
    return statuses


@dataclass
class Progress:
    """The progress of a run: one line, rewritten on a terminal, and printed now and then
    elsewhere.
    """

    jobs: int
    done: int = 0
    failed: int = 0
    running: int = 0
    began: float = field(default_factory=time.monotonic)
    told: float = 0.0
    share: int = 0

    def ended(self, statuses: Sequence[int]) -> None:
        """Count stages that ended."""
        self.running -= len(statuses)
        self.failed += sum(status != 0 for status in statuses)
        self.done += sum(status == 0 for status in statuses)

    def tell(self) -> None:
        """Write the line, if the last one is old enough; where lines stay, if a share of LINES of
        the stages has ended since.
        """
        terminal = sys.stderr.isatty()
        now, ended = time.monotonic(), self.done + self.failed
        if now - self.told < (0.5 if terminal else 15.0) or not ended:
            return
        share = LINES * ended // self.jobs
        if not terminal and share == self.share:
            return
        self.told, self.share = now, share
        left = (now - self.began) / ended * (self.jobs - ended)
        line = (
            f"{self.done} of {self.jobs} stages done, {self.running} running, {self.failed} "
            f"failed, about {int(left // 60)}:{int(left % 60):02d} left"
        )
        print(
            f"\r{line}\033[K" if terminal else line,
            end="" if terminal else "\n",
            file=sys.stderr,
            flush=True,
        )


def _keep(connection: socket.socket, code: str) -> None:
    """Run the stage that a client asks for in a child of this process, and send its status."""
    status = 1
    try:
        job, channels = _receive(connection)
        if job["code"] != code:
            connection.sendall(b"stale\n")
            status = 0
            return
        connection.sendall(b"started ")
        child = os.fork()
        if child == 0:
            connection.close()
            _become(job, channels)
        for channel in channels:
            os.close(channel)
        status = _tend(connection, child)
        connection.sendall(f"{status}\n".encode())
    except OSError:
        pass
    finally:
        os._exit(0 if status == 0 else 1)


def _tend(connection: socket.socket, child: int) -> int:
    """Wait for the child; pass on the signals that the client sends, and end it where the client is
    gone.
    """
    while True:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return status
        if select.select([connection], [], [], POLL)[0]:
            words = connection.recv(64).split()
            number = int(words[-1]) if words else signal.SIGKILL
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, number)
            if not words:
                os.waitpid(child, 0)
                raise OSError("the client is gone")


def _become(job: dict[str, Any], channels: list[int]) -> None:
    """Run the stage in this process, with the client's output, environment and folder."""
    for channel, standard in zip(channels, (1, 2), strict=True):
        os.dup2(channel, standard)
        os.close(channel)
    for key in KEPT:
        os.environ.pop(key, None)
    os.environ.update(job["environment"])
    os.chdir(job["folder"])
    exit_with(lambda: run_stage(job["stage"], Path(job["grid"]), job["cell"]))


def _receive(connection: socket.socket) -> tuple[dict[str, Any], list[int]]:
    received, channels = b"", list[int]()
    while not received.endswith(b"\n"):
        part, ancillary, _, _ = connection.recvmsg(65536, socket.CMSG_SPACE(8))
        if not part:
            raise OSError("the client is gone")
        received += part
        for _, kind, data in ancillary:
            if kind == socket.SCM_RIGHTS:
                channels += array.array("i", data[: len(data) - len(data) % 4])
    return json.loads(received), list(channels)


def code_state() -> str:
    """Return a text that changes when a file of this package does: its newest time of change, and
    their number.
    """
    newest = count = 0
    for path in Path(__file__).parents[1].rglob("*.py"):
        count += 1
        newest = max(newest, path.stat().st_mtime_ns)
    return f"{count} {newest}"
