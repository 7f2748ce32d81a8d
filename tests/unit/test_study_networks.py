"""The networks of studies: how they are prepared, and their windows."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ttfs.config import read_named
from ttfs.data import DataSet, load
from ttfs.studies import rates
from ttfs.studies.networks import four_networks


@pytest.fixture(scope="module")
def digits() -> DataSet:
    return load(read_named("dataset", "digits", "a test"))


def test_networks_of_a_study_are_prepared_by_training_images(digits: DataSet, monkeypatch):
    """As the stage `make` prepares them: whitening filters come from images, not from a draw."""

    class Prepared(nn.Sequential):
        prepared_by = 7

        def prepare(self, images: Tensor) -> None:
            self.seen = images

    layers = nn.Flatten(), nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 10)
    for study in ("networks", "rates"):
        monkeypatch.setattr(f"ttfs.studies.{study}.build", lambda *_: Prepared(*layers))
    model: dict[str, Any] = {"id": "made"}
    config = {"learning_rate": 1e-3, "steps": 1, "batch_size": 8}
    networks = four_networks(model, digits, ("digits", "made", 0), torch.float32, 2.0)
    trained = rates._trained(config, digits, model, ("digits", "made", 0))
    for network in (networks["relu"], trained):
        assert torch.equal(network.seen, digits.train.one_batch(7)[0])


def test_windows_stay_infinite_where_charges_overflow(digits: DataSet, monkeypatch):
    """The first neuron of each layer doubles the charge, J / (1 + sum of J) = 2; the second is
    silent.
    """
    maps = [nn.Linear(64, 2, bias=False), *(nn.Linear(2, 2, bias=False) for _ in range(200))]
    maps[0].weight.data = torch.tensor([[1.0], [-0.5]]).expand(2, 64) / 64
    layers: list[nn.Module] = [nn.Flatten(), maps[0]]
    for layer in maps[1:]:
        layer.weight.data = torch.tensor([[1.0, -1.5], [-0.5, 0.0]])
        layers += [nn.ReLU(), layer]
    monkeypatch.setattr("ttfs.studies.networks.build", lambda *_: nn.Sequential(*layers))
    networks = four_networks({"id": "made"}, digits, ("digits", "made", 0), torch.float32, 2.0)
    windows = {name: snn.layers.values() for name, snn in networks.items() if name != "relu"}
    assert all(layer.width == math.inf for layer in windows["alpha1"])
    assert all(layer.width < math.inf for layer in windows["b1"])
