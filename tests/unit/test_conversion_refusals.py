"""What cannot be mapped exactly is refused in one line, module and reason named."""

from collections import OrderedDict
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from kit.exactness import IMAGE, Net, conv, draw, headed, norm, refusal
from torch import Tensor, nn

from ttfs.snn import convert

pytestmark = pytest.mark.usefixtures("seed")


def on_features(function: Callable[[Tensor], Tensor], features: int = 288) -> nn.Module:
    """Apply the function to the spikes of a convolution."""
    return Net(
        lambda net, x: net.head(function(F.relu(net.conv(x))).flatten(1)),
        conv=conv(),
        head=nn.Linear(features, 5),
    )


def indices(net: Net, x: Tensor) -> Tensor:
    x, _ = net.pool(F.relu(net.conv(x)))
    return net.head(x.flatten(1))


def aliased(net: Net, x: Tensor) -> Tensor:
    x = net.conv(x)
    y = net.identity(x).relu_()  # writes into x too
    return net.head((x + y).flatten(1))


def part(net: Net, x: Tensor) -> Tensor:
    x = net.conv(x)
    x[:, :2].relu_()  # writes into x
    return net.head(F.relu(-x).flatten(1))


def by_place(goal: Tensor, values: Tensor) -> Tensor:
    goal[:, 1:] = values[:, 1:]
    return goal


class Counted(nn.Sequential):
    """A network whose answers grow with the number of calls."""

    def __init__(self, *layers: nn.Module):
        super().__init__(*layers)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.calls * super().forward(x)


def poisoned() -> nn.Module:
    network = headed(IMAGE, conv(), nn.ReLU(), conv(4, 4), nn.ReLU())
    network[2].weight.data[0, 0, 0, 0] = float("nan")
    return network


def overflowing() -> nn.Module:
    network = headed(IMAGE, conv(), nn.ReLU(), conv(4, 4), nn.ReLU())
    for layer in (0, 2):
        network[layer].weight.data.fill_(1e30)
    return network


