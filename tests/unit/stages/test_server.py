"""The server of a run: stages at the same time, their signals, and clients that are gone."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ttfs.stages.process import alive
from ttfs.stages.server import SERVER

SERVE = """
import os, sys, time
from pathlib import Path
from ttfs.stages import server

def stage(verb, grid_file, name):
    print("runs", name, os.getpid(), flush=name != "unsaid")
    if name == "fault":
        raise OSError("a fault of the program")
    while name == "long" and not Path("end").exists():
        time.sleep(0.01)
    return int(name) if name.isdigit() else 0

def slow_fork():
    child = fork()
    if child == 0 and Path("slow").exists():
        Path("forked").touch()
        time.sleep(1)
    return child

fork, os.fork = os.fork, slow_fork
server._preload = lambda grid_file: time.sleep(float(sys.argv[3]))
server.run_stage = stage
server.run_verb = lambda verb, grid_file: stage(verb, grid_file, Path("name").read_text())
server.serve(sys.argv[1], int(sys.argv[2]), [], Path("grid.yaml"))
"""
ASK = """
import sys
from pathlib import Path
from ttfs.stages.process import handed_on
from ttfs.stages.server import ask
signals = []
with handed_on(signals.append):
    print("status", ask("make", Path("grid.yaml"), sys.argv[1], signals), flush=True)
"""

ON_GRID = """
import os, sys
from pathlib import Path
from ttfs.stages import process
process.run_verb = lambda verb, grid_file: print(verb, "by itself") or 7
sys.exit(process.on_grid("tables", Path("grid.yaml")))
"""


class Served:
    """A server in a folder, for a run that is this process or another one."""

    def __init__(self, folder: Path, importing: float = 0):
        self.folder, self.path = folder, folder / "place" / "socket"
        self.path.parent.mkdir()
        self.run = subprocess.Popen(["sleep", "600"])
        words = [sys.executable, "-c", SERVE, str(self.path), str(self.run.pid), str(importing)]
        buffered = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
        self.process = subprocess.Popen(words, cwd=folder, env=buffered)
        until(self.path.exists)

    def ask(self, name: str) -> subprocess.Popen:
        """Start a client that asks for the stage of a cell."""
        return subprocess.Popen(
            [sys.executable, "-c", ASK, name],
            cwd=self.folder, env=os.environ | {SERVER: str(self.path)},
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def on_grid(self, name: str, program: str = ON_GRID, **streams: Any) -> subprocess.Popen:
        """Start a client that asks for the tables of a grid, which do what a stage of the name
        does.
        """
        (self.folder / "name").write_text(name)
        to = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams
        environment = os.environ | {SERVER: str(self.path)}
        words = [sys.executable, "-c", program]
        return subprocess.Popen(words, cwd=self.folder, env=environment, text=True, **to)

    def end(self) -> None:
        """End the run, and the server with it."""
        self.run.kill()
        self.run.wait()
        self.process.wait(60)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """A server that runs made-up stages: of cell `long` until the file `end` is there, of cell 3
    with exit status 3.
    """
    served = Served(tmp_path)
    yield served
    served.end()


def until(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def begun(client: subprocess.Popen) -> int:
    """Wait until the stage of a client runs; return its process."""
    return int(client.stdout.readline().split()[-1])


def status(client: subprocess.Popen) -> int:
    """Return the wait status that a client gets."""
    return int(client.communicate(timeout=60)[0].split()[-1])


def test_stages_run_at_the_same_time_and_each_client_gets_its_status(served):
    long = served.ask("long")
    process = begun(long)
    assert [os.waitstatus_to_exitcode(status(served.ask(name))) for name in "030"] == [0, 3, 0]
    assert alive(process)
    (served.folder / "end").touch()
    assert status(long) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_reaches_the_stage_of_its_client_alone(served, number):
    first, second = served.ask("long"), served.ask("long")
    processes = [begun(client) for client in (first, second)]
    second.send_signal(number)
    assert os.WTERMSIG(status(second)) == number
    assert [alive(process) for process in processes] == [True, False]
    (served.folder / "end").touch()
    assert status(first) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_reaches_a_stage_that_is_about_to_run(served, number):
    """The server does not heed SIGINT, and its child was born so: the signal must wait."""
    (served.folder / "slow").touch()
    client = served.ask("long")
    until((served.folder / "forked").exists)
    client.send_signal(number)
    assert os.WTERMSIG(status(client)) == number


def test_the_stage_of_a_client_that_is_gone_ends_and_the_others_go_on(served):
    """A client that came before the other holds no end of the other's connection open."""
    first, second = served.ask("long"), None
    process = begun(first)
    second = served.ask("long")
    other = begun(second)
    for client, its in ((first, process), (second, other)):
        client.kill()
        client.communicate()
        until(lambda its=its: not alive(its))
        assert os.waitstatus_to_exitcode(status(served.ask("3"))) == 3


