"""Energy, and the multiply-accumulates of the reference network, beside counts by hand."""

import pytest
import torch
from torch import nn

import ttfs
from ttfs.metrics import dense_energy, fan_out, multiply_accumulates, spiking_energy


def test_multiply_accumulates_are_weights_times_positions():
    first, second = nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2), nn.Conv2d(6, 5, (1, 3))
    net = nn.Sequential(first, nn.ReLU(), nn.AvgPool2d(2), second, nn.Flatten(), nn.Linear(15, 3))
    snn = ttfs.convert(net, torch.rand(2, 4, 12, 12))  # 6 x 6 places, 3 x 3, 3 x 1
    snn.body.get_submodule("_5").weights.weight.data.zero_()
    assert multiply_accumulates(snn) == 6 * 36 * (2 * 9) + 5 * 3 * (6 * 3) + 3 * 15


def test_transposed_convolutions_multiply_each_input_by_each_weight():
    ann = nn.Sequential(nn.ConvTranspose2d(4, 6, 3, 2, groups=2), nn.ReLU(), nn.Flatten())
    ann.append(nn.Linear(6 * 9 * 9, 3))
    snn = ttfs.convert(ann, torch.rand(2, 4, 4, 4))
    assert multiply_accumulates(snn) == 4 * 16 * (6 // 2 * 9) + 6 * 9 * 9 * 3


def test_energy_of_a_dense_layer_both_ways():
    net = nn.Sequential(nn.Linear(10, 20), nn.ReLU(), nn.Linear(20, 5))
    counted = fan_out(ttfs.convert(net, torch.rand(3, 10)))
    synapses = sum(count.sum().item() for count in counted.values())
    assert synapses == 10 * 20 + 20 * 5
    assert dense_energy(synapses) == pytest.approx(300 * 4.6e-3)  # nJ
    assert spiking_energy(synapses) == pytest.approx(300 * 0.9e-3)
