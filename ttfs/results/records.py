"""The record: one JSON file per cell, the one truth from which tables, figures and the MLflow store are made.

A cell is one method on one network, data set and seed of a grid. It lives in
``results/<grid>/<dataset>/<model>/seed<k>/<method>/`` and holds ``record.json`` where it succeeded or
``failure.json`` where it did not: a failure is a result too. What became of it on a hardware has a record of its own,
in ``hardware/<id>/`` below.
"""

import csv
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from ttfs.config import Cell, Grid
from ttfs.errors import UserError
from ttfs.results.provenance import Provenance

SCHEMA = 1
REFERENCE = "ann"
"""The method that is the reference row of each table: the ReLU network itself."""

CURVE_COLUMNS = ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "learning_rate")
"""The columns of a ``curve.csv`` after ``epoch``, and the names of the live metrics in MLflow."""


LEVEL = ("level", "network", "fine_tuned", "draw")
"""What tells the rows of a record on a hardware apart."""


@dataclass(frozen=True)
class Metric:
    """How a number of a record is named, printed and summed up over seeds."""

    label: str
    unit: str
    digits: str
    """Format specification of a printed value."""
    better: Literal["higher", "lower", ""] = ""
    over_seeds: Literal["mean", "max"] = "mean"
    in_summary: bool = True

    @property
    def title(self) -> str:
        """Label, unit and direction, as the head of a column: ``Accuracy [%] ↑``."""
        unit = f" [{self.unit}]" if self.unit else ""
        return self.label + unit + {"higher": " ↑", "lower": " ↓", "": ""}[self.better]


METRICS: dict[str, Metric] = {
    "accuracy": Metric("Accuracy", "%", ".2f", "higher"),
    "agreement": Metric("Agreement", "%", ".2f", "higher"),
    "logit_difference": Metric("Largest relative logit difference", "", ".1e", "lower", "max"),
    "spikes_per_neuron": Metric("Spikes per neuron", "", ".3f", "lower"),
    "latency": Metric("Latency", "τ_c", ".2f", "lower"),
    "time_steps": Metric("Time steps", "", ",.0f", "lower", in_summary=False),
    "synaptic_operations": Metric("Synaptic operations", "per image", ",.0f", "lower"),
    "energy": Metric("Energy", "nJ", ",.1f", "lower"),
    "ann_energy": Metric("Energy of the ANN", "nJ", ",.1f", "lower"),
    "spike_time_error": Metric("Largest spike-time error", "τ_c", ".1e", "lower", "max", in_summary=False),
    "early_fire_rate": Metric("Early-fire rate", "", ".4f", "lower", in_summary=False),
    "stalled_neurons": Metric("Neurons without a positive slope", "", ".4f", "lower", in_summary=False),
    "best_validation_accuracy": Metric("Best validation accuracy", "%", ".2f", "higher", in_summary=False),
    "best_epoch": Metric("Best epoch", "", ".0f", in_summary=False),
    "parameters": Metric("Parameters", "", ",.0f", in_summary=False),
}
"""Every metric a record may hold, in the order of the tables."""


