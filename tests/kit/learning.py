"""What the tests of training share: made-up data, small networks, one configuration, and training
by hand.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ttfs.data import DataSet, load
from ttfs.methods import SpikingTrain
from ttfs.seeds import seed
from ttfs.snn import SpikingNetwork, calibrate_
from ttfs.training import GrowingWindows, fit

AXES = ("made", "tiny", 0)
OPTIONS = SpikingTrain(
    optimizer="adam", learning_rate=0.01, schedule="constant", decay=0.5, select="last",
    epochs=2, batch_size=8,
)  # fmt: skip
CONFIG = OPTIONS.model_dump() | {"headroom": 0.5}


def make_data(
    folder: Path, monkeypatch: pytest.MonkeyPatch, images: int = 40, **changes: Any
) -> DataSet:
    """Return random images of three classes; of `images`, eight are held out for validation."""
    rng = np.random.default_rng(0)
    np.savez(
        folder / "made.npz",
        x_train=rng.random((images, 4, 4), dtype=np.float32), y_train=rng.integers(0, 3, images),
        x_test=rng.random((6, 4, 4), dtype=np.float32), y_test=rng.integers(0, 3, 6),
    )  # fmt: skip
    monkeypatch.setenv("TTFS_DATA", str(folder))
    source = {
        "id": "made",
        "source": {"npz": "made.npz"},
        "shape": [1, 4, 4],
        "classes": 3,
        "validation": 8,
    }
    return load(source | changes)


def network(norm: bool = False, dropout: float = 0.0) -> nn.Sequential:
    torch.manual_seed(1)
    layers = [
        nn.Flatten(),
        nn.Linear(16, 12),
        *[nn.BatchNorm1d(12)] * norm,
        nn.ReLU(),
        nn.Dropout(dropout),
    ]
    return nn.Sequential(*layers, nn.Linear(12, 3))


def train(
    data: DataSet, net: nn.Module, axes: tuple = AXES, **changes: Any
) -> list[dict[str, float]]:
    """Train as the kinds do: the windows of an ideal TTFS network grow, and are set at the end."""
    config = CONFIG | changes
    if not (isinstance(net, SpikingNetwork) and net.ideal):
        return fit(net, data, config, axes)
    rows = fit(net, data, config, axes, callbacks=[GrowingWindows(net, config["window_growth"])])
    calibrate_(net.eval(), (images for images, _ in data.train.batches(1000)), config["headroom"])
    return rows


def by_hand(
    net: nn.Module,
    data: DataSet,
    step: Callable[[list[Tensor], list[Tensor], list[dict]], None],
    epochs: int = 2,
) -> None:
    """Train with an update rule written out: step(parameters, gradients, states)."""
    order = torch.Generator().manual_seed(seed(*AXES, "order"))
    batches = data.train.batches(CONFIG["batch_size"], generator=order, augment=True)
    parameters = list(net.parameters())
    states: list[dict] = [{} for _ in parameters]
    for _ in range(epochs):
        for images, labels in batches:
            logits = net(images)
            loss = (logits.logsumexp(1) - logits[torch.arange(len(labels)), labels]).mean()
            gradients = torch.autograd.grad(loss, parameters)
            with torch.no_grad():
                step(parameters, list(gradients), states)


def equal(first: nn.Module, second: nn.Module) -> bool:
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def close(first: nn.Module, second: nn.Module) -> None:
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def learn(network: nn.Module, images: Tensor, steps: int = 100) -> list[float]:
    """Take steps of Adam on one batch, whose five classes take turns; return the losses."""
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    labels = torch.arange(len(images)) % 5
    losses = []
    for _ in range(steps):
        loss = nn.functional.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses
