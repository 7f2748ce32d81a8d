"""A network is what it is in its own precision, whatever the sizes of its outputs and its batch."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import ttfs
from ttfs.errors import ConversionError
from ttfs.snn.conversion.verification import distance

pytestmark = pytest.mark.usefixtures("seed")
IMAGES = (64, 4)


class Net(nn.Module):
    """Two linear layers with a ReLU between, called as a function says."""

    def __init__(self, forward: Callable[["Net", Tensor], Tensor], **held: Any):
        super().__init__()
        self.one, self.relu, self.two = nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 5)
        self.called = forward
        for name, value in held.items():
            setattr(self, name, value)

    def forward(self, x: Tensor) -> Tensor:
        return self.called(self, x)

    def hidden(self, x: Tensor) -> Tensor:
        return self.relu(self.one(x))


def masked(size: float) -> Net:
    mask = torch.tensor([0.0, 0.0, 0.0, size, size])
    return Net(lambda net, x: net.two(net.hidden(x)) + mask).eval()


@pytest.mark.parametrize("size", [0.0, -1e4, -1e9])
def test_a_mask_of_classes_hides_no_hook(size: float) -> None:
    images = torch.rand(IMAGES)
    ann = masked(size)
    snn = ttfs.convert(ann, images)
    assert torch.allclose(snn(images)[:, :3], ann(images)[:, :3], atol=1e-5)
    ann.relu.register_forward_hook(lambda module, inputs, output: -output)
    with pytest.raises(ConversionError, match="hooks of relu change values"):
        ttfs.convert(ann, images)


def test_a_large_output_hides_no_hook() -> None:
    ann = Net(lambda net, x: torch.cat([net.two(net.hidden(x)), 1e7 * x[:, :1]], 1)).eval()
    ann.relu.register_forward_hook(lambda module, inputs, output: -output)
    with pytest.raises(ConversionError, match="hooks of relu change values"):
        ttfs.convert(ann, torch.rand(IMAGES))


def test_a_mask_hides_no_chance_and_no_statistics_of_a_batch() -> None:
    mask = torch.tensor([0.0, 0.0, 0.0, -1e9, -1e9])
    noisy = Net(lambda net, x: net.two(net.hidden(x + torch.randn_like(torch.empty(4)))) + mask)

    class Learning(nn.BatchNorm1d):
        def train(self, mode: bool = True) -> "Learning":
            return super().train(True)

    mixing = Net(lambda net, x: net.two(net.hidden(net.norm(x))) + mask, norm=nn.BatchNorm1d(4))
    mixing.norm.__class__ = Learning
    for ann in (noisy, mixing):
        with pytest.raises(ConversionError):
            ttfs.convert(ann.eval(), torch.rand(IMAGES))


ASKING: dict[str, Callable[[Net, Tensor], Tensor]] = {
    "dtype": lambda net, x: net.two(net.hidden(x if x.dtype == torch.float32 else x.float() / 255)),
    "dtype of weights": lambda net, x: net.two(
        net.hidden(x * (1 if net.one.weight.dtype == torch.float32 else 3))
    ),
    "eps": lambda net, x: net.two(net.hidden(x)) * (torch.finfo(x.dtype).eps * 2**23),
    "gradients": lambda net, x: net.two(net.hidden(x * (2 if torch.is_grad_enabled() else 1))),
    "requires_grad": lambda net, x: net.two(
        (h := net.hidden(x)) * (3 if h.requires_grad else 1)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ASKING)
def test_a_network_that_asks_for_its_precision_is_refused(name: str) -> None:
    with pytest.raises(ConversionError, match="may not ask for the"):
        ttfs.convert(Net(ASKING[name]).eval(), torch.rand(IMAGES))


SHAPES: dict[str, tuple[Callable[[Net, Tensor], Tensor], str]] = {
    "entries": (lambda net, x: net.two((h := net.hidden(x)) * (1 + len(h[h > 3]))), "getitem"),
    "places": (
        lambda net, x: net.two((h := net.hidden(x)) * (1 + (h > 3).nonzero().numel())), "numel",
    ),
    "where": (
        lambda net, x: net.two((h := net.hidden(x)) * (1 + len(torch.where(h > 3)[0]))), "where",
    ),
    "one image": (
        lambda net, x: net.two(net.hidden(x)) * (2 if len(x) == 1 else 1), "the same images",
    ),
    "other outputs for one image": (
        lambda net, x: net.two(net.hidden(x))[:, : 4 if len(x) == 1 else 5], "the same images",
    ),
    "the class of one image": (
        lambda net, x: net.two(net.hidden(x)).argmax(1) if len(x) == 1 else net.two(net.hidden(x)),
        "the same images",
    ),
    "shape": (
        lambda net, x: net.two((h := net.hidden(x)) * (1 + h[h > 3].clone().shape[0])), "clone",
    ),
    "outputs": (lambda net, x: (h := net.hidden(x))[h > 0].reshape(-1, 1), "reshape|getitem"),
    "fewer images": (
        lambda net, x: net.two(net.hidden(x))[: 8 if len(x) == 8 else 1], "moves values between",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_that_values_or_the_batch_decide_are_no_constants(name: str) -> None:
    forward, reason = SHAPES[name]
    with pytest.raises(ConversionError, match=reason):
        ttfs.convert(Net(forward).eval(), torch.rand(IMAGES))


class Watching(Net):
    """Keeps a number of its own activations, which its outputs do not depend on."""

    def hidden(self, x: Tensor) -> Tensor:
        values = super().hidden(x)
        self.alive, self.places = values[values > 0].mean(), (values > 0).nonzero()
        return values


HELD: dict[str, Net] = {
    "made in forward": Net(lambda net, x: net.two(F.linear(net.hidden(x), torch.eye(8) / 3))),
    "an attribute": Net(
        lambda net, x: net.two(F.linear(net.hidden(x), net.fixed)), fixed=torch.randn(8, 8)
    ),
    "watching": Watching(lambda net, x: net.two(net.hidden(x))),
    "one image squeezed": Net(lambda net, x: net.two(net.hidden(x).unsqueeze(2).squeeze())),
    "chosen by a constant": Net(
        lambda net, x: F.linear(net.hidden(x)[:, torch.arange(8) > 3], torch.ones(5, 4))
    ),
    "names of NumPy": Net(
        lambda net, x: net.two(net.hidden(x)[:, :, None].mean(axis=2, keepdims=True)[:, :, 0])
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HELD)
def test_constants_however_they_are_held(name: str) -> None:
    ann, images = HELD[name].eval(), torch.rand(IMAGES)
    assert torch.allclose(ttfs.convert(ann, images)(images), ann(images), atol=1e-5)


def test_what_fails_in_float64_alone_is_told_so() -> None:
    weights = [torch.randn(5, 8)]
    ann = Net(lambda net, x: F.linear(net.hidden(x), weights[0])).eval()
    with pytest.raises(ConversionError, match=r"float64 .* but not on torch.float32; hold what"):
        ttfs.convert(ann, torch.rand(IMAGES))


@pytest.mark.parametrize(
    ("constant", "reason"),
    [(np.float32(2), "make it a number or a tensor"), (np.ones(5), "make it a number or a tensor")],
)
def test_constants_of_numpy_are_refused_by_name(constant: Any, reason: str) -> None:
    with pytest.raises(ConversionError, match=reason):
        ttfs.convert(
            Net(lambda net, x: net.two(net.hidden(x)) * 2 + constant).eval(), torch.rand(IMAGES)
        )


def test_a_constant_of_more_dimensions_is_refused() -> None:
    ann = Net(lambda net, x: torch.maximum(net.two(net.hidden(x)), torch.zeros(1, 1, 1))).eval()
    with pytest.raises(ConversionError, match="more dimensions than the values"):
        ttfs.convert(ann, torch.rand(IMAGES))


def test_a_part_of_the_batch_that_is_empty_for_two_images_is_refused() -> None:
    ann = Net(lambda net, x: torch.cat([(y := net.two(net.hidden(x)))[:2], y[2:]])).eval()
    with pytest.raises(ConversionError, match="moves values between images"):
        ttfs.convert(ann, torch.rand(IMAGES))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_bounds_that_half_precision_loses_values_beside_are_refused(dtype: torch.dtype) -> None:
    images = torch.rand(IMAGES).to(dtype)
    for high in (1.0, 100.0):
        ann = Net(lambda net, x, high=high: net.two(net.one(x).clamp(max=high))).eval().to(dtype)
        if high == 1:
            expected, found = ann(images).double(), ttfs.convert(ann, images)(images).double()
            assert (found - expected).abs().max() < 16 * torch.finfo(dtype).eps
        else:
            with pytest.raises(ConversionError, match=r"rounding to b?float16 moves its outputs"):
                ttfs.convert(ann, images)


def test_a_network_whose_outputs_its_own_precision_loses_is_taken() -> None:
    images = torch.rand(IMAGES).half()
    ann = Net(lambda net, x: net.two(net.hidden(x))).eval()
    with torch.no_grad():
        ann.two.weight.mul_(1e-7)
        ann.two.bias.zero_()
    ann.half()
    assert torch.equal(ttfs.convert(ann, images)(images), ann(images))


def test_rounding_of_the_network_itself_is_no_other_network() -> None:
    """A batch norm of a large mean in float16, and many layers under autocast."""
    layers = [nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 5)]
    with torch.no_grad():
        layers[0].bias.fill_(100.0)
        layers[1].running_mean.fill_(100.0)
        layers[1].running_var.fill_(0.1)
    ttfs.convert(nn.Sequential(*layers).eval().half(), torch.rand(IMAGES).half())

    class Cast(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            with torch.autocast("cpu", torch.bfloat16):
                return super().forward(x).float()

    deep = [part for _ in range(20) for part in (nn.Linear(16, 16), nn.ReLU())]
    ann = Cast(nn.Linear(4, 16), nn.ReLU(), *deep, nn.Linear(16, 5)).eval()
    for module in ann:
        if isinstance(module, nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    ttfs.convert(ann, torch.rand(IMAGES))


def test_the_distance_of_an_output_is_in_units_of_its_spread() -> None:
    reference = torch.tensor([[1.0, -1e9, torch.inf], [3.0, -1e9, torch.inf]]).double()
    assert distance(reference, reference, 0.0) == 0
    off = reference + torch.tensor([0.5, 0.0, 0.0])
    assert distance(off, reference, 0.0) == 0.5
    assert distance(off, reference, 0.5) == 0.5 / (1 + 0.5 * (1 + 3))
    assert distance(reference[:1], reference, 0.0) == torch.inf
    nothing = reference.clone()
    nothing[0, 0] = torch.nan
    assert not distance(nothing, reference, 0.0) < torch.inf
    assert distance(reference.where(reference.isfinite(), 0.0), reference, 0.0) == torch.inf
