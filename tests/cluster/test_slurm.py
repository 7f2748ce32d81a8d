"""The workflow through a real Slurm: the same tables as without, also after a drained node and a
killed job.
"""

import os
import signal
import time
from collections import Counter

import pytest
from kit.processes import processes_in
from kit.sandbox import Sandbox
from kit.slurm import Slurm

pytestmark = pytest.mark.skipif(
    not os.environ.get("TTFS_TEST_CLUSTER"),
    reason="starts services on this machine; run it by make test-cluster",
)

PATIENCE = 1800
"""Seconds that a test waits for something to happen: on a busy machine each job starts slowly."""
WORDS = (
    "--profile", "profiles/slurm", "--seconds-between-status-checks", "2",
    "--slurm-init-seconds-before-status-checks", "1", "--latency-wait", "10",
    "--default-resources", "slurm_partition=main", "mem_mb=1000 * attempt", "runtime=10",
    "--set-resources", "make:mem_mb=1200 * attempt", "deploy:mem_mb=1200 * attempt",
)  # fmt: skip
STAGES = {"trial": 1, "make": 2, "evaluate": 2, "deploy": 1}
"""Jobs of the tiny grid; tables, figures and the store are made where Snakemake runs."""


def ended(cluster: Slurm, sandbox: Sandbox) -> list[dict[str, str]]:
    """Return the jobs of a sandbox that have ended."""
    return [job for job in cluster.jobs() if job["WorkDir"] == str(sandbox.folder)]


def rules(sandbox: Sandbox) -> Counter[str]:
    """Return how often each rule was submitted, by the log that each job of Slurm has."""
    logs = (sandbox.folder / ".snakemake" / "slurm_logs").rglob("*.log")
    top = len((sandbox.folder / ".snakemake" / "slurm_logs").parts)
    return Counter(path.parts[top].removeprefix("rule_") for path in logs)


def test_a_grid_through_slurm_ends_in_the_same_tables(
    cluster: Slurm, sandbox: Sandbox, finished: Sandbox
):
    status, said = sandbox.run(*WORDS, "--slurm-keep-successful-logs")
    assert status == 0, said
    assert sandbox.tables() == finished.tables()
    assert sandbox.due() == set()
    assert (sandbox.folder / "results/tiny/index.html").exists()
    assert rules(sandbox) == STAGES
    jobs = ended(cluster, sandbox)
    assert len(jobs) == sum(STAGES.values())
    assert {job["JobState"] for job in jobs} == {"COMPLETED"}
    memory = Counter(job["Tres"].split("mem=")[1].split(",")[0] for job in jobs)
    assert memory == {"1000M": 3, "1200M": 3}


def test_a_drained_node_and_a_killed_job_change_no_table(
    cluster: Slurm, sandbox: Sandbox, finished: Sandbox
):
    """The job is killed while it trains; its second try has more memory, and goes on."""
    cluster.drain("node1")
    try:
        with sandbox.started(*WORDS) as run:
            _kill_training(sandbox)
            assert run.wait(PATIENCE) == 0
    finally:
        cluster.resume("node1")
    assert sandbox.tables() == finished.tables()
    jobs = ended(cluster, sandbox)
    assert {job["NodeList"] for job in jobs} == {"node2"}
    states = Counter(job["JobState"] for job in jobs)
    assert states == {"COMPLETED": sum(STAGES.values()), "FAILED": 1}
    [failed] = [job for job in jobs if job["JobState"] == "FAILED"]
    assert "mem=1200M" in failed["Tres"]
    assert sum("mem=2400M" in job["Tres"] for job in jobs) == 1


def _kill_training(sandbox: Sandbox) -> None:
    """Kill the process of the first training, as the kernel does that is short of memory."""
    end = time.monotonic() + PATIENCE
    logs = sandbox.folder / "results/tiny/logs/digits/fc2/ann/seed0"
    while not any("epoch 1/" in log.read_text() for log in logs.glob("make-*.log")):
        assert time.monotonic() < end, "no training began"
        time.sleep(0.02)
    makes = processes_in(sandbox.folder, "-m", "ttfs", "make")
    assert makes
    for process in makes:
        os.kill(process, signal.SIGKILL)
