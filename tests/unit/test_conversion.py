"""Conversion is exact for each kind of layer and each way to connect them. Each run draws fresh
numbers.
"""

from collections import OrderedDict
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from kit.exactness import IMAGE, LINE, Net, assert_exact, conv, headed, norm
from torch import Tensor, nn
from torch.nn.utils import parametrizations

pytestmark = pytest.mark.usefixtures("seed")

# ---- every kind of layer; a batch norm behind the ReLU before it leaves it a scale and a shift to
# take in ----

CONVOLUTIONS = {
    "valid": {"padding": "valid"},
    "same": {"padding": "same"},
    "same, even kernel": {"padding": "same", "kernel_size": (2, 4)},
    "numbers": {"padding": (2, 1)},
    "stride": {"padding": 1, "stride": (2, 3)},
    "dilation": {"padding": 2, "dilation": 2},
    "same, dilation": {"padding": "same", "dilation": (1, 2)},
    "groups": {"padding": 1, "groups": 2},
    "depthwise": {"padding": 1, "groups": 4, "out_channels": 8},
    "no bias": {"padding": 1, "bias": False},
    "1x1": {"padding": 0, "kernel_size": 1},
    "reflect": {"padding": 2, "padding_mode": "reflect"},
    "replicate": {"padding": (1, 2), "padding_mode": "replicate"},
    "circular": {"padding": "same", "padding_mode": "circular", "dilation": 2},
    "everything": {
        "padding": (0, 2),
        "stride": (1, 2),
        "groups": 2,
        "dilation": (2, 1),
        "kernel_size": (2, 3),
    },
}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("options", CONVOLUTIONS.values(), ids=CONVOLUTIONS.keys())
@pytest.mark.parametrize("norm", ["none", "before", "after", "both"])
def test_convolution_2d(options: dict, norm: str) -> None:
    options = {"in_channels": 4, "out_channels": 6, "kernel_size": 3} | options
    before = [nn.BatchNorm2d(4)] if norm in ("after", "both") else []
    after = [nn.BatchNorm2d(options["out_channels"])] if norm in ("before", "both") else []
    layers = [conv(), nn.ReLU(), *before, nn.Conv2d(**options), *after, nn.ReLU()]
    assert_exact(headed(IMAGE, *layers), IMAGE)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("options", CONVOLUTIONS.values(), ids=CONVOLUTIONS.keys())
def test_convolution_1d(options: dict) -> None:
    first = {key: value[1] if isinstance(value, tuple) else value for key, value in options.items()}
    options = {"in_channels": 4, "out_channels": 6, "kernel_size": 3} | first
    layers = [nn.Conv1d(3, 4, 3), nn.ReLU(), nn.BatchNorm1d(4), nn.Conv1d(**options), nn.ReLU()]
    assert_exact(headed(LINE, *layers), LINE, -1, 2)


POOLS = {
    "max": nn.MaxPool2d(2),
    "max, padding": nn.MaxPool2d(3, 2, 1),
    "max, dilation": nn.MaxPool2d(2, 1, dilation=2),
    "max, ceil": nn.MaxPool2d((2, 3), ceil_mode=True),
    "average": nn.AvgPool2d(2),
    "average, padding": nn.AvgPool2d(3, 2, 1),
    "average, padding not counted": nn.AvgPool2d(3, 2, 1, count_include_pad=False),
    "average, ceil": nn.AvgPool2d((2, 3), ceil_mode=True),
    "average, padding and ceil": nn.AvgPool2d(3, 2, 1, ceil_mode=True),
    "average, divisor": nn.AvgPool2d(2, divisor_override=3),
    "adaptive": nn.AdaptiveAvgPool2d((2, 3)),
    "adaptive, uneven": nn.AdaptiveAvgPool2d((4, None)),
    "adaptive, larger": nn.AdaptiveAvgPool2d(11),
}


@pytest.mark.parametrize("pool", POOLS.values(), ids=POOLS.keys())
@pytest.mark.parametrize("norm", [True, False], ids=["batch norm", "plain"])
def test_pool_2d(pool: nn.Module, norm: bool) -> None:
    between = [nn.BatchNorm2d(4)] if norm else []
    assert_exact(headed(IMAGE, conv(), nn.ReLU(), *between, pool, conv(4, 4), nn.ReLU()), IMAGE)


@pytest.mark.parametrize(
    "pool",
    [nn.MaxPool1d(3, 2, 1), nn.AvgPool1d(2), nn.AvgPool1d(3, 2, 1), nn.AdaptiveAvgPool1d(5)],
    ids=["max", "average", "average, padding", "adaptive"],
)
def test_pool_1d(pool: nn.Module) -> None:
    layers = [
        nn.Conv1d(3, 4, 3),
        nn.ReLU(),
        nn.BatchNorm1d(4),
        pool,
        nn.Conv1d(4, 5, 3, padding=1),
        nn.ReLU(),
    ]
    assert_exact(headed(LINE, *layers), LINE)


