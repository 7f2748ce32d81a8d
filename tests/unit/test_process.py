"""A stage ends with its run, where the run is on this machine."""

import os
import platform
import signal
import socket
import subprocess
import sys
import time

import pytest

from ttfs.stages.process import RUN, this_run, watch
from ttfs.stages.server import SERVER

DEAD = 2**22 + 1  # above the largest process number of Linux


@pytest.mark.parametrize(
    ("run", "gone"),
    [
        (this_run(), False),
        (f"{platform.node()}:{DEAD}", True),
        (f"another-node:{DEAD}", False),  # a job of a cluster inherits the name of its run
        ("", False),
    ],
    ids=["here", "ended", "elsewhere", "none"],
)
def test_a_stage_notices_the_end_of_a_run_on_its_machine(monkeypatch, run, gone):
    monkeypatch.setenv(RUN, run)
    assert watch()() == gone


CLIENT = """
import sys
from pathlib import Path
from ttfs.stages.server import ask
print(ask("make", Path("grid.yaml"), "cell"))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stage_that_waits_for_a_server_ends_at_a_signal(tmp_path, number):
    """A server that still imports answers nothing; the signal must not be lost with it."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        server.listen()
        server.settimeout(60)
        environment = os.environ | {SERVER: str(tmp_path / "socket")}
        words = [sys.executable, "-c", CLIENT]
        with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE) as client:
            connection, _ = server.accept()
            with connection:
                connection.recv(1)  # it has asked, and waits
                time.sleep(0.2)
                client.send_signal(number)
                said, _ = client.communicate(timeout=60)
    assert os.WTERMSIG(int(said)) == number


PRELOAD = """
import sys
from pathlib import Path

import yaml

from ttfs.stages.server import _preload
_preload(Path("configs/quick.yaml"))
yaml.load = yaml.safe_load = None  # what follows parses no text twice
from ttfs.config import load_grid
load_grid("configs/quick.yaml")
print("mlflow.store.tracking.sqlalchemy_store" in sys.modules)
"""


FAULTS = """
import resource, torch
from ttfs.stages.process import keep_freed_memory
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.ones(10_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
usual = faults()
keep_freed_memory()
faults()
print(usual, faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="malloc here is not glibc's")
def test_freed_memory_is_kept_for_the_next_tensor():
    """The kernel hands out pages one fault at a time."""
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True)
    usual, kept = map(int, done.stdout.split())
    assert kept < usual / 10


def test_a_server_has_read_the_grid_and_imported_the_store_of_runs():
    """Each training would import it anew, in a second, and each stage parse the schemas."""
    done = subprocess.run([sys.executable, "-c", PRELOAD], capture_output=True, text=True)
    assert done.stdout.strip() == "True", done.stderr
