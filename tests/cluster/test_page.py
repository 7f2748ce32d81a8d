"""docs/cluster.md, followed through a real Slurm and a real PostgreSQL."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml
from kit.pages import block
from kit.ports import free_port
from kit.postgres import Postgres
from kit.sandbox import CHIP, GRID, Sandbox
from kit.slurm import Slurm
from kit.tracking_server import served
from sqlalchemy import create_engine, inspect, text

from ttfs.results.record import read

pytestmark = pytest.mark.skipif(
    not os.environ.get("TTFS_TEST_CLUSTER"),
    reason="starts services on this machine; run it by make test-cluster",
)

PAGE = "cluster.md"
PATIENCE = "slurm-init-seconds-before-status-checks: "
STATES = (
    "SELECT cell.value, state.value FROM tags AS cell JOIN tags AS state USING (run_uuid) "
    "WHERE cell.key = 'ttfs.cell' AND state.key = 'ttfs.state'"
)
ANN, B1 = "digits/fc2/ann/seed0", "digits/fc2/b1-converted/seed0"
CELLS = (ANN, B1, f"{B1}/hardware/{CHIP}")


@pytest.fixture
def project(tmp_path: Path) -> Sandbox:
    """A copy of the repository. The grid of the page is the tiny one, with the account and the
    partition that the page shows; Slurm is asked after a second, not ten.
    """
    project, path = Sandbox(tmp_path / "project").build(), "profiles/slurm/config.yaml"
    project.write("configs/mnist.yaml", GRID)
    profile = yaml.safe_load((project.folder / path).read_text(encoding="utf-8"))
    project.write(path, yaml.safe_dump(profile | yaml.safe_load(block(PAGE, "slurm_account"))))
    project.edit(path, f"{PATIENCE}10", f"{PATIENCE}1")
    return project


def test_each_job_of_a_grid_logs_to_one_server(
    cluster: Slurm, database_server: Postgres, project: Sandbox, finished: Sandbox, tmp_path: Path
):
    """The database is made by the page, too: kit/postgres.py."""
    address = f"localhost:{free_port()}"
    serve = block(PAGE, "mlflow server").strip().replace("node1:5000", address)
    serve = serve.replace("localhost/ttfs", database_server.uri.partition("@")[2])
    serve += f" --port {address.partition(':')[2]}"
    install, plan, run = block(PAGE, "pip install").splitlines()
    log_there = block(PAGE, "export MLFLOW").replace("node1:5000", address)
    assert run in log_there
    with served(["bash", "-c", f"exec {serve}"], f"http://{address}", tmp_path):
        assert "psycopg2" in project.shell(install)
        assert "rule deploy" in project.shell(plan)
        seen = _seen_while(project, log_there, database_server.uri)
    assert (ANN, "live") in seen  # by the job, before all are published
    _are_as_without(project, finished, _rows(database_server.uri))
    jobs = [job for job in cluster.jobs() if job["WorkDir"] == str(project.folder)]
    assert {(job["JobState"], job["Partition"]) for job in jobs} == {("COMPLETED", "my-partition")}
    memory = sorted(job["Tres"].split("mem=")[1].split(",")[0] for job in jobs)
    assert memory == ["4000M"] * 3 + ["8000M"] * 3


def test_what_jobs_log_may_be_thrown_away(
    cluster: Slurm, project: Sandbox, finished: Sandbox, tmp_path: Path
):
    thrown = tmp_path / "thrown-away.db"
    commands = block(PAGE, "sqlite:").replace("/tmp/ttfs-mlflow.db", str(thrown))
    seen = _seen_while(project, commands, f"sqlite:///{thrown}")
    assert (ANN, "live") in seen
    store = project.folder / "results" / "mlflow.db"
    _are_as_without(project, finished, _rows(f"sqlite:///{store}"))


def _seen_while(project: Sandbox, commands: str, uri: str) -> set[tuple[str, str]]:
    """Run commands; return each {cell, state} that a store has had meanwhile."""
    seen: set[tuple[str, str]] = set()
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(project.shell, commands)
        while not run.done():
            seen |= _rows(uri)
            time.sleep(0.5)
        run.result()
    return seen


def _rows(uri: str) -> set[tuple[str, str]]:
    """Each {cell of a run, its state}; none where the store is not there yet."""
    engine = create_engine(uri)
    try:
        if uri.startswith("sqlite") and not Path(engine.url.database or "").exists():
            return set()
        if not inspect(engine).has_table("tags"):
            return set()
        with engine.connect() as connection:
            return {(cell, state) for cell, state in connection.execute(text(STATES))}
    finally:
        engine.dispose()


def _are_as_without(project: Sandbox, finished: Sandbox, runs: set[tuple[str, str]]) -> None:
    """Compare a grid with that of a machine alone: its numbers, and that each is in the store."""
    assert project.due("configs/mnist.yaml") == set()
    for cell in CELLS:
        paths = [place.cell(cell) / "record.json" for place in (project, finished)]
        assert read(paths[0]).numbers == read(paths[1]).numbers
        assert (cell, "current") in runs
