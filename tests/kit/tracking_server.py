"""An MLflow server, for as long as a block runs."""

import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from kit.processes import path_of_programs


@contextmanager
def served(words: list[str], address: str, folder: Path) -> Iterator[None]:
    """Start a server by its command, wait until it answers, and end it with the block."""
    log = folder / "server.log"
    mine = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "PATH": path_of_programs()}
    with log.open("wb") as out:
        run = subprocess.Popen(words, cwd=folder, env=os.environ | mine, stdout=out, stderr=out)
    try:
        _wait_for(address, run, log)
        yield
    finally:
        if run.poll() is None:
            for process in [*psutil.Process(run.pid).children(recursive=True), run]:
                process.kill()
        run.wait()


def _wait_for(address: str, run: subprocess.Popen, log: Path) -> None:
    for _ in range(600):
        assert run.poll() is None, log.read_text()
        try:
            urllib.request.urlopen(f"{address}/health", timeout=5).close()
            return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.2)
    raise AssertionError(log.read_text())
