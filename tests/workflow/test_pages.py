"""The pages that say how something is done: who follows them gets what they promise."""

import csv
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from kit.data import write_mnist
from kit.pages import cells, follow, table
from kit.sandbox import GRID, ROOT, Sandbox

from ttfs.results.record import Record, read


@pytest.fixture
def project(tmp_path: Path) -> Sandbox:
    """A copy of the repository, as a reader of the pages has it."""
    return Sandbox(tmp_path / "project").copied()


def record(project: Sandbox, cell: str) -> Record:
    return read(project.cell(cell) / "record.json", cell)


def summary(project: Sandbox, grid: str) -> list[dict[str, str]]:
    path = project.folder / "results" / grid / "tables" / "summary.csv"
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_data_set(project: Sandbox):
    said = follow("add-a-dataset.md", project)
    assert "failed:" not in said
    rows = {(row["dataset"], row["method"]): row for row in summary(project, "shapes")}
    names = ("shapes", "shapes+augment=none")
    assert set(rows) == {(name, method) for name in names for method in ("ann", "b1-converted")}
    assert rows["shapes+augment=none", "ann"]["augment"] == "none"
    assert all(float(row["accuracy_mean"]) > 80 for row in rows.values())
    rows_of_classes = record(project, "shapes/fc2/ann/seed0").rows
    assert {row["class"] for row in rows_of_classes if "class" in row} == {0, 1}


def test_a_model(project: Sandbox):
    follow("add-a-model.md", project)
    for model in ("my-cnn", "my-net"):
        made = record(project, f"digits/{model}/b1-converted/seed0")
        assert made.value("agreement") == 100
        assert made.value("accuracy") > 90
    assert {row["model"] for row in summary(project, "networks")} == {"fc2", "my-cnn"}
    status, said = project.ttfs("check", "configs/mine.yaml")
    assert (status, said.split()) == (
        0, ["digits/my-net/ann/seed0", "digits/my-net/b1-converted/seed0"],
    )  # fmt: skip
    project.edit("mypackage/nets.py", "nn.ReLU(), output", "nn.ReLU(), nn.Dropout(0.1), output")
    assert len(project.due("configs/mine.yaml")) == 4  # an edit of the file runs its cells again


def test_a_method(project: Sandbox):
    follow("add-a-method.md", project)
    rows = {row["method"]: row for row in summary(project, "sparse")}
    assert set(rows) == {"ann", "b1-sparse"}
    assert 0 < float(rows["b1-sparse"]["spikes_per_neuron_mean"]) < 0.6
    assert record(project, "digits/fc2/b1-sparse/seed0").value("agreement") == 100


def test_hardware(project: Sandbox):
    follow("add-hardware.md", project)
    results = project.folder / "results" / "chips"
    chips = list(project.cell("digits/fc2/b1-converted/seed0").glob("hardware/*/record.json"))
    assert len(chips) == 7
    for path in chips:
        assert read(path).value("accuracy", network="ttfs", draw=0) > 50
    with (results / "tables" / "hardware.csv").open(newline="", encoding="utf-8") as file:
        assert {row["hardware"] for row in csv.DictReader(file)} == {p.parent.name for p in chips}
    drawn = {path.stem for path in (results / "figures").glob("*.svg")}
    assert {"hardware", "pareto"} <= drawn


def test_a_metric(project: Sandbox):
    follow("add-a-metric.md", project)
    for row in summary(project, "top-three"):
        assert float(row["accuracy_mean"]) < float(row["top3_accuracy_mean"]) <= 100
    results = project.folder / "results" / "top-three"
    head = cells((results / "tables" / "summary.md").read_text(encoding="utf-8"))[0]
    place = head.index("Top-3 accuracy [%] ↑")
    assert head.index("Accuracy [%] ↑") < place < head.index("Agreement [%] ↑")
    assert "Top-3 accuracy [%]" in (results / "index.html").read_text(encoding="utf-8")


def test_a_kind(project: Sandbox):
    """The table is that of the page; an accuracy may differ on another processor."""
    follow("add-a-kind.md", project)
    path, wanted = table("add-a-kind.md")
    found = cells((project.folder / path).read_text(encoding="utf-8"))[: len(wanted)]
    words = [0, 1, 2, 3, 4, 6]
    assert [[row[n] for n in words] for row in found] == [[row[n] for n in words] for row in wanted]
    numbers = [[float(row[5]) for row in rows[1:]] for rows in (found, wanted)]
    assert numbers[0] == pytest.approx(numbers[1], abs=1.0)


def test_reproduce(project: Sandbox, tmp_path: Path):
    """The grids of the page are cut down to one network, trained for two epochs on made-up
    images, and the environment is that of the test.
    """
    project.write("configs/quick.yaml", GRID)
    project.edit("configs/datasets/digits.yaml", "epochs: 40", "epochs: 2")
    project.write("configs/mnist.yaml", GRID.replace("digits", "mnist"))
    project.edit("configs/datasets/mnist.yaml", "epochs: 20", "epochs: 2")
    project.edit("configs/datasets/mnist.yaml", "validation: 5000", "validation: 10")
    write_mnist(np.random.default_rng(0), tmp_path / "at-hand")
    shutil.copytree(tmp_path / "at-hand", project.folder / "data")
    (project.folder / "results").mkdir()
    (project.folder / "results/published").symlink_to(ROOT / "results/published")
    environment(project.folder / ".venv")

    said = follow("reproduce.md", project, {"/path/to/data": str(tmp_path / "at-hand")})
    assert said.count("\n") == len(list((ROOT / "results/published/cells").rglob("record.json")))
    for grid, dataset in (("quick", "digits"), ("mnist", "mnist")):
        assert {row["dataset"] for row in summary(project, grid)} == {dataset}
        converted = record(project, f"{dataset}/fc2/b1-converted/seed0")
        assert converted.value("agreement") == 100
        assert converted.value("logit_difference") < 1e-5
        assert converted.value("spike_time_error") < 1e-9
        assert project.due(f"configs/{grid}.yaml") == set()


def environment(folder: Path) -> None:
    """Give a project the environment of the test, in the place where make sets one up."""
    folder.mkdir()
    for path in Path(sys.prefix).iterdir():
        (folder / path.name).symlink_to(path)
    (folder / ".ready").unlink(missing_ok=True)
    (folder / ".ready").touch()
