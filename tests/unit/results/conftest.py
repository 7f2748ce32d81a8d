"""Made-up records, for the tests of what is made from records."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ttfs.config import Cell, Grid
from ttfs.results import records
from ttfs.results.provenance import Provenance
from ttfs.results.records import CURVE_COLUMNS, Record

PROVENANCE = Provenance(
    versions={"python": "3.11.7", "torch": "2.15.0", "ttfs": None},
    git_commit="0123456789abcdef0123456789abcdef01234567",
    git_dirty=False,
    platform="Linux",
    device="cpu",
    threads=1,
    wall_seconds=12.5,
    finished="2026-01-02T03:04:05+00:00",
)


def made_up(
    dataset: str = "digits", model: str = "fc2", seed: int = 0, method: str = "ann", error: str | None = None
) -> Record:
    """A record with numbers that depend on seed and method alone: accuracy 98, 97, 96 for seeds 0, 1, 2."""
    cell = Cell("tiny", dataset, model, seed, method)
    config = {"train": {"epochs": 3, "optimizer": "adam"}, "seed": seed}
    if error is not None:
        return Record(cell, PROVENANCE, error=error, config=config)
    if method == "ann":
        return Record(cell, PROVENANCE, {"accuracy": 98.0 - seed, "best_epoch": 2}, config=config)
    metrics = {
        "accuracy": 98.0 - seed,
        "agreement": 100.0,
        "logit_difference": 1e-6 * (1 + seed),
        "spikes_per_neuron": 0.4 + 0.1 * seed,
        "latency": 10.0,
        "synaptic_operations": 12345.0,
        "energy": 0.1,
    }
    layers = {
        "layers.10": {"neurons": 20, "spikes_per_neuron": 0.2, "t_min": 3.0, "t_max": 7.0},
        "layers.2": {"neurons": 30, "spikes_per_neuron": 0.4 + 0.1 * seed, "t_min": 1.0, "t_max": 3.0},
    }
    return Record(cell, PROVENANCE, metrics, layers, config=config, data_digest="d1", code_digest="c1")


@pytest.fixture
def make_record() -> Callable[..., Record]:
    """`made_up`, which makes a record from ids."""
    return made_up


@pytest.fixture
def tiny_grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Grid:
    """A grid with its results, in a fresh working directory: digits, fc2, seeds 0 to 2, ANN with curves, and converted.

    Seed 2 did not convert.
    """
    monkeypatch.chdir(tmp_path)
    grid = Grid(
        "tiny", {"seeds": [0, 1, 2], "deployed": []}, {"digits": {}}, {"fc2": {}}, {"ann": {}, "b1-converted": {}}
    )
    for cell in grid.cells():
        failed = (cell.seed, cell.method) == (2, "b1-converted")
        error = "layer layers.2: off by 0.1\nTolerance 1e-4" if failed else None
        records.write(made_up(seed=cell.seed, method=cell.method, error=error), cell.folder)
        if cell.method == "ann":
            rows = [",".join(("epoch", *CURVE_COLUMNS))]
            rows += [f"{epoch},1.0,90.0,1.1,{89 + epoch},0.001" for epoch in range(3)]
            records.atomic_write(cell.folder / "curve.csv", "\n".join(rows) + "\n")
    return grid