OUT = torch.empty(0, dtype=torch.float64)
STATISTICS = torch.zeros(4, dtype=torch.float64), torch.ones(4, dtype=torch.float64)
NO_COUNTERPART = "no exact TTFS counterpart"
# name: (network, how the module is named, why)
REFUSED: dict[str, tuple[Callable[[], nn.Module], str, str]] = {
    "GELU": (lambda: headed(IMAGE, conv(), nn.GELU()), "1 (GELU)", NO_COUNTERPART),
    "sigmoid": (lambda: headed(IMAGE, conv(), nn.Sigmoid()), "1 (Sigmoid)", NO_COUNTERPART),
    "softmax": (
        lambda: nn.Sequential(*headed(IMAGE), nn.Softmax(1)), "2 (Softmax)", NO_COUNTERPART,
    ),
    "LayerNorm": (
        lambda: headed(IMAGE, conv(), nn.LayerNorm([9, 8]), nn.ReLU()), "1 (LayerNorm)",
        NO_COUNTERPART,
    ),
    "ConvTranspose3d": (
        lambda: Net(
            lambda net, x: net.head(net.up(x[:, :, None]).flatten(1)),
            up=nn.ConvTranspose3d(3, 1, 1), head=nn.Linear(72, 5),
        ),
        "up (ConvTranspose3d)", NO_COUNTERPART,
    ),
    "F.softmax": (
        lambda: on_features(lambda x: F.softmax(x, 1)), "softmax (softmax)", NO_COUNTERPART,
    ),
    "F.gelu": (lambda: on_features(F.gelu), "gelu (gelu)", NO_COUNTERPART),
    "method": (lambda: on_features(lambda x: x.sigmoid()), "sigmoid (sigmoid)", NO_COUNTERPART),
    "product": (lambda: on_features(lambda x: x * x), "mul (Scale)", "product with a constant"),
    "broadcast sum": (
        lambda: on_features(lambda x: x + x.mean((2, 3), True)), "add (Add)",
        "[4, 9, 8] and [4, 1, 1]",
    ),
    "dropout for ever": (lambda: on_features(F.dropout), "stays on in eval()", NO_COUNTERPART),
    "channel mean": (
        lambda: on_features(lambda x: x.mean(1), 72), "mean over dimensions 1", NO_COUNTERPART,
    ),
    "batch statistics": (
        lambda: headed(IMAGE, conv(), norm(track_running_stats=False), nn.ReLU()),
        "1 (BatchNorm2d)", "statistics of each batch",
    ),
    "indices": (
        lambda: Net(
            indices, conv=conv(), pool=nn.MaxPool2d(2, return_indices=True), head=nn.Linear(64, 5),
        ),
        "pool (MaxPool2d)", "return_indices",
    ),
    "linear map of rows": (
        lambda: nn.Sequential(conv(), nn.ReLU(), nn.Linear(8, 5)), "2 (Linear)", "a vector",
    ),
    "pool of a vector": (
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(216, 8), nn.ReLU(), nn.MaxPool1d(2)),
        "3 (MaxPool1d)", "channels x length",
    ),
    "branch on values": (
        lambda: on_features(lambda x: x if x.sum() > 0 else -x), "Net", "may not branch on values",
    ),
    "number of values": (
        lambda: on_features(lambda x: x * (1.0 if x.max().item() < 9 else 2.0)), "Net",
        "reads values (item)",
    ),
    "values compared": (
        lambda: on_features(lambda x: x if torch.equal(x, x.flip(1)) else -x), "Net",
        "reads values (equal)",
    ),
    "whole numbers": (
        lambda: on_features(lambda x: x.to(torch.int64).to(x.dtype)), "to (Rearrange)",
        "rounds values to whole numbers",
    ),
    "rounded quotient": (
        lambda: on_features(lambda x: torch.div(x, 0.1, rounding_mode="floor")), "div (Scale)",
        "rounds values (rounding_mode='floor')",
    ),
    "quotient of a constant": (
        lambda: on_features(lambda x: 1.0 / (1.0 + x)), "truediv (Scale)", "below the line",
    ),
    "clipped between maps": (
        lambda: on_features(lambda x: x.clamp(torch.zeros(9, 8), torch.ones(9, 8))),
        "clamp (clamp)", "both have to be plain numbers",
    ),
    "smallest over rows": (
        lambda: on_features(lambda x: x.min(2, keepdim=True)[0], 32), "(min)",
        "takes another branch, or a constant",
    ),
    "larger than a constant for each image": (
        lambda: on_features(
            lambda x: torch.maximum(x, torch.tensor([0.1, 0.2]).reshape(2, 1, 1, 1))
        ),
        "maximum (Bound)", "its constant has another shape",
    ),
    "bounds, one a tensor": (
        lambda: on_features(lambda x: F.hardtanh(x, -0.85, torch.tensor(0.5))),
        "hardtanh (hardtanh)", "both have to be plain numbers",
    ),
    "no bound for some": (
        lambda: on_features(
            lambda x: torch.minimum(x, torch.tensor([0.1, torch.inf]).repeat(4))
        ),
        "minimum (minimum)", "its constant is not finite everywhere",
    ),
    "a constant written by place": (
        lambda: on_features(lambda x: by_place(torch.zeros_like(x), x)), "Net",
        "writes into a constant (setitem)",
    ),
    "a constant added to": (
        lambda: on_features(lambda x: torch.zeros(x.shape, dtype=x.dtype).add_(x)), "Net",
        "writes into a constant (add_)",
    ),
    "a constant written as output": (
        lambda: on_features(lambda x: torch.maximum(x, -x, out=torch.zeros_like(x))), "Net",
        "writes into a constant (maximum)",
    ),
    "values of a word of graphs": (
        lambda: Net(
            lambda net, x: net.out(x.flatten(1)) + net.code, out=nn.Linear(216, 5),
            code=nn.Parameter(torch.ones(5)),
        ),
        "Net", "has a layer, or values, of the name 'code'",
    ),
    "a word of graphs": (
        lambda: Net(lambda net, x: net.code(x.flatten(1)), code=nn.Linear(216, 5)), "Net",
        "has a layer, or values, of the name 'code'",
    ),
    "another word of graphs": (
        lambda: nn.Sequential(OrderedDict(flat=nn.Flatten(), meta=nn.Linear(216, 5))),
        "Sequential", "has a layer, or values, of the name 'meta'",
    ),
    "a constant for each image": (
        lambda: on_features(lambda x: x + torch.tensor([1.0, 2.0]).reshape(2, 1, 1, 1)),
        "add (Add)", "its constant has another shape",
    ),
    "a constant of more values": (
        lambda: on_features(lambda x: x.mean((2, 3), True) * torch.ones(9, 8)), "mul (Scale)",
        "its constant has another shape",
    ),
    "written into a tensor": (
        lambda: on_features(lambda x: torch.add(x, 1.0, out=OUT)), "Net",
        "writes into a constant (add)",
    ),
    "indices of the largest": (
        lambda: on_features(lambda x: x.max(1)[1].to(x.dtype), 72), "(max)",
        "its indices are read",
    ),
    "a jump": (
        lambda: headed(IMAGE, conv(), nn.Threshold(0.1, 0.0)), "1 (threshold)",
        "it jumps from 0 to 0.1",
    ),
    "batch statistics of a function": (
        lambda: on_features(lambda x: F.batch_norm(x, *STATISTICS, training=True)),
        "(batch_norm)", "statistics of each batch",
    ),
    "padding of a module": (
        lambda: headed(IMAGE, conv(), nn.ReLU(), nn.ConstantPad2d(1, 0.5)), "2 (ConstantPad2d)",
        "pads with another value than 0",
    ),
    "padding with a number": (
        lambda: on_features(lambda x: F.pad(x, (1, 1, 0, 0), value=1.0), 360), "pad (Rearrange)",
        "pads with another value than 0",
    ),
    "padding with infinity": (
        lambda: on_features(
            lambda x: F.max_pool2d(F.pad(x, (1, 1, 1, 1), value=-torch.inf), 2), 100,
        ),
        "pad (Rearrange)", "pads with another value than 0",
    ),
    "images in another order": (
        lambda: on_features(lambda x: x.roll(1, 0)), "roll (Rearrange)",
        "moves values between images",
    ),
    "bounds the wrong way": (
        lambda: on_features(lambda x: x.clamp(0.4, -0.3)), "clamp (clamp)",
        "lower bound 0.4 is not below the upper, -0.3",
    ),
    "bounds that are one": (
        lambda: on_features(lambda x: x.clamp(0.3, 0.3)), "clamp (clamp)",
        "lower bound 0.3 is not below the upper, 0.3",
    ),
    "slopes of the input": (
        lambda: on_features(lambda x: F.prelu(x, x.mean((0, 2, 3)))), "mean over dimensions",
        NO_COUNTERPART,
    ),
    "a constant first": (
        lambda: Net(
            lambda net, x: torch.addmm(net.head.bias, x.flatten(1), net.head.weight.T),
            head=nn.Linear(216, 5),
        ),
        "addmm (addmm)", NO_COUNTERPART,
    ),
    "memory shared by a part": (
        lambda: Net(part, conv=conv(), head=nn.Linear(288, 5)), "relu_",
        "writes in place into what conv gives",
    ),
    "chance": (
        lambda: on_features(lambda x: x + torch.randn(1).abs()), "output", "differ",
    ),
    "counted calls": (
        lambda: Counted(conv(), nn.ReLU(), nn.Flatten(), nn.Linear(288, 5)), "Counted",
        "other outputs in another call",
    ),
    "two outputs": (
        lambda: Net(lambda net, x: (net.conv(x), x), conv=conv()), "network",
        "one tensor of logits",
    ),
    "memory shared": (
        lambda: Net(aliased, conv=conv(), identity=nn.Identity(), head=nn.Linear(288, 5)),
        "relu_", "writes in place into what conv gives",
    ),
    "images mixed": (
        lambda: Net(lambda net, x: net.head(x.reshape(1, -1)), head=nn.Linear(216, 5)), "Net",
        "fails on",
    ),
    "NaN weight": (poisoned, "2.weight", "NaN"),
    "overflow": (overflowing, "layer _3", "inf over the calibration images"),
}  # fmt: skip


