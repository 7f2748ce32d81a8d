"""The networks of cells: read back from their checkpoints, and tested."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ttfs.config import Cell
from ttfs.errors import UserError
from ttfs.metrics import accuracy
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


@torch.no_grad()
def test_accuracy(answer: Callable[[Tensor], Tensor], job: Job) -> float:
    """Accuracy in percent, on the whole test split, of what maps images [N, ...] to logits on the job's device."""
    batches = job.data.test.batches(500, device=job.device)
    with parametrize.cached():  # few-bit weights are rounded once, not for each batch
        parts = [(answer(images).cpu(), labels.cpu()) for images, labels in batches]
    logits, labels = (torch.cat(part) for part in zip(*parts, strict=True))
    return accuracy(logits, labels)
