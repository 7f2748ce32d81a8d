"""A stage ends with its run, where the run is on this machine."""

import platform

import pytest

from ttfs.stages.process import RUN, this_run, watch
from ttfs.stages.server import LINES, Progress

DEAD = 2**22 + 1  # above the largest process number of Linux


def test_a_long_run_tells_its_progress_in_few_lines(monkeypatch, capsys):
    """Nothing is said while nothing ends, however long a stage or the views take."""
    clock = iter(range(0, 10**9, 20))
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    progress = Progress(5000)
    for _ in range(5000):
        progress.ended([0])
        for _ in range(3):
            progress.tell()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == LINES
    assert lines[-1].startswith("5000 of 5000 stages done")


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
