"""An MLflow server on PostgreSQL, and sixteen jobs that log to it at once."""

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from kit import postgres
from kit.ports import free_port

pytestmark = pytest.mark.skipif(
    not os.environ.get("TTFS_TEST_CLUSTER"),
    reason="starts services on this machine; run it by make test-cluster",
)

JOBS, EPOCHS = 16, 25
PROGRAM = """\
import sys
from ttfs.config import Cell
from ttfs.results.tracking import LiveRun

job, epochs = int(sys.argv[1]), int(sys.argv[2])
cell = Cell("digits", "fc2", "ann", job)
with LiveRun("shared", cell, {"train": {"epochs": epochs}}) as live:
    sys.stdin.readline()  # until all have begun
    for epoch in range(1, epochs + 1):
        live.log(epoch, {"train_loss": 1.0 / (job + epoch), "validation_accuracy": float(epoch)})
"""


@pytest.fixture
def database() -> Iterator[str]:
    """The URI of an empty PostgreSQL database, whose server is started for it."""
    reason = postgres.missing()
    if reason:
        pytest.skip(reason)
    with postgres.started() as uri:
        yield uri


@pytest.fixture
def server(database: str, tmp_path: Path) -> Iterator[str]:
    """The address of an MLflow server that keeps its runs in PostgreSQL."""
    port = free_port()
    words = ["--host", "127.0.0.1", "--port", str(port), "--backend-store-uri", database]
    with (tmp_path / "server.log").open("wb") as log:
        run = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", *words, "--workers", "1"],
            cwd=tmp_path, stdout=log, stderr=log,
            env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        )  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(address, run, tmp_path / "server.log")
        yield address
    finally:
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


def test_each_run_and_metric_of_sixteen_jobs_at_once_is_in_the_store(
    server: str, database: str, tmp_path: Path
):
    jobs = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(job), str(EPOCHS)], cwd=tmp_path, text=True,
            env=os.environ | {"MLFLOW_TRACKING_URI": server},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
        for job in range(JOBS)
    ]  # fmt: skip
    said = [job.communicate("go\n", timeout=300)[0] for job in jobs]
    assert [job.returncode for job in jobs] == [0] * JOBS, said
    assert said == [""] * JOBS
    runs, points = _counted(database)
    assert runs == {f"digits/fc2/ann/seed{job}": "FINISHED" for job in range(JOBS)}
    wanted = {
        (f"digits/fc2/ann/seed{job}", name, epoch): value
        for job in range(JOBS)
        for epoch in range(1, EPOCHS + 1)
        for name, value in {
            "train_loss": 1.0 / (job + epoch), "validation_accuracy": float(epoch),
        }.items()
    }  # fmt: skip
    assert points == wanted


def _counted(database: str) -> tuple[dict[str, str], dict[tuple[str, str, int], float]]:
    """Return {run: status} and {(run, metric, step): value}, read from PostgreSQL itself."""
    from sqlalchemy import create_engine, text

    with create_engine(database).connect() as connection:
        runs = connection.execute(text("SELECT name, status FROM runs")).all()
        points = connection.execute(
            text(
                "SELECT r.name, m.key, m.step, m.value FROM metrics m JOIN runs r USING (run_uuid)"
            )
        ).all()
    assert len({name for name, _ in runs}) == len(runs)
    values = {(name, key, step): value for name, key, step, value in points}  # type: ignore[misc]
    return dict(runs), values