STACKS: dict[str, Callable[[], list[nn.Module]]] = {
    "linear": lambda: [nn.Flatten(), nn.Linear(216, 12), nn.ReLU(), nn.Linear(12, 9), nn.ReLU()],
    "linear, norms": lambda: [
        nn.Flatten(), nn.Linear(216, 9), nn.BatchNorm1d(9), nn.ReLU(), nn.BatchNorm1d(9),
        nn.Linear(9, 9), nn.ReLU(),
    ],
    "no hidden layer": lambda: [nn.Flatten()],
    "norm on the input": lambda: [norm(3), conv(), nn.ReLU()],
    "norm, pool on the input": lambda: [norm(3), nn.MaxPool2d(2), conv(), nn.ReLU()],
    "norm on the output": lambda: [conv(), nn.ReLU(), conv(4, 4), norm()],
    "norm without scale": lambda: [
        conv(), norm(affine=False), nn.ReLU(), norm(affine=False), conv(4, 4), nn.ReLU(),
    ],
    "norm, norm": lambda: [
        conv(), norm(), norm(), nn.ReLU(), norm(), norm(), conv(4, 4), nn.ReLU(),
    ],
    "norm, max, norm, max, border": lambda: [
        conv(), nn.ReLU(), norm(), nn.MaxPool2d(2, 1), norm(), nn.MaxPool2d(2, 1), conv(4, 4),
        norm(), nn.ReLU(),
    ],
    "norm, max, mean": lambda: [
        conv(), nn.ReLU(), norm(), nn.MaxPool2d(2), nn.AvgPool2d(2), conv(4, 4), nn.ReLU(),
    ],
    "norm, mean, norm": lambda: [
        conv(), nn.ReLU(), norm(), nn.AvgPool2d(3, 2, 1), norm(), conv(4, 4), nn.ReLU(),
    ],
    "norm, flatten": lambda: [conv(), nn.ReLU(), norm()],
    "mean, relu": lambda: [conv(), nn.AvgPool2d(2), norm(), nn.ReLU()],
    "relu, norm, relu": lambda: [conv(), nn.ReLU(), norm(), nn.ReLU(), conv(4, 4), nn.ReLU()],
    "relu, relu": lambda: [conv(), nn.ReLU(), nn.ReLU(inplace=True), conv(4, 4), nn.ReLU()],
    "conv, conv": lambda: [
        conv(), conv(4, 4), nn.ReLU(), norm(), conv(4, 4), conv(4, 4), nn.ReLU(),
    ],
    "conv, max, relu": lambda: [conv(), nn.MaxPool2d(2), nn.ReLU(), conv(4, 4), nn.ReLU()],
    "conv, max, norm, relu": lambda: [
        conv(), nn.MaxPool2d(2), norm(), nn.ReLU(), conv(4, 4), nn.ReLU(),
    ],
    "conv, norm, max, relu": lambda: [
        conv(), norm(), nn.MaxPool2d(2), nn.ReLU(), conv(4, 4), nn.ReLU(),
    ],
    "conv, max, norm, max, norm, relu, norm, max": lambda: [
        conv(), nn.MaxPool2d(2, 1), norm(), nn.MaxPool2d(2, 1), norm(), nn.Dropout(), nn.ReLU(),
        norm(),
        nn.MaxPool2d(2),
    ],
    "conv, same-size max, relu": lambda: [conv(), nn.MaxPool2d(3, 1, 1), nn.ReLU()],
    "dropout": lambda: [
        nn.Dropout(), conv(), nn.Dropout2d(), norm(), nn.Identity(), nn.ReLU(),
        nn.Dropout(0.9, True),
    ],
    "relu on the input": lambda: [nn.ReLU(), conv(), nn.ReLU()],
    "inplace relu on the input": lambda: [nn.ReLU(inplace=True), conv(), nn.ReLU(inplace=True)],
    "max on the input": lambda: [nn.MaxPool2d(2), conv(), nn.ReLU()],
    "mean on the input": lambda: [nn.AvgPool2d(2, padding=1), conv(), nn.ReLU()],
    "weight norm": lambda: [
        parametrizations.weight_norm(conv()), norm(), nn.ReLU(), norm(), conv(4, 4), nn.ReLU(),
    ],
    "spectral norm": lambda: [parametrizations.spectral_norm(conv()), nn.ReLU()],
}  # fmt: skip


@pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS.keys())
@pytest.mark.parametrize(
    "span", [(0, 1), (-3, 3), (-0.4242, 2.8215)], ids=["unit", "symmetric", "normalised"]
)
def test_stack(stack: Callable[[], list[nn.Module]], span: tuple[float, float]) -> None:
    assert_exact(headed(IMAGE, *stack()), IMAGE, *span)


