"""The workflow: a tiny grid runs end to end, and what is up to date stays as it is."""

import csv
import os
import re
import shutil
import sqlite3
from collections import Counter
from pathlib import Path

import pytest
from kit.sandbox import CHIP, ROOT, Sandbox

from ttfs.config import load_grid
from ttfs.results.record import read
from ttfs.results.state import State

VIEWS = {"tables": 1, "figures": 1, "page": 1, "publish": 1}
GRIDS = sorted((ROOT / "configs").glob("*.yaml"))


@pytest.mark.parametrize("name", ["quick", "tenth", "files-quick", "cifar10-jpeg", "paper"])
def test_a_grid_is_planned_job_by_job(
    sandbox: Sandbox, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)  # where no grid has run
    grid = None if name == "quick" else f"configs/{name}.yaml"  # quick is the default
    planned = Counter(stage for stage, _ in State(load_grid(ROOT / "configs" / f"{name}.yaml")).due)
    assert planned["make"] == planned["evaluate"] > 0
    assert sandbox.jobs(grid=grid) == VIEWS | planned | {"trial": 1}
    assert not (sandbox.folder / "results").exists()


@pytest.mark.parametrize("path", GRIDS, ids=lambda path: path.stem)
def test_each_grid_that_is_shipped_is_laid_out(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    grid = load_grid(path)
    due = State(grid).due
    assert {cell for _, cell in due} == set(grid.every)
    names = [cell.name for cell in grid.every]
    assert len(set(names)) == len(names)
    assert all(grid.find(name).name == name for name in names)


def test_a_run_ends_in_records_tables_figures_and_a_store(finished: Sandbox):
    files = {
        "ann/seed0": {"made.json", "weights.pt", "curve.csv", "record.json", ".lock"},
        "b1-converted/seed0": {"made.json", "weights.pt", "record.json", ".lock", "hardware"},
        f"b1-converted/seed0/hardware/{CHIP}": {"record.json", ".lock"},
    }
    for name, expected in files.items():
        assert {path.name for path in finished.cell(f"digits/fc2/{name}").iterdir()} == expected
    results = finished.folder / "results" / "tiny"
    [log] = (results / "logs/digits/fc2/ann/seed0").glob("make-*.log")
    assert "epoch 2/2" in log.read_text()
    assert not list((results / ".jobs").rglob("*"))
    drawn = {path.name for path in (results / "figures").iterdir()}
    for name in ("accuracy-by-spikes", "confusion", "spikes-by-layer", "training-curves"):
        assert {f"{name}.{ending}" for ending in ("svg", "pdf", "png", "rst")} <= drawn
    assert not any(path.startswith("cost") for path in drawn)  # nothing of many time steps here
    assert "b1-converted" in (results / "index.html").read_text()
    assert r"\toprule" in (results / "tables" / "summary.tex").read_text()
    with (results / "tables" / "summary.csv").open() as file:
        ann, snn = csv.DictReader(file)
    assert (ann["method"], snn["method"]) == ("ann", "b1-converted")
    assert 50 < float(ann["accuracy_mean"]) == float(snn["accuracy_mean"]) <= 100
    assert float(snn["agreement_mean"]) == 100
    assert 0 < float(snn["spikes_per_neuron_mean"]) < 1
    assert (results / "tables" / "hardware.md").read_text().count(f"| {CHIP}") == 1
    cells = ["digits/fc2/ann/seed0", "digits/fc2/b1-converted/seed0"]
    chip = f"b1-converted/hardware/{CHIP}"
    means = [f"digits/fc2/{name}" for name in ("ann", "b1-converted", chip)]
    runs = [*cells, f"{cells[1]}/hardware/{CHIP}", *means, "grid/tiny"]
    assert published(finished) == sorted(runs)


def published(sandbox: Sandbox, grid: str = "tiny") -> list[str]:
    """Return what has a run in the MLflow store."""
    store = sqlite3.connect(sandbox.folder / "results" / "mlflow.db")
    query = (
        "SELECT value FROM tags JOIN runs USING (run_uuid) JOIN experiments USING (experiment_id) "
        "WHERE key = 'ttfs.cell' AND runs.lifecycle_stage = 'active' AND experiments.name = ?"
    )
    found = store.execute(query, [f"ttfs/{grid}"]).fetchall()
    store.close()
    return sorted(name for [name] in found)


def test_what_changes_no_number_leaves_nothing_to_do(copy: Sandbox):
    copy.edit("configs/datasets/digits.yaml", "title: Digits", "title: Numerals")
    for path in (copy.folder / "ttfs").rglob("*.py"):
        text = path.read_text().replace('"""\n', ' It says more now."""\n', 1)
        path.write_text(f"{text}\n# The end.\n")
    shutil.rmtree(copy.folder / ".snakemake")  # what an engine remembers has no say either
    before = written(copy)
    assert copy.jobs() == {}
    status, said = copy.run()
    assert status == 0, said
    assert "Nothing to be done" in said
    assert written(copy) == before


def written(sandbox: Sandbox) -> dict[Path, int]:
    """Return when each result was written."""
    results = sandbox.folder / "results"
    paths = (path for path in results.rglob("*") if not path.name.startswith("."))
    return {path: path.stat().st_mtime_ns for path in paths if path.is_file()}


def test_an_edit_runs_again_what_depends_on_it_and_no_more(copy: Sandbox):
    def add(file: str) -> None:
        with (copy.folder / "ttfs" / file).open("a") as module:
            module.write("\nMORE = 1\n")

    add("results/page/page.css")
    assert copy.jobs() == {"page": 1, "publish": 1}
    add("shipped/workflow/report/confusion.rst")
    assert copy.jobs() == {"figures": 1, "page": 1, "publish": 1}
    add("results/figures/chips.py")
    assert copy.jobs() == {"figures": 1, "page": 1, "publish": 1}
    add("snn/alpha1.py")
    assert copy.jobs() == {"figures": 1, "page": 1, "publish": 1}
    add("metrics/spikes.py")
    assert copy.jobs() == {"evaluate": 2, "deploy": 1} | VIEWS
    copy.edit("configs/datasets/digits.yaml", "epochs: 2", "epochs: 3")
    changed = {"make": 2, "evaluate": 2, "deploy": 1}
    assert copy.jobs() == changed | VIEWS | {"trial": 1}  # the code of the methods changed


def test_what_a_trial_looks_at_is_tried_again(copy: Sandbox):
    cosine = "  schedule: cosine\n"
    copy.edit("configs/methods/ann.yaml", cosine, f"{cosine}  augment: {{shift: 8}}\n")
    assert copy.jobs()["trial"] == 1
    status, said = copy.run()
    assert status != 0
    assert "key 'augment'" in said


def test_a_grid_has_one_folder_by_whichever_name(copy: Sandbox):
    assert copy.jobs(grid="tiny") == copy.jobs(grid="configs/tiny.yaml") == {}
    copy.write("other/tiny.yaml", (copy.folder / "configs/tiny.yaml").read_text())
    for name in ("tiny", "configs/tiny.yaml"):
        copy.write("results/tiny/.grid", f"{name}\n")
        status, said = copy.run("-n", grid="other/tiny.yaml")
        assert status != 0
        assert f"results/tiny: holds the results of {name}; give other/tiny.yaml another" in said


def test_a_new_chip_and_a_new_seed_run_alone(copy: Sandbox):
    copy.edit("configs/tiny.yaml", "weight_bits: 4", "weight_bits: [4, 3]")
    assert copy.jobs() == {"deploy": 1} | VIEWS  # a trial is for what is trained
    copy.edit("configs/tiny.yaml", "weight_bits: [4, 3]", "weight_bits: 4")
    copy.edit("configs/tiny.yaml", "seeds: [0]", "seeds: [0, 1]")
    assert copy.jobs() == {"make": 2, "evaluate": 2, "deploy": 1} | VIEWS  # tried already


def test_a_deleted_table_is_written_again_with_the_same_bytes(copy: Sandbox, finished: Sandbox):
    (copy.folder / "results/tiny/tables/summary.md").unlink()
    status, said = copy.run(target="tables")
    assert status == 0, said
    assert copy.tables() == finished.tables()


def test_a_record_that_is_copied_to_its_place_is_seen_though_it_is_older(copy: Sandbox):
    place = copy.cell("digits/fc2/ann/seed0") / "record.json"
    before, text = place.stat(), place.read_text()
    other = read(place.parent / "record.json")
    [accuracy] = [row for row in other.rows if row["metric"] == "accuracy" and len(row) == 2]
    accuracy["value"] = 12.5
    place.write_text(other.to_json())
    assert place.read_text() != text
    os.utime(place, ns=(before.st_atime_ns, before.st_mtime_ns - 10**12))
    assert copy.jobs() == VIEWS
    status, said = copy.run()
    assert status == 0, said
    assert ",12.5," in (copy.folder / "results/tiny/tables/cells.csv").read_text()
    assert copy.jobs() == {}


def test_a_grid_that_shares_cells_computes_none_twice(copy: Sandbox, finished: Sandbox):
    text = (copy.folder / "configs/tiny.yaml").read_text()
    copy.write("configs/other.yaml", text)
    assert copy.jobs(grid="configs/other.yaml") == VIEWS
    status, said = copy.run(grid="configs/other.yaml", target="tables")
    assert status == 0, said
    assert copy.tables("other") == finished.tables()
    assert copy.jobs() == {}


def test_a_folder_may_have_spaces_in_its_name(tmp_path: Path):
    sandbox = Sandbox(tmp_path / "my folder").build()
    sandbox.write("my grids/tiny.yaml", (sandbox.folder / "configs/tiny.yaml").read_text())
    status, said = sandbox.run("--dry-run", "--printshellcmds", grid="my grids/tiny.yaml")
    assert status == 0, said
    assert " -m ttfs make 'my grids/tiny.yaml' digits/fc2/ann/seed0" in said


def test_a_training_asks_for_a_gpu_and_threads_for_each_device(sandbox: Sandbox):
    sandbox.write(
        "configs/many.yaml",
        "datasets: [digits]\nmodels: [fc2]\nseeds: [0]\n"
        "methods: [{method: ann, over: {device: cuda, devices: 2, threads: 3}}]\n",
    )
    options = ("--dry-run", "--quiet", "progress", "--cores", "8")
    status, said = sandbox.run(*options, grid="configs/many.yaml")
    assert status == 0, said
    asked = {}
    for block in said.split("rule ")[1:]:
        threads = re.search(r"threads: (\d+)", block)
        gpus = re.search(r"gpu=(\d+)", block)
        asked[block.split(":")[0]] = (threads and int(threads[1]), gpus and int(gpus[1]))
    assert asked["make"] == (6, 2)
    assert asked["evaluate"] == (3, 1)


def test_the_workflow_runs_from_any_folder(copy: Sandbox, tmp_path: Path):
    """`ttfs run`, with the shipped workflow: the folder holds a grid alone, and gets results."""
    other = Sandbox(tmp_path / "elsewhere")
    other.write("mine.yaml", "datasets: [digits]\nmodels: [fc2]\nmethods: [ann]\nseeds: [0]\n")
    copied = other.environment | {"PYTHONPATH": str(copy.folder)}
    status, said = other.call(["-m", "ttfs", "run", "mine.yaml", "--dry-run"], copied)
    assert status == 0, said
    assert "make" in said
    assert not (other.folder / "results").exists()


@pytest.mark.parametrize(
    ("file", "old", "new", "planned"),
    [
        ("datasets/digits", "epochs: 2", "epochs: 1", {"make": 2, "evaluate": 2, "deploy": 1}),
        (
            "methods/b1-converted", "source: ann", "source: ann\ncheck: {agreement: 99.5}",
            {"evaluate": 1},
        ),
    ],
    ids=["epochs", "tolerance"],
)  # fmt: skip
def test_an_edit_is_planned_run_and_done(
    copy: Sandbox, file: str, old: str, new: str, planned: dict[str, int]
):
    """The names of the cells stay, and so do all files that a run has left."""
    copy.edit(f"configs/{file}.yaml", old, new)
    assert copy.jobs() == planned | VIEWS
    status, said = copy.run()
    assert status == 0, said
    assert copy.due() == set()
    assert copy.jobs() == {}
