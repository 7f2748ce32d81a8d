"""What goes wrong is said in one line, is shown in the tables, stops nothing else, and is gone once it is mended."""

import fcntl
from pathlib import Path

import numpy as np
import pytest
from kit.sandbox import House

MADE = """title: Made up
source: {npz: made.npz}
shape: [1, 8, 8]
classes: 3
validation: 8
epochs: 1
batch_size: 8
citation: nobody
"""


def one_line(said: str) -> str:
    """The only line of what was printed that is about an error."""
    assert "Traceback" not in said
    lines = [line for line in said.splitlines() if "rror" in line]
    assert len(lines) == 1, said
    return lines[0]


@pytest.mark.parametrize(
    ("file", "old", "new", "line"),
    [
        (
            "tiny", "seeds", "sedes",
            "error: configs/tiny.yaml: unknown key 'sedes'; did you mean 'seeds'?",
        ),
        (
            "datasets/digits", "batch_size", "batchsize",
            "error: configs/datasets/digits.yaml: unknown key 'batchsize'; did you mean 'batch_size'?",
        ),
        (
            "published/che2024-ettfs", "source", "sauce",
            "error: configs/published/che2024-ettfs.yaml: unknown key 'sauce'; did you mean 'source'?",
        ),
    ],
)  # fmt: skip
def test_a_typo_stops_everything_before_it_starts(house: House, file: str, old: str, new: str, line: str):
    house.edit(f"configs/{file}.yaml", old, new)
    status, said = house.run("--dry-run")
    assert status != 0
    assert one_line(said) == line
    assert not (house.folder / "results").exists()


@pytest.mark.parametrize(
    ("setting", "line"),
    [
        ("grid=5", "error: 5: no such file"),
        ("epochs=3", "error: --config epochs: the workflow takes only grid=<file>"),
    ],
)
def test_a_wrong_setting_on_the_command_line(house: House, setting: str, line: str):
    status, said = house.run("--dry-run", "--config", setting, grid=None)
    assert status != 0
    assert one_line(said).startswith(line)


def test_a_file_where_results_go(house: House):
    house.write("results", "in the way")
    status, said = house.run()
    assert status != 0
    assert one_line(said) == "error: results: a file is where the results go; move it away"


def test_a_second_run_at_once_is_refused_and_harms_nothing(copy: House):
    tables = copy.tables()
    copy.edit("configs/tiny.yaml", "seeds: [0]", "seeds: [0, 1]")  # so that there is something to do
    with (copy.folder / "results/tiny/.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        status, said = copy.run()
    assert status != 0
    assert one_line(said) == "error: results/tiny: another run writes there; wait for it or stop it"
    assert copy.tables() == tables


def test_a_failed_cell_stops_no_other_and_is_gone_once_mended(copy: House):
    """A data set whose file is missing, beside a network that is to be verified again."""
    copy.write("configs/datasets/made.yaml", MADE)
    copy.edit("configs/tiny.yaml", "[digits]", "[made, digits]\nverify: {agreement: 99.5}")
    verified = record(copy, "digits", "b1-converted")
    old = verified.read_text()

    status, said = copy.run()
    assert status != 0
    assert "error: configs/datasets/made.yaml: key 'source.npz': no file 'made.npz'; put it into" in said
    assert "Traceback" not in said
    assert '"agreement": 99.5' in verified.read_text() != old
    summary = copy.tables()["summary.md"].decode()
    assert "- made/fc2/seed0/ann: train: configs/datasets/made.yaml: key 'source.npz'" in summary
    assert summary.count("0 of 1") == 1

    write_data(copy.folder / "data" / "made.npz")
    status, said = copy.run(target="tables")
    assert status == 0, said
    assert not list((copy.folder / "results").rglob("failure.json"))
    assert record(copy, "made", "b1-converted").exists()
    assert "0 of 1" not in copy.tables()["summary.md"].decode()


def record(house: House, dataset: str, method: str) -> Path:
    return house.folder / "results" / "tiny" / dataset / "fc2" / "seed0" / method / "record.json"


def write_data(path: Path) -> None:
    path.parent.mkdir()
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (48, 8, 8), dtype=np.uint8), np.arange(48) % 3
    np.savez(path, x_train=images[:32], y_train=labels[:32], x_test=images[32:], y_test=labels[32:])
