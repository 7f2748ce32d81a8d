"""A stage of a cell in a child process; its parent reports its death and ends it with the run.

The child is a fork of a server that has imported torch and Lightning, where the run has one; else
of the command itself. What a run does with a whole grid, such as its tables, is a fork of the
server, too.
"""

import contextlib
import ctypes
import os
import platform
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from ttfs.errors import guarded

if TYPE_CHECKING:
    from ttfs.config import Stage

RUN = "TTFS_RUN"
"""Environment variable: host and process of the run that wants the cell, which ends with it."""
VIEWS = ("tables", "figures", "page", "publish")
"""Verbs of a grid that a run calls: its server, which has imported what they need, forks them."""
POLL = 0.05
"""Seconds between two looks at a child."""
_HANGUP = () if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else (signal.SIGHUP,)
ENDING = (signal.SIGTERM, signal.SIGINT, *_HANGUP)
"""Signals that ask a process to end; the end of its terminal is none under `nohup`."""


def supervise(stage: "Stage", grid_file: Path, name: str) -> int:
    """Run a stage in a child process and return its exit status.

    A child that a signal ends leaves a failure record, written here. Signals that end a process are
    passed on. If the run that asked for the cell has ended, the child is ended too.
    """
    from ttfs.stages.server import ask

    signals: list[int] = []
    with handed_on(signals.append):  # until the end: a second signal must not cost the record
        status = ask(stage, grid_file, name, signals)
        if status is None:
            status = wait(forked(lambda: run_stage(stage, grid_file, name)), signals)
        if not os.WIFSIGNALED(status):
            return os.WEXITSTATUS(status)
        from ttfs.stages.cells import record_death

        record_death(stage, grid_file, name, _death(status))
        return 1


def run_stage(stage: "Stage", grid_file: Path, name: str) -> int:
    """Run a stage here, in a process that does nothing else."""
    from ttfs.stages.cells import run

    keep_freed_memory()
    return run(stage, grid_file, name)


def on_grid(verb: str, grid_file: Path) -> int:
    """Run a verb of a grid, such as `tables`, in the server of a run where there is one, else
    here; return the exit status.
    """
    from ttfs.stages.server import SERVER, ask

    status: int | None = None
    signals: list[int] = []
    if SERVER in os.environ:
        with handed_on(signals.append):
            status = ask(verb, grid_file, "", signals)
    if status is None:
        return run_verb(verb, grid_file)
    if not os.WIFSIGNALED(status):
        return os.WEXITSTATUS(status)
    print(f"error: {verb}: {_death(status)}", file=sys.stderr)
    return 1


def run_verb(verb: str, grid_file: Path, **options: object) -> int:
    """Run a verb of a grid here; note which records its views are of."""
    from ttfs.config import load_grid
    from ttfs.results.seen import note_seen, records_of

    function = getattr(import_module(f"ttfs.stages.{verb}"), verb)
    grid = load_grid(grid_file)
    records = records_of(grid) if verb in VIEWS else None
    status = function(grid, **options) or 0
    if records is not None:
        note_seen(grid, verb, records)
    return status


def _death(status: int) -> str:
    """Return the words about a process that a signal has ended, by its wait status."""
    number = os.WTERMSIG(status)
    hint = " (out of memory, perhaps)" if number == signal.SIGKILL else ""
    return f"its process was ended by {signal.Signals(number).name}{hint}"


def forked(work: Callable[[], int]) -> int:
    """Start a child that does the work, and return its process.

    Signals wait meanwhile: what the child inherits from this process would swallow them.
    """
    parent = os.getpid()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        child = os.fork()
        if child == 0:
            _exit_with(work, parent, before)
        return child
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _exit_with(work: Callable[[], int], parent: int, mask: set) -> None:
    """Do the work in this process, a forked child, and end with its status; no code of the parent
    follows.
    """
    for number in ENDING:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    die_with(parent)
    status = 1
    try:
        status = _told(work)
    finally:
        os._exit(status)


def _told(work: Callable[[], int]) -> int:
    """Do the work and return its exit status, once all that is to be said of it is written."""
    try:
        status = guarded(work)
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()  # raises where the disk of a log is full
    sys.stderr.flush()
    return status


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent ends, on Linux; end where it has ended."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:  # before the kernel was told
        end_by(signal.SIGKILL)


def keep_freed_memory() -> None:
    """Have malloc keep what is freed for the next step of a training, with glibc.

    As it comes, malloc hands large blocks back to the kernel, which fills them with zeros when it
    is asked for them again: about a quarter of a step of α1 and leaky networks, and little of one
    of ReLU and B1 networks, whose blocks are fewer (`benchmarks/malloc.py`).
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(-3, 10**9)  # M_MMAP_THRESHOLD: larger blocks are mappings of their own
        mallopt(-1, 10**9)  # M_TRIM_THRESHOLD: bytes free at the end of the heap


def end_by(number: int) -> None:
    """End this process by a signal, as one that does not heed it."""
    if number != signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def wait(child: int, signals: list[int]) -> int:
    """Wait for a child; pass on to it the signals that come, and end it where the run or this
    process's parent has ended.
    """
    orphaned = watch()
    while True:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return status
        if orphaned():
            signals.append(signal.SIGKILL)
        while signals:
            os.kill(child, signals.pop(0))
        time.sleep(POLL)


@contextlib.contextmanager
def handed_on(end: Callable[[int], None]):
    """Pass the signals that end this process on instead."""

    def hand_on(number: int, frame: object) -> None:
        with contextlib.suppress(OSError):
            end(number)

    before = {number: signal.signal(number, hand_on) for number in ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def watch() -> Callable[[], bool]:
    """Return a function that tells whether the parent of this process, or its run, has ended."""
    host, _, number = os.environ.get(RUN, "").rpartition(":")
    here = number.isdigit() and host == platform.node()  # on a cluster the run is elsewhere
    run, parent = int(number) if here else None, os.getppid()
    return lambda: os.getppid() != parent or (run is not None and not alive(run))


def this_run() -> str:
    """Return the name of this process as a run: host and process number, for `RUN`."""
    return f"{platform.node()}:{os.getpid()}"


def alive(process: int) -> bool:
    """Return whether a process runs; one that ended and whose parent has not asked how does not."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    with contextlib.suppress(OSError):
        stat = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
        return stat.rpartition(")")[2].split()[0] not in ("Z", "X")
    return True


def connect(path: str) -> socket.socket | None:
    """Return a connection to the server of a run, None where there is none."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(path)
    except OSError:
        connection.close()
        return None
    return connection
