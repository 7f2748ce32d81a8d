"""The workflow: each grid can be planned, a tiny one runs end to end, and what is up to date stays as it is."""

import csv
import os
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest
from kit.sandbox import ROOT, House

from ttfs.config import kind_of, load_grid

GRID_JOBS = {"tables": 1, "figures": 1, "publish": 1}


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.stem)
def test_each_grid_can_be_planned(house: House, path: Path):
    grid = load_grid(path)
    jobs = Counter(
        "train_spiking" if stage == "train" and grid.neuron(cell.method) != "relu" else stage
        for cell in grid.cells()
        for stage in grid.stages(cell.method)
    ) + Counter(kind_of(study) for study in grid.studies.values())
    jobs += Counter("sweep" for _ in grid.deployments())
    name = None if path.stem == "quick" else f"configs/{path.name}"  # which is the default
    assert house.jobs(grid=name) == GRID_JOBS | jobs
    assert not (house.folder / "results").exists()


def test_a_run_ends_in_records_tables_figures_and_a_store(finished: House):
    results = finished.folder / "results" / "tiny"
    cell = results / "digits" / "fc2" / "seed0"
    expected = {
        "ann": {"weights.pt", "curve.csv", "record.json", "train.log", "train.benchmark.tsv"},
        "b1-converted": {"weights.pt", "record.json", "hardware"}
        | {f"{stage}{end}" for stage in ("convert", "verify") for end in (".log", ".benchmark.tsv")},
    }
    for method, names in expected.items():
        assert {path.name for path in (cell / method).iterdir()} == names
    assert "epoch 2/2" in (cell / "ann" / "train.log").read_text()
    assert {path.name for path in (results / "figures").iterdir()} == {
        "accuracy-by-spikes.svg", "hardware.svg", "pareto.svg", "sparsity.svg", "spikes-by-layer.svg",
        "training-curves.svg",
    }  # fmt: skip
    with (results / "tables" / "summary.csv").open() as file:
        ann, snn = csv.DictReader(file)
    assert (ann["method"], snn["method"]) == ("ann", "b1-converted")
    assert 50 < float(ann["accuracy_mean"]) == float(snn["accuracy_mean"]) <= 100
    assert float(snn["agreement_mean"]) == 100
    assert 0 < float(snn["spikes_per_neuron_mean"]) < 1
    assert (results / "tables" / "summary.md").read_text().count("digits") == 2
    chip = cell / "b1-converted" / "hardware" / "time-4bit"
    assert {path.name for path in chip.iterdir()} == {"record.json", "sweep.log", "sweep.benchmark.tsv"}
    assert (results / "tables" / "hardware.md").read_text().count("time-4bit") == 1
    store = sqlite3.connect(finished.folder / "results" / "mlflow.db")
    runs = store.execute(
        "SELECT value FROM tags JOIN runs USING (run_uuid) WHERE key = 'ttfs.cell' AND lifecycle_stage = 'active'"
    ).fetchall()
    store.close()
    cell_names = [f"tiny/digits/fc2/seed0/{method}" for method in ("ann", "b1-converted")]
    assert sorted(name for [name] in runs) == [*cell_names, f"{cell_names[1]}/hardware/time-4bit"]


def test_what_changes_no_number_leaves_nothing_to_do(copy: House):
    tables = copy.tables()
    copy.edit("configs/datasets/digits.yaml", "title: Digits", "title: Numerals")
    for path in (copy.folder / "ttfs").rglob("*.py"):
        path.write_text(path.read_text().replace('"""\n', ' It says more now."""\n', 1) + "\n# The end.\n")
    status, said = copy.run()
    assert status == 0
    assert "Nothing to be done" in said
    assert copy.tables() == tables


def test_a_change_runs_again_what_depends_on_it_and_no_more(copy: House):
    with (copy.folder / "ttfs" / "metrics" / "_spikes.py").open("a") as module:
        module.write("\nMORE = 1\n")
    assert copy.jobs() == {"verify": 1, "sweep": 1} | GRID_JOBS
    copy.edit("configs/methods/b1-converted.yaml", "headroom: 0.5", "headroom: 0.6")
    assert copy.jobs() == {"convert": 1, "verify": 1, "sweep": 1} | GRID_JOBS
    copy.edit("configs/datasets/digits.yaml", "epochs: 2", "epochs: 3")
    assert copy.jobs() == {"train": 1, "convert": 1, "verify": 1, "sweep": 1} | GRID_JOBS


def test_a_new_hardware_runs_alone(copy: House):
    copy.edit("configs/tiny.yaml", "[time-4bit]", "[time-4bit, combined]")
    assert copy.jobs() == {"sweep": 1} | GRID_JOBS
    copy.edit("configs/hardware/time-4bit.yaml", "time_bits: 4", "time_bits: 3")
    assert copy.jobs() == {"sweep": 2} | GRID_JOBS


def test_a_new_seed_runs_alone(copy: House):
    copy.edit("configs/tiny.yaml", "seeds: [0]", "seeds: [0, 1]")
    assert copy.jobs() == {"train": 1, "convert": 1, "verify": 1, "sweep": 1} | GRID_JOBS


def test_fine_tuning_follows_its_source(copy: House):
    copy.edit("configs/tiny.yaml", "b1-converted]", "b1-converted, b1-finetuned]")
    copy.edit("configs/methods/b1-finetuned.yaml", "epochs: 3", "epochs: 1")
    assert copy.jobs() == {"train_spiking": 1, "verify": 1, "sweep": 1} | GRID_JOBS
    status, said = copy.run()
    assert status == 0, said
    cell = copy.folder / "results/tiny/digits/fc2/seed0/b1-finetuned"
    assert {"weights.pt", "curve.csv", "record.json", "train.log", "verify.log"} <= {p.name for p in cell.iterdir()}
    assert copy.tables()["summary.md"].decode().count("| digits") == 3
    assert copy.jobs() == {}
    copy.edit("configs/methods/b1-converted.yaml", "headroom: 0.5", "headroom: 0.6")
    assert copy.jobs() == {"convert": 1, "train_spiking": 1, "verify": 2, "sweep": 2} | GRID_JOBS


def test_a_killed_run_finishes_with_the_same_tables(house: House, finished: House):
    log = house.folder / "results/tiny/digits/fc2/seed0/ann/train.log"
    run = subprocess.Popen(
        house.command(), cwd=house.folder, env=house.environment, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while not (log.exists() and "epoch 1/2" in log.read_text()):
        assert run.poll() is None, "ended before it could be killed"
        time.sleep(0.05)
    os.killpg(run.pid, signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL
    assert not (log.parent / "record.json").exists()
    status, said = house.run(target="tables")
    assert status == 0, said
    assert house.tables() == finished.tables()


def test_a_house_may_have_spaces_in_its_name(tmp_path: Path):
    house = House(tmp_path / "my house").build()
    (house.folder / "my grids").mkdir()
    (house.folder / "configs" / "tiny.yaml").rename(house.folder / "my grids" / "tiny.yaml")
    status, said = house.run("--dry-run", "--printshellcmds", grid="my grids/tiny.yaml")
    assert status == 0, said
    assert " -m ttfs train 'my grids/tiny.yaml' digits/fc2/seed0/ann" in said
