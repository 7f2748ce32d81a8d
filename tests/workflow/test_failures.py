"""What goes wrong is said in one line, is shown in the tables, stops nothing else, and is gone once it is mended."""

import fcntl
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import House

MADE = """title: Made up
source: {{npz: {name}.npz}}
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
            "tiny", "digits", "digist",
            "error: configs/tiny.yaml: key 'datasets': no configs/datasets/digist.yaml; did you mean 'digits'?",
        ),
        (
            "datasets/digits", "batch_size", "batchsize",
            "error: configs/datasets/digits.yaml: unknown key 'batchsize'; did you mean 'batch_size'?",
        ),
        (
            "models/fc2", "glorot-uniform", "glorot",
            "error: configs/models/fc2.yaml: key 'initialisation' is 'glorot'; did you mean 'glorot-uniform'?",
        ),
        (
            "methods/ann", "select", "slect",
            "error: configs/methods/ann.yaml: unknown key 'train.slect'; did you mean 'select'?",
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
    ("settings", "line"),
    [
        (["grid=configs/tinny.yaml"], "error: configs/tinny.yaml: no such file; did you mean 'tiny.yaml'?"),
        (["grid=5"], "error: 5: no such file"),
        (["grid=configs/tiny.yaml", "epochs=3"], "error: --config epochs: the workflow takes only grid=<file>"),
    ],
)
def test_a_wrong_setting_on_the_command_line(house: House, settings: list[str], line: str):
    status, said = house.run("--dry-run", "--config", *settings)
    assert status != 0
    assert one_line(said).startswith(line)


def test_a_file_where_results_go(house: House):
    house.write("results", "in the way")
    status, said = house.run()
    assert status != 0
    assert one_line(said) == "error: results: a file is where the results go; move it away"


def test_a_second_run_at_once_is_refused_and_harms_nothing(copy: House):
    tables = copy.tables()
    copy.edit("configs/tiny.yaml", "[ann, b1-converted]", "[ann]")  # so that there is something to do
    with (copy.folder / "results/tiny/.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        status, said = copy.run()
    assert status != 0
    assert one_line(said) == "error: results/tiny: another run writes there; wait for it or stop it"
    assert copy.tables() == tables


def test_a_failed_cell_stops_no_other_and_is_gone_once_mended(copy: House):
    """Two new data sets, of one of which the file is missing; and an old checkpoint that is torn."""
    for name in ("there", "missing"):
        copy.write(f"configs/datasets/{name}.yaml", MADE.format(name=name))
    copy.edit("configs/tiny.yaml", "[digits]", "[digits, missing, there]")
    (copy.folder / "data").mkdir()
    write_data(copy.folder / "data" / "there.npz")
    torn = copy.folder / "results/tiny/digits/fc2/seed0/ann/weights.pt"
    torn.write_bytes(torn.read_bytes()[:1000])

    status, said = copy.run()
    assert status != 0
    assert "configs/datasets/missing.yaml: key 'source.npz': no file 'missing.npz'; put it into" in said
    assert "results/tiny/digits/fc2/seed0/ann/weights.pt: not a checkpoint of this network" in said
    assert "Traceback" not in said
    assert (record(copy, "there", "ann")).exists()
    assert (record(copy, "there", "b1-converted")).exists()
    summary = copy.tables()["summary.md"].decode()
    assert "- missing/fc2/seed0/ann: train: configs/datasets/missing.yaml: key 'source.npz'" in summary
    assert "- digits/fc2/seed0/b1-converted: convert: results/tiny/digits/fc2/seed0/ann/weights.pt" in summary
    assert summary.count("0 of 1") == 2

    shutil.copy(copy.folder / "data" / "there.npz", copy.folder / "data" / "missing.npz")
    torn.unlink()
    status, said = copy.run()
    assert status == 0, said
    assert not list((copy.folder / "results").rglob("failure.json"))
    assert "Failed" not in copy.tables()["summary.md"].decode()
    assert all(record(copy, name, "b1-converted").exists() for name in ("digits", "missing", "there"))


def record(house: House, dataset: str, method: str) -> Path:
    return house.folder / "results" / "tiny" / dataset / "fc2" / "seed0" / method / "record.json"


def write_data(path: Path) -> None:
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (48, 8, 8), dtype=np.uint8), np.arange(48) % 3
    np.savez(path, x_train=images[:32], y_train=labels[:32], x_test=images[32:], y_test=labels[32:])
