"""The line of progress: its counts, the time left by the times of like stages, the best yet."""

import pytest
from kit.records import made_up

from ttfs.results.record import write
from ttfs.stages.progress import LINES, Due, Progress


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test sets."""
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


def stages(stage: str, group: str, count: int) -> list[Due]:
    return [Due(stage, f"{group}/seed{seed}") for seed in range(count)]


def test_a_long_run_tells_its_progress_in_few_lines(clock, capsys):
    """Nothing is said while nothing ends, however long a stage or the views take."""
    due = stages("make", "digits/fc2/ann", 5000)
    progress = Progress(due)
    for stage in due:
        progress.start(stage)
        clock[0] += 20.0
        progress.end(stage, 0)
        for _ in range(3):
            progress.tell()
            clock[0] += 20.0
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == LINES
    assert lines[-1].startswith("5000 of 5000 stages done, 0 running, 0 failed, about 0:00 left")


def test_the_time_left_is_that_of_like_stages(clock):
    """Trainings of the one method take 100 s, of the other 2 s; three of the first are to come."""
    slow, quick = stages("make", "digits/fc2/lif", 4), stages("make", "digits/fc2/ann", 4)
    progress = Progress([*slow, *quick])
    assert progress.left() is None
    for stage, seconds in [(slow[0], 100.0), *((stage, 2.0) for stage in quick)]:
        progress.start(stage)
        clock[0] += seconds
        progress.end(stage, 0)
    assert progress.left() == pytest.approx(300.0)
    progress.start(slow[1])
    clock[0] += 60.0
    assert progress.left() == pytest.approx(240.0)


def test_stages_at_the_same_time_halve_the_time_left(clock):
    due = stages("make", "digits/fc2/ann", 6)
    progress = Progress(due)
    for stage in due[:2]:
        progress.start(stage)
    clock[0] += 10.0
    for stage in due[:2]:
        progress.end(stage, 0)
    assert progress.left() == pytest.approx(20.0)


@pytest.mark.parametrize(
    ("cell", "seconds"),
    [
        ("digits/fc2/ann/seed1", 10.0),  # another seed
        ("yin-yang/fc2/ann/seed0", 10.0),  # the network on other data
        ("digits/fc2/lif/seed0", 15.0),  # the model by other methods: mean of 10 and 20
        ("digits/cnn/lif/seed0", 40.0),  # the stage: mean of 10, 20 and 90
    ],
)
def test_a_stage_without_its_like_takes_as_long_as_the_most_alike(clock, cell, seconds):
    ended = {"digits/fc2/ann/seed0": 10.0, "digits/fc2/b1/seed0": 20.0, "digits/vgg/b1/seed0": 90.0}
    progress = Progress([Due("make", name) for name in [*ended, cell]])
    for name, taken in ended.items():
        progress.start(Due("make", name))
        clock[0] += taken
        progress.end(Due("make", name), 0)
    assert progress.left() == pytest.approx(seconds)


def test_failures_are_counted_and_their_times_are_not_the_time_of_others(clock, capsys):
    first, second, third = stages("evaluate", "digits/fc2/ann", 3)
    progress = Progress([first, second, third])
    for stage, taken, status in ((first, 30.0, 0), (second, 1.0, 256)):
        progress.start(stage)
        clock[0] += taken
        progress.end(stage, status)
    progress.tell()
    said = "1 of 3 stages done, 0 running, 1 failed, about 0:31 left"
    assert capsys.readouterr().err.startswith(said)


def test_what_needs_a_failed_network_waits_no_more(clock):
    network, other = "d/m/ann/seed0", "d/m/ann/seed1"
    due = [Due("make", network), Due("evaluate", network), Due("deploy", f"{network}/hardware/x")]
    progress = Progress([*due, Due("make", other)])
    progress.start(due[0])
    progress.end(due[0], 1)
    assert progress.waiting == {Due("make", other)}
    progress.drop(Due("make", other))
    assert (progress.jobs, progress.done, progress.waiting) == (3, 0, set())


def test_what_starts_from_a_failed_network_waits_no_more_either(clock):
    source, own, other = "d/m/ann/seed0", "d/m/b1/seed0", "d/m/ann/seed1"
    made = Due("make", own, source)
    progress = Progress([
        Due("make", source), made, Due("evaluate", own, source),
        Due("make", "d/m/tuned/seed0", own), Due("deploy", "d/m/tuned/seed0/hardware/x", own),
        Due("make", other),
    ])  # fmt: skip
    progress.start(Due("make", source))
    progress.end(Due("make", source), 1)
    assert progress.waiting == {Due("make", other)}


def test_the_best_accuracy_yet_is_said(clock, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cells = [made_up(seed=seed) for seed in (2, 0, 1)]  # 96, 98 and 97 %
    due = [Due("evaluate", record.name) for record in cells]
    progress = Progress(due)
    for stage, record in zip(due, cells, strict=True):
        write(record, tmp_path / "results" / "cells" / record.name)
        progress.start(stage)
        clock[0] += 20.0
        progress.end(stage, 0)
    progress.tell()
    said = capsys.readouterr().err.rstrip()
    assert said.endswith("; best on digits: 98.00 % (fc2/ann/seed0)")
