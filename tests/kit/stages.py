"""A little grid on made-up data, whose stages run in the process of the test."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from ttfs.config import Grid, load_grid
from ttfs.results.record import Record, read
from ttfs.results.state import State
from ttfs.stages.cells import run

GRID = "configs/little.yaml"
FILES = {
    GRID: """\
datasets: [made]
models: [little]
methods: [ann, b1-converted, b1-finetuned, alpha1-converted]
seeds: [0]
hardware: [{over: {weight_bits: 4}}, {over: {jitter: 0.1, tuning: {epochs: 1}}}]
deployed: [b1-converted]
studies: [short]
""",
    "configs/datasets/made.yaml": """\
title: Made up
source: {npz: made.npz}
shape: [1, 6, 6]
classes: 3
validation: 12
epochs: 6
batch_size: 8
citation: nobody
""",
    "configs/methods/ann.yaml": """\
title: ReLU network
kind: relu
train: {optimizer: adam, learning_rate: 2.0e-2}
""",
    "configs/models/little.yaml": "title: Little\nlayers: 4C3-P2-6\n",
    "configs/studies/short.yaml": """\
title: Short
trajectory:
  dataset: made
  models: [dense]
  optimizers: {adam: 1.0e-3}
  dtypes: [float64]
  batch_size: 24
""",
    "configs/models/dense.yaml": "title: Dense\nlayers: 5\n",
}
CELL = "made/little/{}/seed0"
"""The name of a network's cell, but for its method."""
EVERYTHING = (
    *(f"{stage} {CELL.format(method)}"
      for method in ("ann", "b1-converted", "b1-finetuned", "alpha1-converted")
      for stage in ("make", "evaluate")),
    f"deploy {CELL.format('b1-converted')}/hardware/weight_bits=4",
    f"deploy {CELL.format('b1-converted')}/hardware/jitter=0.1+tuning.epochs=1",
    "study studies/short",
)  # fmt: skip
"""The stages of the little grid, in order."""


def write_files(folder: Path) -> None:
    """Write the configuration and the data of the little grid."""
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    write_data(folder / "data" / "made.npz")


def write_data(path: Path, seed: int = 0) -> None:
    """Write images of three classes, each with a bright column of its own: 60 to train on, 30 to
    test.
    """
    rng = np.random.default_rng(seed)
    arrays = {}
    for half, count in (("train", 60), ("test", 30)):
        labels = np.arange(count) % 3
        images = rng.integers(0, 128, (count, 6, 6), dtype=np.uint8)
        images[np.arange(count), :, 2 * labels] += 127
        arrays |= {f"x_{half}": images, f"y_{half}": labels}
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)


def grid(path: str = GRID) -> Grid:
    """Read a grid."""
    return load_grid(path)


def due(path: str = GRID) -> dict[str, str]:
    """Return {"stage cell": why} of all that is due."""
    return {f"{stage} {cell}": why for (stage, cell), why in State(grid(path)).due.items()}


def run_stages(stages: Iterable[str], path: str = GRID) -> dict[str, int]:
    """Run stages, each written as "stage cell"; return their exit statuses."""
    return {words: run(*_split(words, path)) for words in stages}


def run_due(path: str = GRID) -> dict[str, int]:
    """Run all that is due; return the exit status of each stage."""
    return run_stages(due(path), path)


def cell(method: str, hardware: str = "") -> Path:
    """Return the folder of a cell of the little grid."""
    folder = Path("results", "cells", CELL.format(method))
    return folder / "hardware" / hardware if hardware else folder


def edit(path: str | Path, old: str, new: str) -> None:
    """Change the one place of a file that holds the old text."""
    text = Path(path).read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{path}: {old!r}"
    Path(path).write_text(text.replace(old, new), encoding="utf-8")


def times(folder: str | Path = "results/cells") -> dict[str, int]:
    """Return when each file of the store was written, in ns since the epoch."""
    paths = (path for path in Path(folder).rglob("*") if path.is_file() and path.name != ".lock")
    return {path.relative_to(folder).as_posix(): path.stat().st_mtime_ns for path in paths}


def _split(words: str, path: str):
    stage, name = words.split()
    return stage, Path(path), name


def record(method: str, hardware: str = "") -> Record:
    """Return the record of a cell of seed 0."""
    return read(cell(method, hardware) / "record.json")


def weights(method: str) -> dict[str, torch.Tensor]:
    """Return the float32 weights of a network of seed 0."""
    state = torch.load(cell(method) / "weights.pt", weights_only=True)
    return {name: value for name, value in state.items() if value.dtype == torch.float32}