@pytest.mark.parametrize(("network", "named", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_refused_by_name_and_reason(
    network: Callable[[], nn.Module], named: str, reason: str, capfd
) -> None:
    message = refusal(lambda: convert(network(), draw(IMAGE)))
    assert named in message
    assert reason in message
    assert not capfd.readouterr().err  # no traceback of a library either


@pytest.mark.parametrize("name", ["memory shared by a part", "chance", "counted calls"])
def test_blank_images_hide_no_fault(name: str) -> None:
    """Where all images at hand are 0, much of a network gives the same wherever it comes from."""
    make, _, reason = REFUSED[name]
    network = make()
    for parameter_name, parameter in network.named_parameters():
        if parameter_name.endswith("conv.bias"):
            parameter.data.abs_()
    assert reason in refusal(lambda: convert(network, torch.zeros(20, *IMAGE)))


@pytest.mark.parametrize("name", ["memory shared by a part", "memory shared"])
def test_memory_is_shared_whatever_the_images(name: str) -> None:
    """No pixel and no value may show it: here all that the shared ReLU reads is positive."""
    network = REFUSED[name][0]()
    for parameter in network.conv.parameters():
        parameter.data.abs_().add_(0.1)
    assert REFUSED[name][2] in refusal(lambda: convert(network, draw(IMAGE)))


WRITERS: dict[str, Callable[[Tensor], object]] = {
    "out": lambda x: torch.clamp(x, min=0, out=x),
    "out of a view": lambda x: (lambda v: torch.clamp(v, min=0, out=v))(x.flatten(1)),
    "set item": lambda x: x.__setitem__(slice(None), F.relu(x)),
    "by name": lambda x: torch.relu_(input=x.flatten(1)),
    "module by name": lambda x: nn.ReLU(inplace=True)(input=x.flatten(1)),
    "operator": lambda x: torch.ops.aten.relu_.default(x.flatten(1)),
    "data": lambda x: x.data.relu_(),
    "bytes": lambda x: x.view(torch.int32).mul_(1),
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS.keys())
def test_whatever_writes_into_a_value_is_seen(write: Callable[[Tensor], object]) -> None:
    """On these images it changes nothing."""

    def forward(net: Net, x: Tensor) -> Tensor:
        x = net.conv(x)
        write(x)
        return net.head(x.flatten(1))

    network = Net(forward, conv=conv(), head=nn.Linear(288, 5))
    for parameter in network.conv.parameters():
        parameter.data.abs_().add_(0.1)
    assert "writes in" in refusal(lambda: convert(network, draw(IMAGE)))


def test_two_inputs_are_refused() -> None:
    class Two(nn.Module):
        def forward(self, x: Tensor, mask: Tensor) -> Tensor:
            return x + mask

    assert "takes 2 inputs (x, mask)" in refusal(lambda: convert(Two(), draw(IMAGE)))
