"""convert: map a trained ReLU network exactly to a TTFS network."""

from collections.abc import Iterator

from torch import Tensor

from ttfs.snn import convert as to_spikes
from ttfs.stages._job import Job, save_weights
from ttfs.stages._networks import load_ann


def convert(job: Job) -> None:
    """Write weights.pt of the TTFS network: synapses and windows."""
    source = job.grid.source(job.cell)
    assert source is not None, f"{job.cell} is not converted from anything"
    ann = load_ann(job, source).to(job.device)
    config = job.config["convert"]
    snn = to_spikes(ann, _calibration(job), config["neuron"], config["headroom"], job.data.input_range)
    save_weights(snn.cpu(), job.cell.folder / "weights.pt")
    job.say(f"{len(snn.layers)} hidden layers, latency {snn.latency:.2f} tau_c")


def _calibration(job: Job) -> Iterator[Tensor]:
    """Training images in order, as many as the method asks for."""
    left = job.config["convert"]["calibration_images"] or len(job.data.train)
    for images, _ in job.data.train.batches(1000, device=job.device):
        yield images[:left]
        left -= len(images)
        if left <= 0:
            break
