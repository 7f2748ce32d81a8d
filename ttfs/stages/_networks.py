"""The networks of cells, read back from their checkpoints."""

import torch
from torch import nn

from ttfs.config import Cell
from ttfs.errors import UserError
from ttfs.results.records import read
from ttfs.snn import SpikingNetwork, convert
from ttfs.stages._job import Job, load_weights


def load_ann(job: Job, cell: Cell) -> nn.Module:
    """The trained ReLU network of a cell."""
    record = cell.folder / "record.json"
    if not record.exists():
        raise UserError(f"{record}: no such file; train {cell.name} first")
    if read(record).data_digest != job.data.digest:
        raise UserError(f"{record}: trained on other data than there are now; delete it and run the workflow again")
    return load_weights(job.build(), cell.folder / "weights.pt").eval()


def load_snn(job: Job, cell: Cell) -> SpikingNetwork:
    """The TTFS network of a cell: the graph follows from the ReLU network, weights and windows from the checkpoint."""
    data = job.data
    any_image = torch.full((1, *data.shape), data.input_range[0])
    snn = convert(job.build(), any_image, job.grid.neuron(cell.method), input_range=data.input_range)
    load_weights(snn, cell.folder / "weights.pt")
    return snn
