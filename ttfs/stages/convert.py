"""convert: map a trained ReLU network exactly to a TTFS network."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ttfs.errors import UserError
from ttfs.results.records import read
from ttfs.snn import SpikingNetwork
from ttfs.snn import convert as to_spikes
from ttfs.stages._job import Job, load_weights, save_weights


def convert(job: Job) -> None:
    """Write weights.pt of the TTFS network: synapses and windows."""
    ann = load_ann(job).to(job.device)
    config = job.config["convert"]
    snn = to_spikes(ann, _calibration(job), config["neuron"], config["headroom"], job.data.input_range)
    save_weights(snn.cpu(), job.cell.folder / "weights.pt")
    job.say(f"{len(snn.layers)} hidden layers, latency {snn.latency:.2f} tau_c")


def load_ann(job: Job) -> nn.Module:
    """The ReLU network that the cell's network comes from."""
    source = job.grid.source(job.cell)
    assert source is not None, f"{job.cell} is not converted from anything"
    record = source.folder / "record.json"
    if not record.exists():
        raise UserError(f"{record}: no such file; train {source.name} first")
    if read(record).data_digest != job.data.digest:
        raise UserError(f"{record}: trained on other data than there are now; delete it and run the workflow again")
    return load_weights(job.build(), source.folder / "weights.pt").eval()


def load_snn(job: Job, ann: nn.Module) -> SpikingNetwork:
    """The cell's TTFS network: the graph follows from the ReLU network, weights and windows from the checkpoint."""
    data = job.data
    any_image = torch.full((1, *data.shape), data.input_range[0])
    config = job.grid.methods[job.cell.method]["convert"]
    snn = to_spikes(ann, any_image, config["neuron"], config["headroom"], data.input_range)
    load_weights(snn, job.cell.folder / "weights.pt")
    return snn


def _calibration(job: Job) -> Iterator[Tensor]:
    """Training images in order, as many as the method asks for."""
    left = job.config["convert"]["calibration_images"] or len(job.data.train)
    for images, _ in job.data.train.batches(1000, device=job.device):
        yield images[:left]
        left -= len(images)
        if left <= 0:
            break
