"""The acceptance test of the design: a new baseline is one Python file and one configuration
file.
"""

import csv
from pathlib import Path

from kit.sandbox import Sandbox

KIND = '''\
"""Nearest class mean: an item belongs to the class whose mean is nearest."""

from ttfs.methods import Job, Kind, Options


class NearestClassMean(Kind):
    """The nearest class mean of scikit-learn."""

    title = "Nearest class mean"
    uses_model = False

    class Options(Options):
        """Its metric."""

        metric: str = "euclidean"

    def make(self, job: Job) -> None:
        """Find the means."""
        from sklearn.neighbors import NearestCentroid
        import torch

        items, labels = self._all(job.data.train)
        found = NearestCentroid(metric=job.options["metric"]).fit(items, labels)
        job.save({"means": torch.from_numpy(found.centroids_)})

    def load(self, job: Job):
        """Return a function from items to scores."""
        import torch

        means = job.saved()["means"]
        return lambda items: -torch.cdist(items.flatten(1).to(means.dtype), means)

    def evaluate(self, job: Job):
        """Measure what can be measured."""
        from ttfs.methods import answers
        from ttfs.metrics import Subject, measure

        return list(measure(Subject(job.data.classes), answers(self.load(job), job)))

    @staticmethod
    def _all(split):
        import torch

        items, labels = zip(*split.batches(1000), strict=True)
        return torch.cat(items).flatten(1).numpy(), torch.cat(labels).numpy()
'''
GRID = """\
datasets: [digits]
models: [fc2]
methods: [ann, b1-converted, nearest]
seeds: [0]
hardware: [{over: {weight_bits: 4}}]
"""
CELL = "digits/none/nearest/seed0"


def test_a_new_kind_of_classifier_is_two_files(copy: Sandbox, finished: Sandbox):
    copy.write("methods/nearest_class_mean.py", KIND)
    copy.write(
        "configs/methods/nearest.yaml", "title: Nearest class mean\nkind: nearest-class-mean\n"
    )
    copy.edit("configs/tiny.yaml", "b1-converted]", "b1-converted, nearest]")
    assert copy.due() == {f"make {CELL}", f"evaluate {CELL}"}
    status, said = copy.run()
    assert status == 0, said
    assert copy.due() == set()

    accuracy = float(row_of(copy, "cells", "nearest")["accuracy"])
    assert accuracy > 85
    assert float(row_of(copy, "summary", "nearest")["accuracy_mean"]) == accuracy
    assert row_of(copy, "summary", "ann") == row_of(finished, "summary", "ann")
    classes = [row for row in rows(copy, "classes") if row["method"] == "nearest"]
    assert len(classes) == 10
    assert "nearest" in copy.tables()["summary.md"].decode()
    assert copy.tables()["hardware.csv"] == finished.tables()["hardware.csv"]
    assert "nearest" in (copy.folder / "results/tiny/figures/accuracy-by-spikes.svg").read_text()
    assert CELL in runs(copy)

    copy.edit("methods/nearest_class_mean.py", "-torch.cdist(", "-2 * torch.cdist(")
    assert copy.due() == {f"evaluate {CELL}"}
    copy.edit("configs/methods/nearest.yaml", "kind:", "metric: manhattan\nkind:")
    assert copy.due() == {f"make {CELL}", f"evaluate {CELL}"}
    copy.edit("configs/methods/nearest.yaml", "metric: manhattan", "metrik: manhattan")
    status, said = copy.ttfs("check", "configs/tiny.yaml")
    assert (status, said) == (
        2, "error: configs/methods/nearest.yaml: unknown key 'metrik'; did you mean 'metric'?\n",
    )  # fmt: skip


def test_a_kind_at_fault_is_one_line(copy: Sandbox):
    copy.write(
        "configs/methods/nearest.yaml", "title: Nearest class mean\nkind: nearest-class-mean\n"
    )
    copy.edit("configs/tiny.yaml", "b1-converted]", "b1-converted, nearest]")
    for text, wanted in (
        (None, "key 'kind' is 'nearest-class-mean'"),
        ("", "nearest_class_mean.py: holds 0 subclasses of Kind; give it one"),
        ("class A:\n", "methods/nearest_class_mean.py: importing it fails: IndentationError: "),
        ("import kinds_of_others\n", "importing it fails: ModuleNotFoundError: No module named"),
    ):
        if text is not None:
            copy.write("methods/nearest_class_mean.py", text)
        status, said = copy.ttfs("check", "configs/tiny.yaml")
        assert status == 2
        assert said.count("\n") == 1
        assert wanted in said


def rows(sandbox: Sandbox, table: str) -> list[dict[str, str]]:
    path: Path = sandbox.folder / "results" / "tiny" / "tables" / f"{table}.csv"
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def row_of(sandbox: Sandbox, table: str, method: str) -> dict[str, str]:
    [row] = [row for row in rows(sandbox, table) if row["method"] == method]
    return row


def runs(sandbox: Sandbox) -> str:
    program = (
        "from ttfs.results.tracking import store; c = store.client();"
        "print(sorted(store.runs_by_cell(c, store.experiment_of(c, 'tiny'))))"
    )
    return sandbox.python(program)
