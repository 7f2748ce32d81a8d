"""The four networks that one initial draw gives, and how they learn."""

import math
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ttfs.data import Batches, DataSet, Split
from ttfs.metrics import accuracy
from ttfs.models import build, prepare
from ttfs.seeds import seed
from ttfs.snn import ConversionError, SpikingNetwork, WindowGrowth, calibrate_, convert, to_alpha1_

NETWORKS = ("relu", "b1", "alpha1-smart", "alpha1")
"""The ReLU network, its B1 and its α1 mapping, and the α1 network whose currents J are drawn as its
weights W are.
"""

Axes = tuple[str | int, ...]


def four_networks(
    model: Mapping[str, Any], data: DataSet, axes: Axes, dtype: torch.dtype, growth: float
) -> dict[str, nn.Module]:
    """Return the networks by name; the first three are the same function.

    The draw is made in float32 whatever the dtype, as the stage `make` does. Windows are growth x
    the largest potential over the first images; where charges of the drawn network overflow, its
    windows stay infinite.
    """
    torch.manual_seed(seed(*axes, "init"))
    ann = build(model, data.shape, data.classes)
    prepare(ann, lambda count: data.train.one_batch(count)[0])
    ann = ann.to(dtype)
    images = data.train.one_batch(1000)[0].to(dtype)
    headroom = growth - 1.0
    b1, smart, drawn = (
        convert(ann, images, kind, headroom, data.input_range) for kind in ("b1", "alpha1", "b1")
    )
    to_alpha1_(drawn, drawn=True)
    for layer in drawn.layers.values():
        layer.width = math.inf  # in place of the B1 network's
    with suppress(ConversionError):
        calibrate_(drawn, [images], headroom)
    return dict(zip(NETWORKS, (ann, b1, smart, drawn), strict=True))


def shuffled(data: DataSet, size: int, axes: Axes) -> Batches:
    """Return training batches in an order that the axes name; without augmentation."""
    return data.train.batches(size, torch.Generator().manual_seed(seed(*axes, "order")))


class Learner:
    """A network that learns batch by batch; the windows of a TTFS network grow as it does."""

    def __init__(self, network: nn.Module, optimizer: torch.optim.Optimizer, growth: float):
        self.network = network
        self._dtype = next(network.parameters()).dtype
        self._optimiser = optimizer
        self._windows = (
            WindowGrowth(network, growth) if isinstance(network, SpikingNetwork) else None
        )
        if self._windows:
            self._windows.start()

    def learn(self, images: Tensor, labels: Tensor) -> tuple[Tensor, float]:
        """Take one step; return logits and cross-entropy from before it. A loss that is not finite
        changes no weight.
        """
        logits = self.network(images.to(self._dtype))
        loss = F.cross_entropy(logits, labels)
        value = loss.item()
        if math.isfinite(value):
            self._optimiser.zero_grad()
            loss.backward()
            self._optimiser.step()
            if self._windows:
                self._windows.grow()
        return logits.detach(), value


@torch.no_grad()
def accuracy_on(split: Split, network: nn.Module) -> float:
    """Accuracy in percent on a whole split, which leaves the network in `eval()`."""
    network.eval()
    dtype = next(network.parameters()).dtype
    answers = [(network(images.to(dtype)), labels) for images, labels in split.batches(1000)]
    logits, labels = (torch.cat(part) for part in zip(*answers, strict=True))
    return accuracy(logits, labels)


def cosine(first: Tensor, second: Tensor) -> float:
    """Cosine of the angle between two directions of any one shape; NaN where one of them is 0."""
    first, second = first.double(), second.double()
    return ((first * second).sum() / (first.norm() * second.norm())).item()
