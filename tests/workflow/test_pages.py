"""The pages that say how something is done: who follows them gets what they promise."""

import csv
import re
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from kit.data import write_mnist
from kit.pages import block, cells, follow, table, text_of
from kit.sandbox import GRID, ROOT, Sandbox

from ttfs.results.record import Record, read


@pytest.fixture
def project(tmp_path: Path) -> Sandbox:
    """A copy of the repository, as a reader of the pages has it."""
    return Sandbox(tmp_path / "project").copied()


@pytest.fixture
def brief(project: Sandbox) -> Sandbox:
    """The same, where networks learn digits for 8 epochs in place of 40."""
    project.edit("configs/datasets/digits.yaml", "epochs: 40", "epochs: 8")
    return project


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


def test_a_model(brief: Sandbox):
    follow("add-a-model.md", brief)
    for model in ("my-cnn", "my-net"):
        made = record(brief, f"digits/{model}/b1-converted/seed0")
        assert made.value("agreement") == 100
        assert made.value("accuracy") > 90
    assert {row["model"] for row in summary(brief, "networks")} == {"fc2", "my-cnn"}
    status, said = brief.ttfs("check", "configs/mine.yaml")
    assert (status, said.split()) == (
        0, ["digits/my-net/ann/seed0", "digits/my-net/b1-converted/seed0"],
    )  # fmt: skip
    brief.edit("mypackage/nets.py", "nn.ReLU(), output", "nn.ReLU(), nn.Dropout(0.1), output")
    assert len(brief.due("configs/mine.yaml")) == 4  # an edit of the file runs its cells again


def test_a_method(project: Sandbox):
    follow("add-a-method.md", project)
    rows = {row["method"]: row for row in summary(project, "sparse")}
    assert set(rows) == {"ann", "b1-sparse"}
    assert 0 < float(rows["b1-sparse"]["spikes_per_neuron_mean"]) < 0.6
    assert record(project, "digits/fc2/b1-sparse/seed0").value("agreement") == 100


def test_hardware(brief: Sandbox):
    follow("add-hardware.md", brief)
    results = brief.folder / "results" / "chips"
    chips = list(brief.cell("digits/fc2/b1-converted/seed0").glob("hardware/*/record.json"))
    assert len(chips) == 7
    for path in chips:
        assert read(path).value("accuracy", network="ttfs", draw=0) > 50
    with (results / "tables" / "hardware.csv").open(newline="", encoding="utf-8") as file:
        assert {row["hardware"] for row in csv.DictReader(file)} == {p.parent.name for p in chips}
    drawn = {path.stem for path in (results / "figures").glob("*.svg")}
    assert {"hardware", "pareto"} <= drawn


def test_a_metric(brief: Sandbox):
    follow("add-a-metric.md", brief)
    for row in summary(brief, "top-three"):
        assert float(row["accuracy_mean"]) < float(row["top3_accuracy_mean"]) <= 100
    results = brief.folder / "results" / "top-three"
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
    published = map(read, (ROOT / "results/published/cells").rglob("record.json"))
    values = [value for one in published if (value := one.value("accuracy")) is not None]
    assert len(values) > 300
    assert sorted(float(line.split()[1]) for line in said.splitlines()) == sorted(values)
    for grid, dataset in (("quick", "digits"), ("mnist", "mnist")):
        assert {row["dataset"] for row in summary(project, grid)} == {dataset}
        converted = record(project, f"{dataset}/fc2/b1-converted/seed0")
        assert converted.value("agreement") == 100
        assert converted.value("logit_difference") < 1e-5
        assert converted.value("spike_time_error") < 1e-9
        assert project.due(f"configs/{grid}.yaml") == set()


def test_jobs_of_a_cluster_ask_for_what_its_page_says(project: Sandbox):
    """The page is followed by tests/cluster, as far as it needs Slurm or PostgreSQL. Here Snakemake
    plans the jobs that it would submit, with the profile but for its executor, which is not
    installed.
    """
    path = project.folder / "profiles/slurm/config.yaml"
    profile = yaml.safe_load(path.read_text(encoding="utf-8"))
    settings = yaml.safe_load(block("cluster.md", "slurm_account"))
    assert settings["default-resources"].items() >= profile["default-resources"].items()
    here = {key: value for key, value in (profile | settings).items() if "slurm" not in key}
    path.write_text(yaml.safe_dump(here | {"executor": "local"}), encoding="utf-8")
    project.write("configs/mnist.yaml", CLUSTER_GRID)
    [plan] = [line for line in block("cluster.md", "pip install").splitlines() if " -n " in line]
    asked = resources(project.shell(plan))

    rows = {row[0]: row[1] for row in cells(text_of("cluster.md"))}
    most, least = (int(word) * 1000 for word in re.findall(r"(\d+) GB", rows["memory"]))
    longest, middle, short = (int(hour) * 60 for hour in re.findall(r"\d+", rows["time limit"]))
    wanted = {
        "trial": (least, short), "make": (most, longest), "evaluate": (least, short),
        "deploy": (most, middle), "study": (most, longest),
    }  # fmt: skip
    for rule, (memory, minutes) in wanted.items():
        for job in asked[rule]:
            assert (int(job["mem_mb"]), int(job["runtime"])) == (memory, minutes)
            site = (job["slurm_account"], job["slurm_partition"])
            assert site == ("my-account", "my-partition")
    assert sorted((job["threads"], job["gpu"]) for job in asked["make"]) == [("1", "1"), ("2", "0")]


CLUSTER_GRID = """\
datasets: [digits]
models: [fc2]
methods: [{method: ann, over: {device: cuda}}, {method: b1-scratch, over: {threads: 2}}]
seeds: [0]
hardware: [{over: {weight_bits: 4}}]
studies: [gradients-digits]
"""


def resources(plan: str) -> dict[str, list[dict[str, str]]]:
    """Return {rule: what each of its jobs asks for} of a plan that Snakemake prints."""
    found: dict[str, list[dict[str, str]]] = {}
    for job in re.findall(r"^rule (\w+):\n((?: +.*\n)+)", plan, re.MULTILINE):
        words = dict(re.findall(r"^ +(\w+): (.*)$", job[1], re.MULTILINE))
        asked = dict(word.split("=") for word in words["resources"].split(", "))
        found.setdefault(job[0], []).append(asked | {"threads": words.get("threads", "1")})
    return found


def test_the_pod_of_a_cluster_runs_the_grid(project: Sandbox):
    """The command of its container; nothing is sent to a Kubernetes, which is not here."""
    project.write("configs/mnist.yaml", CLUSTER_GRID)
    job = yaml.safe_load(block("cluster.md", "kind: Job"))
    pod = job["spec"]["template"]["spec"]
    [container], [volume] = pod["containers"], pod["volumes"]
    assert [mount["name"] for mount in container["volumeMounts"]] == [volume["name"]]
    assert container["volumeMounts"][0]["mountPath"] == container["workingDir"]
    command = container["command"]
    assert command[command.index("--cores") + 1] == container["resources"]["requests"]["cpu"]
    said = project.shell(shlex.join([*command, "--dry-run", "--quiet", "rules"]))
    assert re.search(r"^make +2$", said, re.MULTILINE)


def environment(folder: Path) -> None:
    """Give a project the environment of the test, in the place where make sets one up."""
    folder.mkdir()
    for path in Path(sys.prefix).iterdir():
        (folder / path.name).symlink_to(path)
    (folder / ".ready").unlink(missing_ok=True)
    (folder / ".ready").touch()