# ---- graphs, and the three ways to write an operation ----


def residual(net: Net, x: Tensor) -> Tensor:
    x = F.relu(net.norm1(net.conv1(x)))
    out = net.norm2(net.conv2(x))
    out += x
    out = F.relu(out, inplace=True)
    return net.head(F.relu(net.norm3(net.conv3(out)) + net.skip(out)).mean((2, 3)))


def preactivation(net: Net, x: Tensor) -> Tensor:
    x = net.conv1(x)
    x = x + net.conv2(F.relu(net.norm1(x)))
    x = x + net.conv3(F.relu(net.norm2(x)))
    return net.head(F.relu(net.norm3(x)).mean([-1, -2], keepdim=True).flatten(1))


def preactivation_inplace(net: Net, x: Tensor) -> Tensor:
    x = net.conv1(x)
    y = net.relu(x)
    x = net.conv2(y) + x  # reads what the ReLU wrote into x
    return net.head(net.relu(x).flatten(1))


def dense(net: Net, x: Tensor) -> Tensor:
    x = net.conv1(x)
    x = torch.cat([x, net.conv2(net.norm1(x).relu())], 1)
    x = torch.cat((x, net.conv3(net.norm2(x).relu())), dim=-3)
    return net.head(F.adaptive_avg_pool2d(net.norm3(x).relu(), (1, 1)).view(x.size(0), -1))


def inception(net: Net, x: Tensor) -> Tensor:
    one, two = F.relu(net.norm1(net.conv1(x))), net.norm2(F.relu(net.conv2(x)))
    joined = F.max_pool2d(torch.concat([one, two, net.conv3(x).relu()], dim=1), 3, 2, padding=1)
    return net.head(torch.flatten(F.relu(net.conv4(joined)), 1))


def inception_unlike(net: Net, x: Tensor) -> Tensor:
    joined = torch.cat([x, F.relu(net.conv1(x)), net.conv2(x)], 1)  # pixels, spikes and a potential
    return net.head(net.conv3(net.pool(joined).relu_()).relu().reshape(x.shape[0], -1))


def twice(net: Net, x: Tensor) -> Tensor:
    x = net.relu(net.norm(net.conv(x)))
    x = net.relu(net.norm(net.conv(net.pool(x))))
    return net.head(net.pool(net.relu(net.conv(x))).flatten(1))


def shared(net: Net, x: Tensor) -> Tensor:
    y = net.norm(net.conv(x))
    return net.head(torch.cat([y.relu(), (y + y).relu(), net.skip(y)], 1).flatten(1))


def doubled(net: Net, x: Tensor) -> Tensor:
    y = net.norm(net.conv(x))
    return net.head((y + y).relu().flatten(1))


def same_module(conv: nn.Conv2d) -> nn.Module:
    return headed(IMAGE, conv, nn.ReLU(), norm(3), conv, nn.ReLU())


def same_twice(net: Net, x: Tensor) -> Tensor:
    y = net.norm(F.relu(net.conv(x)))
    return net.head(F.relu(net.conv2(net.pool(torch.cat([y, y], 1)))).flatten(1))


def methods(net: Net, x: Tensor) -> Tensor:
    x = net.conv1(x).relu_()
    x = x.add(net.conv2(x)).relu()
    x = x.add_(net.conv2(x)).relu()
    return net.head(x.mean(dim=(3, 2), keepdim=True).reshape(-1, 4))


def functions(net: Net, x: Tensor) -> Tensor:
    x = torch.relu(net.conv1(F.dropout(x, 0.5, net.training)))
    x = F.avg_pool2d(input=x, kernel_size=2, ceil_mode=True, count_include_pad=False)
    x = torch.add(input=F.relu_(net.conv2(x)), other=F.dropout2d(x, training=False), alpha=1)
    x = F.avg_pool2d(F.relu(input=x), x.shape[2:])
    return net.head(torch.flatten(input=x, start_dim=1))


def modules() -> dict[str, nn.Module]:
    return {f"conv{i}": conv(3 if i == 1 else 4, 4) for i in (1, 2, 3)} | {
        f"norm{i}": norm() for i in (1, 2, 3)
    }


