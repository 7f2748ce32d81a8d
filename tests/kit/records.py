"""Made-up records of a grid, for the tests of what is made from records."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ttfs.config import Cell, Grid, Variant
from ttfs.results.frame import Results
from ttfs.results.provenance import Provenance
from ttfs.results.record import CURVE, CURVE_COLUMNS, Record, curve_text

PROVENANCE = Provenance(
    versions={"python": "3.11.7", "torch": "2.15.0", "ttfs": None},
    git_commit="0123456789abcdef0123456789abcdef01234567",
    git_dirty=False,
    platform="Linux",
    processor="a processor, 2 cores",
    device="cpu",
    threads=1,
    wall_seconds=12.5,
    finished="2026-01-02T03:04:05+00:00",
)
METHODS = ("ann", "b1-converted")
TRAIN = {"epochs": 3, "optimizer": "adam", "activity_l1": 0.0, "activity_l0": 0.0}


def made_up(
    method: str = "ann",
    seed: int = 0,
    error: str | None = None,
    config: dict | None = None,
    **ids: str,
) -> Record:
    """Return a record whose numbers depend on seed and method alone: accuracy 98, 97, 96 for seeds
    0, 1, 2.
    """
    cell = Cell(**{"dataset": "digits", "model": "fc2", "method": method, "seed": seed, **ids})
    config = {"method": {"train": TRAIN}, "seed": seed} if config is None else config
    made = replace(PROVENANCE, wall_seconds=1000.0 + 10 * seed)
    provenance = {"make": made, "evaluate": PROVENANCE}
    digests = {"data": "d1", "code": "c1"}
    rows = () if error is not None else tuple(_rows(method, seed))
    return Record(cell.ids, provenance, rows, error, config, digests)


def _rows(method: str, seed: int) -> list[dict[str, Any]]:
    rows = [
        {"metric": "accuracy", "value": 98.0 - seed},
        {"metric": "accuracy", "value": 100.0 - seed, "class": 0},
        {"metric": "accuracy", "value": 96.0 - seed, "class": 1},
        {"metric": "confusion", "value": 7, "class": 1, "predicted": 0},
    ]
    if method == "ann":
        return [*rows, {"metric": "best_epoch", "value": 2}]
    plain = {
        "agreement": 100.0, "logit_difference": 1e-6 * (1 + seed),
        "spikes_per_neuron": 0.4 + 0.1 * seed,
        "latency": 10.0, "synaptic_operations": 12345.0, "energy": 0.1,
    }  # fmt: skip
    layers = {
        "layers.10": {"neurons": 20, "spikes_per_neuron": 0.2, "t_min": 3.0, "t_max": 7.0},
        "layers.2": {
            "neurons": 30,
            "spikes_per_neuron": 0.4 + 0.1 * seed,
            "t_min": 1.0,
            "t_max": 3.0,
        },
    }
    rows += [{"metric": name, "value": value} for name, value in plain.items()]
    return rows + [
        {"metric": name, "value": value, "layer": layer}
        for layer, values in layers.items()
        for name, value in values.items()
    ]


def with_values(record: Record, config: dict | None = None, **values: float | None) -> Record:
    """Return a record with other values of metrics without dimensions; None leaves a metric out."""
    rows = [row for row in record.rows if len(row) > 2 or row["metric"] not in values]
    rows += [
        {"metric": name, "value": value} for name, value in values.items() if value is not None
    ]
    config = record.config if config is None else config
    return Record(record.ids, record.provenance, tuple(rows), record.error, config, record.digests)


def grid(
    methods: Sequence[str] = METHODS, hardware: dict[str, Variant] | None = None, **settings: Any
) -> Grid:
    """Return the grid of such records: digits, fc2, seeds 0 to 2."""
    defaults = {"seeds": [0, 1, 2], "deployed": [], "reference": "", "sparsity_tolerance": 0.1}

    def points(*names: str) -> dict[str, Variant]:
        return {name: Variant(name, {"id": name.split("+")[0], **_kind(name)}) for name in names}

    return Grid(
        "tiny",
        defaults | settings,
        points("digits"),
        points("fc2"),
        points(*methods),
        hardware or {},
        file="tiny.yaml",
    )


def _kind(name: str) -> dict[str, Any]:
    return {"kind": "relu" if name.startswith("ann") else "b1"}


def records(methods: Sequence[str] = METHODS, failed: bool = True) -> list[Record]:
    """Return the records of a grid in its order; seed 2 did not convert."""
    found = []
    for seed in range(3):
        for method in methods:
            broken = failed and (seed, method) == (2, "b1-converted")
            error = "evaluate: layer layers.2: off by 0.1\nTolerance 1e-4" if broken else None
            found.append(made_up(method, seed, error))
    return found


def results(found: Sequence[Record] | None = None, of: Grid | None = None) -> Results:
    """Return records with their grid."""
    return Results(of or grid(), records() if found is None else found)


def write_curve(folder: Path) -> None:
    """Write a curve of three epochs: validation accuracy 89, 90, 91."""
    values = dict(zip(CURVE_COLUMNS, (1.0, 90.0, 1.1, 0.0, 0.001), strict=True))
    rows = [{"epoch": n, **values, "validation_accuracy": 89.0 + n} for n in range(3)]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CURVE).write_text(curve_text(rows))
