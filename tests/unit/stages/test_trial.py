"""trial: what of a grid cannot work is said before anything is trained."""

from pathlib import Path

import pytest
from kit.stages import GRID

from ttfs.__main__ import main


def test_trial_finds_what_cannot_work_before_anything_is_trained(fresh: Path, capsys):
    assert main(["trial", GRID]) == 0
    assert not Path("results").exists()
    Path("configs/models/little.yaml").write_text("title: L\nlayers: 4C9-6\n")
    capsys.readouterr()
    assert main(["trial", GRID]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines
    assert all(line.startswith("error: made: model 'little'") for line in lines)


def test_trial_names_each_model_with_each_method_that_refuses_it(fresh: Path, capsys, monkeypatch):
    monkeypatch.syspath_prepend(str(Path.cwd()))
    Path("smooth_nets.py").write_text(
        "from torch import nn\n\n\ndef smooth(shape, classes):\n"
        "    size = shape[0] * shape[1] * shape[2]\n"
        "    layers = nn.Flatten(), nn.Linear(size, 8), nn.GELU(), nn.Linear(8, classes)\n"
        "    return nn.Sequential(*layers)\n"
    )
    Path("configs/models/smooth.yaml").write_text("title: S\nmodule: smooth_nets:smooth\n")
    rate, lif = "{method: rate, over: {steps: 4}}", "{method: lif, over: {steps: 2}}"
    methods = f"[ann, b1-converted, alpha1-converted, {rate}, {lif}]"
    Path("configs/blocked.yaml").write_text(
        f"title: B\ndatasets: [made]\nmodels: [little, smooth]\nmethods: {methods}\nseeds: [0]\n"
    )
    assert main(["trial", "configs/blocked.yaml"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4
    for line, method in zip(lines, ("b1", "alpha1", "rate", "lif"), strict=True):
        assert line.startswith(f"error: made, model 'smooth', method '{method}")
        assert "2 (GELU) cannot be mapped" in line


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        (
            "methods: [ann,", "methods: [ann, {method: ann, over: {augment: {shift: 6}}},",
            "method 'ann+augment.shift=6'",
        ),
        (
            "hardware: [", "hardware: [{over: {tuning: {augment: {shift: 6}}}}, ",
            "hardware 'tuning.augment.shift=6'",
        ),
    ],
)  # fmt: skip
def test_trial_finds_an_augmentation_that_leaves_nothing(
    fresh: Path, capsys, old: str, new: str, what: str
):
    grid = Path(GRID).read_text()
    assert grid.count(old) == 1
    Path("configs/moved.yaml").write_text(grid.replace(old, new))
    assert main(["trial", "configs/moved.yaml"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: made, {what}")
    assert line.endswith(
        "key 'augment': moves of 6 and 0 pixels leave nothing of [1, 6, 6]; lower them"
    )


def test_trial_finds_a_chip_that_cannot_be(fresh: Path, capsys):
    grid = Path(GRID).read_text()
    Path(GRID).write_text(grid.replace("weight_bits: 4", "weight_bits: 4, programming_noise: 0.1"))
    assert main(["trial", GRID]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: hardware 'programming_noise=0.1+weight_bits=4': weight_bits is")


def test_trial_reads_tables_of_records(fresh: Path, capsys):
    """Their shapes follow from the records, and classes may be named."""
    grid = Path("configs/records.yaml")
    over = "{labels: [100], classes: [[code, data]], neurons_per_key: [4]}"
    grid.write_text(
        f"datasets: [{{dataset: files, over: {over}}}]\nmodels: [fc2]\n"
        "methods: [b1-scratch, logistic-regression]\nseeds: [0]\n"
    )
    assert main(["trial", str(grid)]) == 0
    grid.write_text(grid.read_text().replace("100", "1"))
    capsys.readouterr()
    assert main(["trial", str(grid)]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: configs/datasets/files.yaml: no record of class 'data' is in")
