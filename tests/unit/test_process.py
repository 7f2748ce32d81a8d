"""A stage ends with its run, where the run is on this machine."""

import platform

import pytest

from ttfs.stages.process import RUN, this_run, watch

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
