"""Runs that are killed, runs at the same time, and stages whose process dies."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from kit.processes import processes_in
from kit.sandbox import GRID, Sandbox

PATIENCE = 120
"""Seconds that a test waits for something to happen."""


def wait_for(happened: Callable[[], bool], run: subprocess.Popen) -> None:
    """Wait until something happened; fail where the run ends before it did."""
    end = time.monotonic() + PATIENCE
    while not happened():
        assert run.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def test_a_run_killed_at_several_moments_ends_in_the_same_tables(
    sandbox: Sandbox, finished: Sandbox
):
    ann, b1 = sandbox.cell("ann/seed0"), sandbox.cell("b1-converted/seed0")
    results = sandbox.folder / "results" / "tiny"

    def training() -> bool:
        logs = (results / "logs/digits/fc2/ann/seed0").glob("make-*.log")
        return any("epoch 1/2" in log.read_text() for log in logs)

    moments: dict[str, Callable[[], bool]] = {
        "a training": training,
        "a mapping": lambda: (ann / "made.json").exists(),
        "an evaluation": lambda: (b1 / "made.json").exists(),
        "a view": lambda: (results / "tables/summary.md").exists(),
    }
    made: dict[Path, int] = {}
    for name, moment in moments.items():
        with sandbox.started() as run:
            wait_for(moment, run)
            os.killpg(run.pid, signal.SIGKILL)
        assert run.returncode == -signal.SIGKILL, name
        assert not processes_left(sandbox.folder), name
        for path, written in made.items():  # what was whole is not made twice
            assert path.stat().st_mtime_ns == written, name
        made = {path: path.stat().st_mtime_ns for path in sandbox.folder.rglob("made.json")}
    status, said = sandbox.run(target="tables")
    assert status == 0, said
    assert sandbox.tables() == finished.tables()
    assert sandbox.due() == set()
    leftovers = [path for path in sandbox.folder.rglob("*.tmp") if ".snakemake" not in path.parts]
    assert len(leftovers) <= len(
        moments
    )  # at most one file a kill, and none has the name of a result
    assert not list((sandbox.folder / "results").rglob("*.ckpt"))


def processes_left(folder: Path) -> list[int]:
    """Return the processes that still work in a folder half a minute later: a busy machine is slow
    to end them.
    """
    for _ in range(300):
        if not (found := processes_in(folder)):
            break
        time.sleep(0.1)
    return found


def test_two_grids_at_the_same_time_compute_each_cell_once(sandbox: Sandbox, finished: Sandbox):
    sandbox.write(
        "configs/other.yaml", GRID.replace("b1-converted]", "b1-converted, alpha1-converted]")
    )
    with (
        sandbox.started(target="tables") as one,
        sandbox.started(grid="configs/other.yaml", target="tables") as other,
    ):
        assert (one.wait(PATIENCE), other.wait(PATIENCE)) == (0, 0)
    assert sandbox.tables() == finished.tables()
    stages = Counter(
        line.split(":")[0]
        for log in sandbox.folder.rglob("logs/digits/**/*.log")
        for line in log.read_text().splitlines()
        if line.partition("] ")[2].startswith(("make: ", "evaluate: ", "deploy: "))
    )
    assert set(stages.values()) == {1}
    assert len(stages) == 2 * 3 + 1
    assert sandbox.due() == sandbox.due("configs/other.yaml") == set()


def long_training(sandbox: Sandbox) -> subprocess.Popen:
    """Start to make a network for many epochs, and return the stage's process once it has begun."""
    sandbox.edit("configs/datasets/digits.yaml", "epochs: 2", "epochs: 5000")
    words = [sys.executable, "-m", "ttfs", "make", "configs/tiny.yaml", "digits/fc2/ann/seed0"]
    parent = subprocess.Popen(
        words, cwd=sandbox.folder, env=sandbox.environment, text=True, stderr=subprocess.PIPE
    )
    assert parent.stderr is not None
    assert "make: it is not made yet" in parent.stderr.readline()
    return parent


def test_a_stage_whose_process_dies_leaves_a_record_of_it(sandbox: Sandbox):
    """The kernel, short of memory, ends a process without a word: its parent writes the record."""
    parent = long_training(sandbox)
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
    wait_for(lambda: bool(children.read_text().split()), parent)
    [child] = children.read_text().split()
    os.kill(int(child), signal.SIGKILL)
    _, said = parent.communicate(timeout=PATIENCE)
    assert parent.returncode == 1
    reason = "its process was ended by SIGKILL (out of memory, perhaps)"
    assert said.endswith(f"[digits/fc2/ann/seed0] error: {reason}\n")
    failure = json.loads((sandbox.cell("ann/seed0") / "failure.json").read_text())
    assert failure["status"] == "failed"
    assert failure["error"] == f"make: {reason}"
    assert not (sandbox.cell("ann/seed0") / "record.json").exists()


def test_a_stage_ends_with_its_parent(sandbox: Sandbox):
    parent = long_training(sandbox)
    parent.kill()
    parent.wait()
    assert processes_left(sandbox.folder) == []
    parent.stderr.close()


def test_a_stage_that_is_asked_to_end_ends_and_is_no_failure_of_the_code(sandbox: Sandbox):
    parent = long_training(sandbox)
    parent.terminate()
    _, said = parent.communicate(timeout=PATIENCE)
    assert "its process was ended by SIGTERM" in said
    assert processes_left(sandbox.folder) == []