def test_stages_end_with_their_server_and_clients_know(served):
    clients = [served.ask("long"), served.ask("long")]
    processes = [begun(client) for client in clients]
    served.process.kill()
    assert [os.WTERMSIG(status(client)) for client in clients] == [signal.SIGKILL] * 2
    until(lambda: not any(map(alive, processes)))


def test_a_client_knows_of_a_server_that_died_before_it_read_a_signal(served):
    """The kernel tells it of its own words that nobody read."""
    client = served.ask("long")
    begun(client)
    served.process.send_signal(signal.SIGSTOP)
    client.send_signal(signal.SIGTERM)
    time.sleep(0.5)  # passed on, to nobody
    served.process.kill()
    assert os.WTERMSIG(status(client)) == signal.SIGKILL


def test_a_stage_whose_server_dies_while_it_imports_runs_by_itself(tmp_path):
    served = Served(tmp_path, importing=600)
    client = served.ask("long")
    time.sleep(2)  # the client has asked, and waits
    served.process.kill()
    assert client.communicate(timeout=60)[0] == "status None\n"
    served.end()


def test_a_server_ends_with_its_run_and_takes_its_folder_away(served):
    client = served.ask("long")
    process = begun(client)
    served.end()
    assert not served.path.parent.exists()
    until(lambda: not alive(process))
    assert os.WTERMSIG(status(client)) == signal.SIGKILL


def test_a_client_of_newer_code_runs_its_stage_by_itself(served):
    newer = ASK.replace("print(", "from ttfs.stages import server; server.code_state = str; print(")
    words = [sys.executable, "-c", newer, "0"]
    environment = os.environ | {SERVER: str(served.path)}
    done = subprocess.run(words, cwd=served.folder, env=environment, capture_output=True, text=True)
    assert done.stdout == "status None\n"


def test_what_a_run_does_with_its_grid_is_a_child_of_the_server(served):
    client = served.on_grid("3")
    said, errors = client.communicate(timeout=60)
    assert (client.returncode, errors) == (3, "")
    assert said.startswith("runs 3 ")


def test_a_view_whose_process_is_killed_says_so(served):
    client = served.on_grid("long")
    os.kill(begun(client), signal.SIGKILL)
    assert client.communicate(timeout=60)[1].startswith(
        "error: tables: its process was ended by SIGKILL (out of memory, perhaps)"
    )
    assert client.returncode == 1


def test_tables_without_a_server_are_made_by_the_command_itself(served):
    served.end()
    client = served.on_grid("3")
    assert client.communicate(timeout=60)[0] == "tables by itself\n"
    assert client.returncode == 7


def test_a_fault_of_a_view_is_told(served):
    client = served.on_grid("fault")
    said, errors = client.communicate(timeout=60)
    assert (client.returncode, said.split()[:2]) == (1, ["runs", "fault"])
    assert errors.startswith("Traceback")
    assert errors.endswith("OSError: a fault of the program\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_view_whose_words_do_not_fit_onto_the_disk_has_failed(served):
    with Path("/dev/full").open("w") as full:
        client = served.on_grid("unsaid", stdout=full)
        client.communicate(timeout=60)
    assert client.returncode == 1


def test_a_view_that_has_no_standard_output_is_made_by_the_command_itself(served):
    client = served.on_grid("3", "import sys; sys.stdout = None" + ON_GRID)
    client.communicate(timeout=60)
    assert client.returncode == 7


def test_a_view_is_made_by_newer_code_of_a_kind_of_the_working_directory(served):
    assert status(served.ask("0")) == 0  # so the server has seen the folder as it was
    (served.folder / "methods").mkdir()
    (served.folder / "methods" / "mine.py").touch()
    client = served.on_grid("3")
    assert client.communicate(timeout=60)[0] == "tables by itself\n"
