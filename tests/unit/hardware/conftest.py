"""A small network, and images for it."""

import pytest
import torch
from torch import nn

import ttfs


@pytest.fixture(scope="module")
def images():
    return torch.rand(64, 1, 8, 8, generator=torch.Generator().manual_seed(7)) * (
        torch.arange(64) % 8 > 1
    ).view(8, 8)


@pytest.fixture(scope="module")
def snn(images):
    torch.manual_seed(3)
    ann = nn.Sequential(
        nn.Conv2d(1, 6, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(54, 20),
        nn.ReLU(),
        nn.Linear(20, 5),
    )
    return ttfs.convert(ann, images)
