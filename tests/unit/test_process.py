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
from ttfs.stages.process import handed_on
from ttfs.stages.server import ask
signals = []
with handed_on(signals.append):
    print(ask("make", Path("grid.yaml"), "cell", signals))
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


SUPERVISE = """
import os, sys, time
from pathlib import Path
from ttfs.stages import cells, process

def record_death(stage, grid_file, name, cause):
    print("writes", flush=True)
    time.sleep(0.5)
    print(cause, flush=True)

def slow_fork():
    child = fork()
    if child == 0 and "child" in sys.argv:
        print("forked", flush=True)
    if ("child" if child == 0 else "parent") in sys.argv:
        time.sleep(1)
    return child

cells.record_death = record_death
process.run_stage = lambda *words: print("runs", flush=True) or time.sleep(60) or 0
fork, os.fork = os.fork, slow_fork
sys.exit(process.supervise("make", Path("grid.yaml"), "cell"))
"""


def supervised(*words: str, before: tuple[str, ...] = ()) -> subprocess.Popen:
    """Start a stage of a minute, without a server; `words` say who is slow after the fork."""
    environment = {key: value for key, value in os.environ.items() if key not in (SERVER, RUN)}
    words = (*before, sys.executable, "-c", SUPERVISE, *words)
    return subprocess.Popen(
        words, env=environment, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip


def cause(stage: subprocess.Popen) -> str:
    """Return the signal in the failure record of a stage, its last line."""
    said, _ = stage.communicate(timeout=60)
    return said.split()[-1]


@pytest.mark.parametrize("slow", ["parent", "child"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_right_after_the_fork_ends_the_stage_and_leaves_a_record(slow, number):
    stage = supervised(slow)
    assert stage.stdout.readline() in ("runs\n", "forked\n")
    stage.send_signal(number)
    assert cause(stage) == number.name


def test_a_second_signal_does_not_cost_the_failure_record():
    stage = supervised()
    for line in ("runs\n", "writes\n"):
        assert stage.stdout.readline() == line
        stage.send_signal(signal.SIGTERM)
    assert cause(stage) == "SIGTERM"


def test_a_stage_does_not_begin_where_its_parent_has_ended():
    """Not even where it ends before the kernel is told to end the stage with it."""
    stage = supervised("child")
    assert stage.stdout.readline() == "forked\n"
    stage.kill()
    assert stage.communicate(timeout=60)[0] == ""


def test_a_stage_under_nohup_outlives_its_terminal():
    stage = supervised(before=("nohup",))
    assert stage.stdout.readline() == "runs\n"
    stage.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    assert stage.poll() is None
    stage.send_signal(signal.SIGTERM)
    assert cause(stage) == "SIGTERM"


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
