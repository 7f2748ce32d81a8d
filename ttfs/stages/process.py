"""A stage of a cell in a process of its own, whose parent tells of its death and ends it with the run."""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from ttfs.results.state import Stage

RUN = "TTFS_RUN"
"""Environment variable: the process of the run that wants the cell; the cell ends with it."""
POLL = 0.1


def supervise(stage: Stage, grid_file: Path, name: str) -> int:
    """Run a stage in a child process and return its exit status.

    A child that a signal ends leaves a failure record, written here. SIGTERM and SIGINT are handed on. If the run that
    asked for the cell is gone, the child is ended.
    """
    child = os.fork()
    if child == 0:
        _exit_with(lambda: _run(stage, grid_file, name))
    status = _wait(child, _run_process())
    if os.WIFSIGNALED(status):
        from ttfs.stages.cells import record_death

        number = os.WTERMSIG(status)
        cause = f"its process was ended by {signal.Signals(number).name}"
        hint = " (out of memory, perhaps)" if number == signal.SIGKILL else ""
        record_death(stage, grid_file, name, cause + hint)
        return 1
    return os.WEXITSTATUS(status)


def _run(stage: Stage, grid_file: Path, name: str) -> int:
    from ttfs.stages.cells import run

    return run(stage, grid_file, name)


def _exit_with(work: Callable[[], int]) -> None:
    """End this process, a forked child, with the status of the work; nothing of the parent's runs on in it."""
    from ttfs.__main__ import guarded

    status = 1
    try:
        status = guarded(work)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)


def _run_process() -> int | None:
    text = os.environ.get(RUN, "")
    return int(text) if text.isdigit() else None


def _wait(child: int, run: int | None) -> int:
    """Wait for the child; end it where the run is gone, or where this process is told to end."""

    def hand_on(number: int, frame: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, hand_on)
    parent = os.getppid()
    while True:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return status
        if os.getppid() != parent or (run is not None and not _alive(run)):
            os.kill(child, signal.SIGKILL)
        time.sleep(POLL)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
