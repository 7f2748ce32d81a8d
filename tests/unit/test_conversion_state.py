"""What the comparison with the ANN sees although logits are masked, values are aliased or neurons
race over channels; and what a checkpoint holds of a network.
"""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import ttfs
from ttfs import ConversionError
from ttfs.config import read_named
from ttfs.models import build
from ttfs.snn import calibrate_, reference_network, to_alpha1_

pytestmark = pytest.mark.usefixtures("seed")
IMAGES = (40, 1, 8, 8)


def off(network: nn.Module, other: nn.Module, inputs: Tensor) -> float:
    with torch.no_grad():
        expected = other(inputs)
        return ((network(inputs) - expected).abs().max() / expected.abs().max()).item()


class Raced(nn.Module):
    """Channels of very different sums of weights, and a function of them."""

    def __init__(self, function: Callable[[Tensor], Tensor], features: int):
        super().__init__()
        self.conv, self.last = nn.Conv2d(1, 4, 3, padding=1), nn.Linear(features, 3)
        self.function = function
        with torch.no_grad():
            self.conv.weight[0] += 0.3
            self.conv.weight[1] += 0.1

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.function(F.relu(self.conv(x))).flatten(1))


@pytest.mark.parametrize(
    ("function", "features"),
    [
        (lambda h: h.amax(1), 64),
        (lambda h: h.amax(1, keepdim=True), 64),
        (lambda h: h.amax((1, 2)), 8),
        (lambda h: h.view(-1, 4, 64).amax(1), 64),
        (lambda h: F.max_pool2d(h.view(-1, 1, 16, 16), 2), 64),
        (lambda h: h.transpose(1, 2), 256),
    ],
)
def test_alpha1_neurons_race_within_channels_alone(function, features: int) -> None:
    """A scale of a channel cannot be made up for behind a maximum over channels."""
    ann, images = Raced(function, features).eval(), torch.rand(IMAGES)
    assert off(ttfs.convert(ann, images), ann, images) < 1e-5
    with pytest.raises(ConversionError, match=r"α1 neurons need a chain .*use neuron 'b1'"):
        ttfs.convert(ann, images, neuron="alpha1")


def test_alpha1_neurons_may_be_pooled_within_their_channel() -> None:
    ann, images = Raced(lambda h: F.max_pool2d(h, 2), 64).eval(), torch.rand(IMAGES)
    assert off(ttfs.convert(ann, images, neuron="alpha1"), ann, images) < 1e-4


def test_alpha1_neurons_are_no_b1_neurons_to_map() -> None:
    ann = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
    snn = ttfs.convert(ann, torch.rand(9, 6), neuron="alpha1")
    with pytest.raises(ConversionError, match="has alpha1 neurons already"):
        to_alpha1_(snn)


class Masked(nn.Module):
    """Logits of which one class is out of the question."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(6, 8), nn.Linear(8, 3)
        self.register_buffer("mask", torch.tensor([0.0, 0.0, -math.inf]), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.two(self.one(x).relu()) + self.mask


def test_a_mask_of_classes_hides_no_difference() -> None:
    inputs = torch.rand(50, 6)
    ann = Masked().eval()
    snn = ttfs.convert(ann, inputs)
    with torch.no_grad():
        logits, expected = snn(inputs), ann(inputs)
    assert torch.equal(logits[:, 2], expected[:, 2])
    assert torch.allclose(logits[:, :2], expected[:, :2], atol=1e-6)
    ann.two.register_forward_hook(lambda module, args, out: 3 * out)
    with pytest.raises(ConversionError, match=r"its outputs differ|activations differ"):
        ttfs.convert(ann, inputs)


def test_logits_that_are_nan_are_refused() -> None:
    ann = Masked().eval()
    ann.mask[1] = math.nan
    with pytest.raises(ConversionError, match="its outputs are NaN"):
        ttfs.convert(ann, torch.rand(50, 6))


class Aliased(nn.Module):
    """relu(a(x)) under two names, one of which is written."""

    def __init__(self, alias: nn.Module, act: nn.Module):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        self.alias, self.act = alias, act

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x).relu()
        other = self.alias(h)
        return self.c(self.b(self.act(h)) + other)


@pytest.mark.parametrize("alias", [nn.Identity(), nn.Dropout(0.5), nn.Flatten()])
def test_a_value_written_in_place_under_another_name_is_refused(alias: nn.Module) -> None:
    """It need not show on the images at hand: 6 is seldom exceeded."""
    with pytest.raises(ConversionError, match=r"writes in place into what .* gives, which is read"):
        ttfs.convert(Aliased(alias, nn.ReLU6(inplace=True)).eval(), torch.rand(50, 6))
    plain = Aliased(alias, nn.ReLU6()).eval()
    assert off(ttfs.convert(plain, torch.rand(50, 6)), plain, torch.rand(50, 6)) < 1e-5


class Permuted(nn.Module):
    """Inputs in an order that is drawn."""

    def __init__(self) -> None:
        super().__init__()
        order = torch.randperm(6)
        while order.equal(torch.arange(6)):  # which needs no gathering, and one in 720 is
            order = torch.randperm(6)
        self.register_buffer("order", order)
        self.one, self.two = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.two(self.one(x[:, self.order]).relu())


class Clipped(nn.Module):
    """Activations that are clipped at a number that was learned."""

    def __init__(self, most: float):
        super().__init__()
        self.one, self.two = nn.Linear(6, 8), nn.Linear(8, 3)
        self.most = most

    def forward(self, x: Tensor) -> Tensor:
        return self.two(self.one(x).clamp(0.0, self.most))


@pytest.mark.parametrize(
    ("trained", "fresh"), [(Permuted, Permuted), (lambda: Clipped(0.15), lambda: Clipped(6.0))]
)
def test_a_checkpoint_holds_orders_and_ceilings(trained, fresh, tmp_path: Path) -> None:
    inputs = torch.rand(50, 6)
    one, two = (ttfs.convert(make().eval(), inputs) for make in (trained, fresh))
    torch.save(one.state_dict(), tmp_path / "weights.pt")
    two.load_state_dict(torch.load(tmp_path / "weights.pt"))
    assert off(two, one, inputs) == 0.0
    assert off(reference_network(two), one, inputs) < 1e-6
    calibrate_(two, [inputs], 0.5)
    assert off(two, one, inputs) < 1e-6


@pytest.mark.parametrize("images", [None, 9 * torch.rand(5, 6)])
def test_a_calibration_that_fails_leaves_the_windows(images: Tensor | None) -> None:
    ann = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
    snn = ttfs.convert(ann, torch.rand(50, 6))
    before = snn.windows
    with pytest.raises(ConversionError, match=r"holds no image|outside input_range"):
        calibrate_(snn, iter(() if images is None else (images,)), 0.5)
    assert snn.windows == before


def test_networks_of_our_notation_are_written_as_nir(tmp_path: Path) -> None:
    """Their last layer has the name of the graph's output."""
    pytest.importorskip("nir", reason="the extra ttfs[nir] is not installed")
    ann = build(read_named("model", "fc-30", "a test"), (16,), 10).eval()
    ttfs.to_nir(ttfs.convert(ann, torch.rand(9, 16)), tmp_path / "network.nir")