@dataclass(frozen=True)
class Record:
    """What came out of a cell. With an ``error`` it is a failure.

    ``layers`` maps a hidden layer to ``neurons``, ``spikes_per_neuron``, ``t_min`` and ``t_max`` (τ_c).
    ``config`` is the slice of the configuration the numbers depend on. On a ``hardware`` the numbers are in ``levels``:
    rows of ``level`` (null without an axis), ``network`` ("ttfs", or "relu" for the control), ``fine_tuned``, ``draw``
    and metrics. Raises ValueError for a metric that `METRICS` does not know.
    """

    cell: Cell
    provenance: Provenance
    metrics: Mapping[str, float] = field(default_factory=dict)
    layers: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    error: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    data_digest: str = ""
    code_digest: str = ""
    hardware: str | None = None
    levels: Sequence[Mapping[str, Any]] = ()

    def __post_init__(self) -> None:
        named = set(self.metrics).union(*self.levels) - set(LEVEL)
        if unknown := sorted(named - set(METRICS)):
            raise ValueError(f"unknown metric {unknown[0]!r}: add it to METRICS in ttfs/results/records.py")

    @property
    def place(self) -> str:
        """Folder of the record below the results."""
        return str(self.cell) + (f"/hardware/{self.hardware}" if self.hardware else "")

    @property
    def status(self) -> Literal["ok", "failed"]:
        """``failed`` where there is an error, else ``ok``."""
        return "ok" if self.error is None else "failed"

    def to_json(self) -> str:
        """The record as JSON text: sorted keys, finite numbers only, a newline at the end."""
        units = {name: METRICS[name].unit for name in self.metrics}
        content = {"schema": SCHEMA, "status": self.status, "units": units, **asdict(self)}
        return json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def write(record: Record, folder: Path) -> Path:
    """Write a record into its cell's folder and return the file's path.

    Success goes to ``record.json`` and failure to ``failure.json``; the other one of the two is removed.
    Raises UserError if the folder cannot be written.
    """
    names = ["record.json", "failure.json"]
    name, other = names if record.status == "ok" else reversed(names)
    atomic_write(folder / name, record.to_json())
    (folder / other).unlink(missing_ok=True)
    return folder / name


def read(path: Path) -> Record:
    """Read one record. Raises UserError if the file is no record of this schema, or lies in another cell's folder."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        schema = content.pop("schema")
        if schema != SCHEMA:
            raise ValueError(f"schema {schema} where this version of ttfs reads schema {SCHEMA}")
        status = content.pop("status")
        del content["units"]
        cell, provenance = Cell(**content.pop("cell")), Provenance(**content.pop("provenance"))
        levels = tuple(content.pop("levels", ()))
        record = Record(cell, provenance, levels=levels, **content)
        if record.status != status:
            raise ValueError(f"status {status!r} with error {record.error!r}")
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        reason = f"missing key {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
        raise UserError(f"{path}: not a readable record ({reason}); delete it and run the workflow again") from None
    if not path.resolve().parent.as_posix().endswith(f"/{record.place}"):
        raise UserError(f"{path}: is the record of {record.place}; delete it or move it to its own folder")
    return record


def collect(grid: Grid) -> list[Record]:
    """The records of a grid's cells, sorted by cell; one per cell, success before failure.

    Raises UserError if there is none, or if one cannot be read.
    """
    found = _read_all(cell.folder for cell in sorted(grid.cells()))
    if not found:
        raise UserError(f"{grid.folder}: no records of this grid's cells; run the workflow first (`snakemake all`)")
    return found


def collect_hardware(grid: Grid) -> list[Record]:
    """The records of a grid's networks on hardware, sorted by cell. Raises UserError if one cannot be read."""
    return _read_all(cell.hardware_folder(hardware) for cell, hardware in sorted(grid.deployments()))


def _read_all(folders: Iterable[Path]) -> list[Record]:
    found = []
    for folder in folders:
        paths = [folder / name for name in ("record.json", "failure.json")]
        found += [read(path) for path in paths if path.exists()][:1]
    return found


def read_curve(cell_folder: Path) -> list[dict[str, float]]:
    """The rows of a cell's ``curve.csv``, one per epoch; empty if the cell has none. Raises UserError if it is torn."""
    path = cell_folder / "curve.csv"
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file, strict=True)]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise UserError(
            f"{path}: not a readable curve ({error}); delete its folder and run the workflow again"
        ) from None


def atomic_write(path: Path, content: str | bytes) -> None:
    """Write a file whole or not at all, making its folder; what was there stays until the new one is complete.

    Raises UserError if the place cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        cure = "make the folder writable or free some space"
        raise UserError(f"{path}: cannot be written ({error.strerror}); {cure}") from None
