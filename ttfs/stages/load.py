"""load: a network of the store, with its data and its record, in one line."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ttfs.config import STORE, Cell, Grid, Variant
from ttfs.data import DataSet
from ttfs.errors import UserError
from ttfs.methods import Job
from ttfs.results.record import MADE, RECORD, Record, damaged, read, read_made
from ttfs.results.state import other


@dataclass(frozen=True)
class Trained:
    """A network (or other classifier) as it was measured, its data set, and the record of its
    numbers.
    """

    network: Any
    data: DataSet
    record: Record


def load(folder: str | Path) -> Trained:
    """Return the network, data and record of a folder of the store, e.g.
    `results/cells/digits/fc2/b1-converted/seed0`.

    In the folder of a network on hardware, the network is as it was measured there: mapped onto the
    chip, or fine-tuned on it. Raises UserError where the folder holds no record of a network, or
    its files or its data were changed.
    """
    folder = Path(folder).resolve()
    if not (folder / RECORD).exists():
        raise UserError(
            f"{folder}: holds no {RECORD}; name the folder of a cell, such as "
            f"{STORE}/digits/fc2/ann/seed0"
        )
    record = read(folder / RECORD)
    if "study" in record.ids:
        raise UserError(f"{folder}: is a study; it has a table, and no network")
    cell = Cell(**record.ids)
    network_folder = folder.parents[1] if cell.hardware else folder
    if not (network_folder / MADE).exists():
        raise UserError(
            f"{network_folder}: holds no network beside its record, as published records are kept; "
            "make it anew: ttfs reproduce <grid> <cell>"
        )
    made = read_made(network_folder)
    reason = damaged(network_folder, made.files, MADE, closely=True)
    if reason is not None:
        raise UserError(f"{network_folder}: {reason}; run the workflow again, which makes it anew")
    if reason := other(record, made):
        raise UserError(f"{folder}: {reason}; run the workflow again")
    reason = damaged(folder, record.digests.get("files", {}), RECORD, closely=True)
    if reason is not None:
        raise UserError(f"{folder}: {reason}; run the workflow again, which makes it anew")
    job = Job(
        "deploy" if cell.hardware else "evaluate",
        _grid(cell, dict(made.config), record),
        cell,
        place=folder,
    )
    job.config = dict(record.config if cell.hardware else made.config)
    if job.data.digest != made.data:
        raise UserError(
            f"{folder}: its record is of other data than there are now; run the workflow again"
        )
    network = job.kind.on_hardware(job) if cell.hardware else job.kind.load(job)
    return Trained(network, job.data, record)


def _grid(cell: Cell, made: dict[str, Any], record: Record) -> Grid:
    """A grid of the one cell, with the configuration that its files hold."""
    dataset = {"augment": None, "epochs": None, "batch_size": None, **made["dataset"]}
    method = {"id": cell.method, **made["method"]}
    chip = record.config.get("hardware")
    return Grid(
        "loaded",
        {"seeds": [cell.seed], "deployed": [], "reference": ""},
        {cell.dataset: Variant(cell.dataset, dataset)},
        {cell.model: Variant(cell.model, made["model"])} if "model" in made else {},
        {cell.method: Variant(cell.method, method)},
        {cell.hardware: Variant(cell.hardware, {"id": cell.hardware, **chip})} if chip else {},
    )
