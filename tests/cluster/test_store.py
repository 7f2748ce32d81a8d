"""An MLflow server on PostgreSQL, and sixteen jobs that log to it at once."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from kit.ports import free_port
from kit.postgres import Postgres
from kit.tracking_server import served

from ttfs.results.record import CURVE_COLUMNS

pytestmark = pytest.mark.skipif(
    not os.environ.get("TTFS_TEST_CLUSTER"),
    reason="starts services on this machine; run it by make test-cluster",
)

JOBS, EPOCHS = 16, 25
PROGRAM = """\
import sys
from ttfs.config import Cell
from ttfs.results.record import CURVE_COLUMNS
from ttfs.results.tracking import LiveRun

job, epochs = int(sys.argv[1]), int(sys.argv[2])
cell = Cell("digits", "fc2", "ann", job)
with LiveRun("shared", cell, {"train": {"epochs": epochs}}) as live:
    sys.stdin.readline()  # until all have begun
    for epoch in range(1, epochs + 1):
        live.log(epoch, {name: job + epoch / place for place, name in enumerate(CURVE_COLUMNS, 1)})
"""


@pytest.fixture
def server(database_server: Postgres, tmp_path: Path) -> Iterator[str]:
    """The address of an MLflow server that keeps its runs in PostgreSQL."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    words = ["--host", "127.0.0.1", "--port", str(port), "--backend-store-uri", database_server.uri]
    command = [sys.executable, "-m", "mlflow", "server", *words, "--workers", "1"]
    with served(command, address, tmp_path):
        yield address


def test_each_run_and_metric_of_sixteen_jobs_at_once_is_in_the_store(
    server: str, database_server: Postgres, tmp_path: Path
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
    runs, points = _counted(database_server.uri)
    assert runs == {f"ann · fc2 · digits · seed {job}": "FINISHED" for job in range(JOBS)}
    wanted = {
        (f"ann · fc2 · digits · seed {job}", f"training/{name}", epoch): job + epoch / place
        for job in range(JOBS)
        for epoch in range(1, EPOCHS + 1)
        for place, name in enumerate(CURVE_COLUMNS, 1)
    }
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
