"""How TTFS networks are made: converted, drawn, and trained in the spike-time domain."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ttfs.methods._job import Job
from ttfs.methods._learning import learn

if TYPE_CHECKING:
    from torch import Tensor

    from ttfs.snn import SpikingNetwork

FIRST_IMAGES = 1000
"""Training items that the windows of a network from scratch are measured on before it learns."""


def calibration(job: Job, count: int | None) -> Iterator["Tensor"]:
    """Yield training items in order, as many as asked for (`Split.some`); all, without a number."""
    train = job.data.train
    part = train if count is None else train.some(count)
    return (items for items, _ in part.batches(1000, device=job.device))


def first_items(job: Job) -> "Tensor":
    """Return the training items that a network is drawn with, on the CPU."""
    items, _ = job.data.train.one_batch(FIRST_IMAGES)
    return items


def any_item(job: Job) -> "Tensor":
    """Return an item [1, ...] of the data's shape and range, to read a network with."""
    import torch

    return torch.full((1, *job.data.shape), job.data.input_range[0])


def train(snn: "SpikingNetwork", job: Job) -> None:
    """Train a TTFS network in place; its windows grow as it learns, and are set anew at the end."""
    from ttfs.snn import calibrate_
    from ttfs.training import GrowingWindows

    growth = job.options["train"]["window_growth"]
    learn(snn.train(), job, [GrowingWindows(snn, growth)])
    calibrate_(snn.to(job.device).eval(), calibration(job, None), job.options["headroom"])