GRAPHS: dict[str, Callable[[], nn.Module]] = {
    "residual": lambda: Net(residual, **modules(), skip=nn.Conv2d(4, 4, 1), head=nn.Linear(4, 5)),
    "pre-activation": lambda: Net(preactivation, **modules(), head=nn.Linear(4, 5)),
    "pre-activation, inplace": lambda: Net(
        preactivation_inplace, **modules(), relu=nn.ReLU(inplace=True), head=nn.Linear(288, 5)
    ),
    "dense": lambda: Net(
        dense, conv1=conv(), conv2=conv(4), conv3=conv(8), norm1=norm(), norm2=norm(8),
        norm3=norm(12),
        head=nn.Linear(12, 5),
    ),
    "inception": lambda: Net(
        inception, conv1=conv(), conv2=conv(), conv3=conv(), conv4=conv(12), norm1=norm(),
        norm2=norm(),
        head=nn.Linear(80, 5),
    ),
    "inception, unlike": lambda: Net(
        inception_unlike, conv1=conv(), conv2=conv(3, 2), conv3=conv(9), pool=nn.MaxPool2d(2),
        head=nn.Linear(64, 5)
    ),
    "module used twice": lambda: Net(
        twice, conv=conv(3, 3), norm=norm(3), relu=nn.ReLU(inplace=True), pool=nn.MaxPool2d(2),
        head=nn.Linear(12, 5)
    ),
    "value read thrice": lambda: Net(
        shared, conv=conv(), norm=norm(), skip=conv(4), head=nn.Linear(864, 5),
    ),
    "value added to itself": lambda: Net(doubled, conv=conv(), norm=norm(), head=nn.Linear(288, 5)),
    "value joined to itself": lambda: Net(
        same_twice, conv=conv(), norm=norm(), conv2=conv(8), pool=nn.MaxPool2d(2),
        head=nn.Linear(64, 5)
    ),
    "methods": lambda: Net(methods, **modules(), head=nn.Linear(4, 5)),
    "functions": lambda: Net(functions, **modules(), head=nn.Linear(4, 5)),
    "one module under two names": lambda: same_module(conv(3, 3)),
    "ends in ReLU": lambda: nn.Sequential(*headed(IMAGE, conv(), nn.ReLU()), nn.ReLU()),
    "ends in pooled ReLU": lambda: nn.Sequential(
        conv(), nn.ReLU(), norm(), nn.MaxPool2d(2), nn.Flatten(),
    ),
    "input written into": lambda: Net(
        lambda net, x: net.head(F.relu(net.conv(x.mul_(-0.5))).flatten(1)), conv=conv(),
        head=nn.Linear(288, 5),
    ),
    "fully convolutional": lambda: nn.Sequential(conv(), nn.ReLU(), conv(4, 2)),
    "identity": nn.Identity,
    "a convolution alone": conv,
}  # fmt: skip


@pytest.mark.parametrize("network", GRAPHS.values(), ids=GRAPHS.keys())
@pytest.mark.parametrize("span", [(0, 1), (-3, 3)], ids=["unit", "symmetric"])
def test_graph(network: Callable[[], nn.Module], span: tuple[float, float]) -> None:
    assert_exact(network(), IMAGE, *span)


@pytest.mark.parametrize(
    "names",
    [("relu", "relu_pool"), ("output", "output_relu"), ("spikes", "x"), ("input", "input_1")],
)
@pytest.mark.parametrize("order", ["relu, pool", "pool, relu"])
def test_names_of_layers_do_not_collide(names: tuple[str, str], order: str) -> None:
    layers = [(names[0], nn.ReLU()), (names[1], nn.MaxPool2d(2))]
    layers = layers if order == "relu, pool" else layers[::-1]
    tail = [
        ("flatten", nn.Flatten()),
        ("linear", nn.Linear(64, 5)),
        ("cat", nn.ReLU()),
        ("add", nn.Linear(5, 5)),
    ]
    snn = assert_exact(nn.Sequential(OrderedDict([("conv", conv()), *layers, *tail])), IMAGE)
    assert len(snn.layers) == 2


def test_pools_that_wait_for_several_relus_share_no_state() -> None:
    """Their signs are state, which formats such as safetensors store once a name."""

    def forward(net: Net, x: Tensor) -> Tensor:
        y = net.norm(F.max_pool2d(net.conv(x), 2))
        return net.head(torch.cat([y.relu(), y.relu(), F.leaky_relu(y), y.abs()], 1).flatten(1))

    snn = assert_exact(Net(forward, conv=conv(), norm=norm(), head=nn.Linear(256, 5)), IMAGE)
    state = snn.state_dict()
    assert sum(name.endswith(".sign") for name in state) == 6
    assert len({value.data_ptr() for value in state.values()}) == len(state)


@pytest.mark.parametrize("dim", [1, 2, (2, 3)])
def test_a_largest_value_behind_a_relu_is_no_part_of_its_layer(dim) -> None:
    """The layer is compared before the maximum, which has another shape."""
    network = Net(
        lambda net, x: net.head(net.relu(net.conv(x)).amax(dim, keepdim=True).mean((2, 3))),
        conv=conv(), relu=nn.ReLU(), head=nn.Linear(1 if dim == 1 else 4, 5),
    )  # fmt: skip
    assert_exact(network, IMAGE)
