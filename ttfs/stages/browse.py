"""browse: MLflow's page on the runs of a grid, opened where the numbers are."""

import http.client
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
import webbrowser

from ttfs.config import Grid
from ttfs.errors import UserError
from ttfs.results import tracking
from ttfs.stages.process import handed_on

HOST = "mlflow.localhost"
"""The name of this machine in links; browsers know all names below localhost. On a page from
``localhost`` itself MLflow opens a pane, its assistant, over a third of the width.
"""
WAIT = 60.0
"""How long MLflow's server may take to answer, in seconds."""


def browse(grid: Grid, published: bool = False, no_open: bool = False, port: int = 5000) -> int:
    """Serve the store of a grid, print the links of its views, and open the first in a browser.

    The published results are a page that is made from their records, without a server. Raises
    UserError if the grid has no run in the store, or the port is taken.
    """
    if published:
        from ttfs.stages.site import SITE, site

        site()
        return _show((SITE / "index.html").resolve().as_uri(), no_open)
    uri = tracking.tracking_uri()
    views = tracking.view_links(grid.name)
    if uri.startswith("http"):
        _print(views, uri)
        return _show(f"{uri.rstrip('/')}/{views[0][1]}", no_open)
    server = f"http://127.0.0.1:{port}"
    if _answers(server):
        raise UserError(f"port {port}: something else answers there; give another --port")
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri]
    command += ["--port", str(port), "--workers", "1"]
    link = f"http://{HOST}:{port}"
    command += ["--allowed-hosts", f"localhost:*,127.0.0.1:*,{HOST}:*"]
    command += ["--cors-allowed-origins", link]
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    running = subprocess.Popen(
        command, env=os.environ | quiet, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        with handed_on(_leave):
            _wait(server, running)
            _print(views, link)
            _show(f"{link}/{views[0][1]}", no_open)
            return running.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        running.terminate()
        running.wait()


def _leave(number: int) -> None:
    """End as Ctrl-C does, whichever signal it is, so that no server stays behind."""
    raise KeyboardInterrupt


def _print(views: list[tuple[str, str]], server: str) -> None:
    for name, link in views:
        print(f"{name}:\n  {server.rstrip('/')}/{link}", flush=True)


def _show(link: str, no_open: bool) -> int:
    if no_open:
        print(link, flush=True)
    else:
        webbrowser.open(link)
    return 0


def _answers(server: str) -> bool:
    try:
        with urllib.request.urlopen(server, timeout=2):
            return True
    except (urllib.error.HTTPError, http.client.HTTPException):  # also what is no web server
        return True
    except OSError:
        return False


def _wait(server: str, running: subprocess.Popen) -> None:
    started = time.monotonic()
    while not _answers(server):
        if running.poll() is not None or time.monotonic() - started > WAIT:
            raise UserError(f"{server}: MLflow's server does not answer; try another --port")
        time.sleep(0.2)
