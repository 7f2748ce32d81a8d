"""Synapses counted by a gradient, beside the same synapses written out one by one."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import ttfs
from ttfs.metrics import fan_out
from ttfs.metrics.synapses import _written_out
from ttfs.snn import SpikingNetwork, count_synapses

IMAGES = (3, 8, 8)


def thinned(net: nn.Module, shape: tuple[int, ...]) -> nn.Module:
    """A third of the weights is 0: no synapses."""
    net.eval()(torch.rand(1, *shape))  # the last layer takes its size
    for module in net.modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            module.weight.data *= torch.rand_like(module.weight) > 1 / 3
    return net


def converted(net: nn.Module, shape: tuple[int, ...] = IMAGES) -> SpikingNetwork:
    return ttfs.convert(thinned(net, shape), torch.rand(4, *shape))


class Graph(nn.Module):
    """Layers, and a function that puts them together."""

    def __init__(self, forward: Callable[["Graph", Tensor], Tensor], **layers: nn.Module):
        super().__init__()
        self.put_together = forward
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.put_together(self, x)


def head(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(4))


def convolution(**options) -> nn.Module:
    return head(nn.Conv2d(3, 6, 3, **options), nn.ReLU(), nn.Conv2d(6, 4, 3, groups=2), nn.ReLU())


def block() -> nn.Module:
    """A residual sum of neurons that a convolution reads."""
    return Graph(
        lambda net, x: net.out((y := net.first(x)) + net.second(y)),
        first=nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU()),
        second=nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()),
        out=head(nn.Conv2d(4, 2, 3), nn.BatchNorm2d(2), nn.ReLU()),
    )


def pre_block() -> nn.Module:
    """Sums that neurons and further sums read."""
    return Graph(
        lambda net, x: net.out((z := (y := net.stem(x)) + net.one(y)) + net.two(z)),
        stem=nn.Conv2d(3, 4, 3, padding=1),
        one=nn.Sequential(nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1)),
        two=nn.Sequential(nn.ReLU(), nn.Conv2d(4, 4, 1)),
        out=head(nn.ReLU()),
    )


def joined() -> nn.Module:
    """A concatenation that holds one layer twice."""
    return Graph(
        lambda net, x: net.out(torch.cat([y := net.a(x), net.b(x), y], 1)),
        a=nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU()),
        b=nn.Sequential(nn.Conv2d(3, 2, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 1, 1)),
        out=head(nn.Conv2d(6, 2, 3), nn.ReLU()),
    )


def potentials_joined() -> nn.Module:
    """A concatenation of potentials."""
    return Graph(
        lambda net, x: net.out(torch.cat([net.a(x), net.b(x)], 1)),
        a=nn.Conv2d(3, 2, 1),
        b=nn.Conv2d(3, 2, 3, padding=1),
        out=head(nn.BatchNorm2d(4), nn.ReLU()),
    )


COUNTED = {
    "plain": lambda: convolution(padding=1),
    "strided": lambda: convolution(stride=2, padding=1),
    "dilated": lambda: convolution(dilation=2, padding="same"),
    "grouped": lambda: convolution(groups=3),
    "block": block,
    "pre_block": pre_block,
    "joined": joined,
    "potentials joined": potentials_joined,
    "max pool": lambda: head(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2)),
    "mean of all": lambda: head(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1)),
    "mean of all, as an operation": lambda: Graph(
        lambda net, x: net.out(net.first(x).mean((2, 3))),
        first=nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()),
        out=nn.LazyLinear(4),
    ),
    "means of rows": lambda: Graph(
        lambda net, x: net.out(net.first(x).flatten(2).mean(2)),
        first=nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()),
        out=nn.LazyLinear(4),
    ),
    "means side by side": lambda: head(nn.AvgPool2d(2), nn.Conv2d(3, 4, 3), nn.ReLU()),
    "means with a border": lambda: head(nn.AvgPool2d(3, padding=1), nn.Conv2d(3, 4, 2), nn.ReLU()),
    "means that overlap, of neurons": lambda: head(
        nn.Conv2d(3, 2, 3), nn.ReLU(), nn.AvgPool2d(3, 1), nn.BatchNorm2d(2), nn.ReLU()
    ),
    "repeated pixels of neurons": lambda: head(
        nn.Conv2d(3, 2, 3), nn.ReLU(), nn.Upsample(scale_factor=2), nn.BatchNorm2d(2), nn.ReLU()
    ),
    "transposed": lambda: head(nn.ConvTranspose2d(3, 2, 3, stride=2), nn.ReLU()),
    "shuffled": lambda: head(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.PixelShuffle(2), nn.Conv2d(1, 2, 3), nn.ReLU()
    ),
}

WRITTEN_OUT = {
    "a convolution beside a short cut": lambda: Graph(
        lambda net, x: net.out((y := net.a(x)) + net.b(y)),
        a=nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()),
        b=nn.Conv2d(4, 4, 3, padding=1),
        out=head(nn.ReLU()),
    ),
    "means that overlap": lambda: head(nn.AvgPool2d(3, 1), nn.Conv2d(3, 4, 3), nn.ReLU()),
    "means of potentials": lambda: head(nn.Conv2d(3, 4, 3), nn.AvgPool2d(2), nn.ReLU()),
    "weights on weights": lambda: head(nn.Conv2d(3, 4, 3)),
    "a border that repeats pixels": lambda: convolution(padding=1, padding_mode="reflect"),
    "repeated pixels": lambda: head(nn.Upsample(scale_factor=2), nn.Conv2d(3, 2, 3), nn.ReLU()),
}


def same(counted: dict[str, Tensor], written: dict[str, Tensor]) -> bool:
    return list(counted) == list(written) and all(
        torch.equal(counted[name], written[name]) for name in written
    )


@pytest.mark.parametrize("which", COUNTED)
def test_counts_are_those_of_the_synapses_one_by_one(which: str) -> None:
    snn = converted(COUNTED[which]())
    counted = count_synapses(snn)
    assert counted is not None
    assert same(counted, _written_out(snn))
    assert sum(count.sum() for count in counted.values()) > 0


@pytest.mark.parametrize("which", WRITTEN_OUT)
def test_where_two_ways_lead_to_a_target_synapses_are_written_out(which: str) -> None:
    snn = converted(WRITTEN_OUT[which]())
    assert count_synapses(snn) is None
    assert same(fan_out(snn), _written_out(snn))


def test_sequences() -> None:
    net = head(
        nn.Conv1d(2, 4, 3, stride=2), nn.ReLU(), nn.AvgPool1d(2), nn.Conv1d(4, 3, 1), nn.ReLU()
    )
    snn = converted(net, (2, 15))
    counted = count_synapses(snn)
    assert counted is not None
    assert same(counted, _written_out(snn))


def test_alpha1_neurons() -> None:
    net = thinned(head(nn.Conv2d(3, 2, 3), nn.ReLU(), nn.MaxPool2d(2)), IMAGES)
    snn = ttfs.convert(net, torch.rand(4, *IMAGES), neuron="alpha1")
    counted = count_synapses(snn)
    assert counted is not None
    assert same(counted, _written_out(snn))


def test_weights_that_a_chip_rounds_to_zero_are_no_synapses() -> None:
    snn = converted(convolution(padding=1))
    chip = ttfs.deploy(snn, ttfs.Hardware(weight_bits=2))
    counted = count_synapses(chip)
    assert counted is not None
    assert same(counted, _written_out(chip))
    assert counted["input"].sum() < fan_out(snn)["input"].sum()


def test_counting_needs_no_gradients_of_the_caller() -> None:
    snn = converted(block())
    counted = fan_out(snn)
    for without in (torch.no_grad, torch.inference_mode):
        with without():
            assert same(fan_out(snn), counted)


def test_counts_are_on_the_cpu_whatever_the_default_device() -> None:
    snn = converted(block())
    counted = fan_out(snn)
    with torch.device("meta"):
        assert same(fan_out(snn), counted)
