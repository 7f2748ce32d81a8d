"""What every job on one cell shares: its configuration, its inputs and outputs, and what happens when it fails."""

import io
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ttfs.config import Cell, Grid, load_grid
from ttfs.data import DataSet, load
from ttfs.digest import BOOKKEEPING, code_digest
from ttfs.errors import UserError
from ttfs.models import build
from ttfs.results.provenance import Provenance
from ttfs.results.records import Record, atomic_write, write


@dataclass
class Job:
    """One stage on one cell, on a hardware if one is named."""

    stage: str
    grid: Grid
    cell: Cell
    device: str  # "cpu" or "cuda"
    hardware: str | None = None
    started: float = field(default_factory=time.monotonic)

    @cached_property
    def config(self) -> dict[str, Any]:
        """The slice of the configuration that this stage's numbers depend on."""
        if self.hardware is not None:
            return self.grid.hardware_slice(self.cell, self.hardware)
        return self.grid.slice(self.stage, self.cell)

    @property
    def folder(self) -> Path:
        """Where the job writes its record."""
        return self.cell.folder if self.hardware is None else self.cell.hardware_folder(self.hardware)

    @cached_property
    def data(self) -> DataSet:
        """The data set of the cell."""
        augment = self.config.get("train", {}).get("augment")
        config = self.grid.datasets[self.cell.dataset] | {"augment": augment}
        return load(config, f"configs/datasets/{self.cell.dataset}.yaml")

    def build(self) -> nn.Module:
        """The cell's ReLU network with fresh weights."""
        return build(self.grid.models[self.cell.model], self.data.shape, self.data.classes)

    def say(self, text: str) -> None:
        """Report progress, for the terminal and the log."""
        where = str(self.cell) if self.hardware is None else f"{self.cell} on {self.hardware}"
        print(f"[{where}] {text}", file=sys.stderr, flush=True)

    def write_record(self, **content: Any) -> None:
        """Write the cell's record; with an `error` it records the failure."""
        wall_seconds = time.monotonic() - self.started
        record = Record(
            self.cell,
            config=self.config,
            code_digest=code_digest(f"ttfs.stages.{self.stage}", BOOKKEEPING),
            provenance=Provenance.now(self.device, self.grid.settings["threads"], wall_seconds),
            hardware=self.hardware,
            **content,
        )
        write(record, self.folder)


def run(stage: str, function: Callable[[Job], None], grid: Path, cell: str, hardware: str | None = None) -> int:
    """Run a stage on the cell named `dataset/model/seed<k>/method`; a failure leaves a record too.

    Returns the exit status: 0, 2 where the user can mend it, 1 where the code must be.
    """
    loaded = load_grid(grid)
    job = Job(stage, loaded, _find(loaded, cell), _device(loaded), hardware)
    _check_stage(job)
    torch.set_num_threads(loaded.settings["threads"])
    torch.set_flush_denormal(True)  # moments of idle weights sink below 1e-38, where processors are many times slower
    try:
        function(job)
    except UserError as error:
        job.say(f"error: {error}")
        job.write_record(error=f"{stage}: {error}")
        return 2
    except Exception as error:
        traceback.print_exc()
        job.write_record(error=f"{stage}: {type(error).__name__}: {' '.join(str(error).split())}")
        return 1
    return 0


def save_weights(network: nn.Module, path: Path) -> None:
    """Write a network's state whole or not at all."""
    buffer = io.BytesIO()
    torch.save(network.state_dict(), buffer)
    atomic_write(path, buffer.getvalue())


def load_weights(network: nn.Module, path: Path) -> nn.Module:
    """Read a network's state; raise UserError where the file is missing, corrupt or of another network."""
    try:
        state: Mapping[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        network.load_state_dict(state)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run the stage that makes it") from None
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        cure = "delete it and run the workflow again"
        raise UserError(f"{path}: not a checkpoint of this network ({reason}); {cure}") from None
    return network


def _check_stage(job: Job) -> None:
    if job.hardware is None:
        own = job.grid.stages(job.cell.method)
        if job.stage not in own:
            known = " and ".join(own)
            raise UserError(f"{job.stage}: the method of {job.cell.name} has no such stage; its own are: {known}")
    elif (job.cell, job.hardware) not in job.grid.deployments():
        known = ", ".join(job.grid.hardware) or "none"
        raise UserError(f"{job.stage}: the grid puts {job.cell.name} not on {job.hardware!r}; its hardware: {known}")


def _device(grid: Grid) -> str:
    wanted, found = grid.settings["device"], torch.cuda.is_available()
    if wanted == "cuda" and not found:
        raise UserError(f"configs/{grid.name}.yaml: key 'device' is 'cuda', but there is no GPU; use 'auto' or 'cpu'")
    return "cuda" if found and wanted != "cpu" else "cpu"


def _find(grid: Grid, name: str) -> Cell:
    for cell in grid.cells():
        if cell.name == name:
            return cell
    raise UserError(f"grid {grid.name} has no cell {name!r}; `python -m ttfs check` lists them")
