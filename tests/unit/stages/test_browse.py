"""browse: links to MLflow's page of a grid, and the server behind them."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from kit.ports import free_port
from kit.stages import GRID

import ttfs
from ttfs.__main__ import main
from ttfs.results import tracking
from ttfs.stages.browse import HOST

VIEW = ("All results", "#/experiments/1/runs?viewStateShareKey=results")


def experiments(server: str, **headers: str) -> int:
    """Ask a server for its experiments, as its page does; return the status of the answer."""
    address = f"{server}/ajax-api/2.0/mlflow/experiments/search"
    headers |= {"Host": f"{headers['Host']}:{server.rpartition(':')[2]}"}
    content = {"Content-Type": "application/json", **headers}
    asked = urllib.request.Request(address, b'{"max_results": 5}', content)
    try:
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


@contextmanager
def greeter() -> Iterator[int]:
    """A program that says a line to whoever connects, and is no web server; its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet() -> None:
            try:
                while True:
                    with listener.accept()[0] as caller:
                        caller.recv(1024)
                        caller.sendall(b"220 ready\r\n")
            except OSError:  # the listener is closed
                return

        thread = threading.Thread(target=greet)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_a_port_that_is_taken_is_refused(little: Path, monkeypatch, capsys):
    monkeypatch.setattr(tracking, "view_links", lambda grid: [VIEW])
    with greeter() as port:
        assert main(["browse", GRID, "--no-open", "--port", str(port)]) == 2
    error = capsys.readouterr().err
    assert error == f"error: port {port}: something else answers there; give another --port\n"


def test_runs_on_a_server_open_there(little: Path, monkeypatch, capsys):
    opened: list[str] = []
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9/")
    monkeypatch.setattr(tracking, "view_links", lambda grid: [VIEW])
    monkeypatch.setattr(webbrowser, "open", opened.append)
    assert main(["browse", GRID]) == 0
    assert opened == [f"http://127.0.0.1:9/{VIEW[1]}"]
    assert capsys.readouterr().out == f"All results:\n  {opened[0]}\n"


def test_a_grid_that_was_not_published_says_so(little: Path, capsys):
    assert main(["browse", GRID, "--no-open"]) == 2
    assert re.fullmatch(
        r"error: grid little: no runs in sqlite:.*`ttfs publish` it, first\n",
        capsys.readouterr().err,
    )


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_the_store_is_served_until_the_user_ends_it(little: Path, ending: signal.Signals):
    assert main(["publish", GRID]) == 0
    server = f"http://127.0.0.1:{free_port()}"
    environment = os.environ | {"PYTHONPATH": str(Path(ttfs.__file__).parents[1])}
    command = [sys.executable, "-m", "ttfs", "browse", GRID, "--no-open", "--port"]
    with subprocess.Popen(
        [*command, server.rpartition(":")[2]],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as browsing:
        assert browsing.stdout is not None
        try:
            assert browsing.stdout.readline() == "All results, seeds below their mean:\n"
            link = browsing.stdout.readline().strip()
            assert link.startswith(f"{server.replace('127.0.0.1', HOST)}/#/experiments/")
            for name in (server, server.replace("127.0.0.1", "localhost")):
                with urllib.request.urlopen(name, timeout=60) as answer:
                    assert answer.status == 200  # also behind a tunnel
            assert experiments(server, Host=HOST, Origin=link.partition("/#")[0]) == 200
            assert experiments(server, Host="example.org") == 403
            with urllib.request.urlopen(f"{server}/version", timeout=60) as answer:
                assert re.fullmatch(r"\d+\.\d+\.\d+", answer.read().decode())
        finally:
            browsing.send_signal(ending)
    assert browsing.returncode == 0
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(server, timeout=5)
