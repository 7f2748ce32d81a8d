"""What lies between the plain layers is mapped exactly too: constants, index maps, clipped and
leaky neurons.
"""

import warnings
from collections import OrderedDict
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from kit.exactness import IMAGE, Net, assert_exact, conv, draw, headed, norm, randomise
from torch import Tensor, nn
from torch.nn.utils import prune

import ttfs
from ttfs.metrics import fan_out
from ttfs.snn import OneToOne, Synapses, reference_network, simulate

pytestmark = pytest.mark.usefixtures("seed")


def between(
    function: Callable[[Tensor], Tensor], channels: int = 4, spikes: bool = True
) -> nn.Module:
    """Convolution, ReLU if asked for, the function, a convolution, ReLU, and a mean."""

    def forward(net: Net, x: Tensor) -> Tensor:
        x = function(F.relu(net.one(x)) if spikes else net.one(x))
        return net.head(F.relu(net.two(x)).mean((2, 3)))

    return Net(forward, one=conv(), two=conv(channels, 6), head=nn.Linear(6, 5))


COLUMN = torch.tensor([0.5, -1.0, 2.0, 1.5]).reshape(4, 1, 1)
MAP = torch.linspace(-1, 1, 72).reshape(9, 8)
KERNEL = torch.linspace(-1, 1, 216).reshape(4, 6, 3, 3).sin()
BLUR = torch.tensor([1.0, 2.0, 1.0]).outer(torch.tensor([1.0, 2.0, 1.0])) / 16
FUNCTIONS: dict[str, tuple[Callable[[Tensor], Tensor], int]] = {
    "plus a number": (lambda x: 1 + x, 4), "sum of a list": (lambda x: sum([x, x, x]), 4),
    "number minus": (lambda x: 1.5 - x, 4),
    "difference": (lambda x: x - F.max_pool2d(x, 3, 1, 1), 4),
    "scaled sum": (lambda x: torch.add(x, x.relu(), alpha=-2), 4), "negative": (lambda x: -x, 4),
    "times a column": (lambda x: x * COLUMN, 4),
    "typed as the values": (lambda x: x * COLUMN.float().to(x) + COLUMN.type_as(x), 4),
    "by a column": (lambda x: x / COLUMN.unsqueeze(0), 4),
    "times a map": (lambda x: x * MAP + MAP, 4), "inplace": (lambda x: x.mul_(2).add_(0.5), 4),
    "times a map, mean": (lambda x: F.avg_pool2d(x * MAP - MAP, 2), 4),
    "max, times a map": (lambda x: F.max_pool2d(x, 3, 1, 1) * MAP - MAP, 4),
    "max, plus a map, max": (lambda x: F.max_pool2d(F.max_pool2d(x, 2) + MAP[:4, :4], 2), 4),
    "max, times a map of one value": (
        lambda x: F.max_pool2d(F.max_pool2d(x, 2) * torch.full((4, 4), -2.0), 2), 4,
    ),
    "column, then max": (lambda x: F.max_pool2d(x * COLUMN - 1, 2), 4),
    "batch norm": (
        lambda x: F.batch_norm(x, COLUMN.flatten(), COLUMN.flatten() ** 2, None, COLUMN.flatten()),
        4,
    ),
    "convolution": (lambda x: F.conv2d(x, torch.ones(2, 2, 3, 3), None, 1, 1, 1, 2), 2),
    "chunk": (lambda x: x.chunk(2, 1)[1], 2),
    "parts": (lambda x: sum(part for part in x.chunk(2, 1)), 2),
    "split": (lambda x: torch.cat(torch.split(x, [1, 3], 1)[::-1], 1), 4),
    "split, inplace": (lambda x: torch.cat([part.relu_() for part in x.chunk(2, 1)], 1), 4),
    "slice": (lambda x: x[:, ::2, 1:], 2),
    "transpose": (lambda x: x.transpose(2, 3).contiguous(), 4), "flip": (lambda x: x.flip(1), 4),
    "shuffle": (lambda x: x.view(x.size(0), 2, 2, 9, 8).transpose(1, 2).reshape(x.shape), 4),
    "pad, max": (lambda x: F.max_pool2d(F.pad(x, (1, 0, 2, 1)), 2), 4),
    "pad reflect": (lambda x: F.pad(x, (1, 1, 1, 1), "reflect"), 4),
    "scale, pad": (lambda x: F.pad(x * COLUMN + 1, (1, 1, 1, 1)), 4),
    "stack": (lambda x: torch.stack([x, -x], 2).flatten(1, 2), 8),
    "rows": (lambda x: torch.cat([x, 2 * x], 2), 4),
    "rows by axis": (lambda x: torch.concatenate([x, 2 * x], axis=2), 4),
    "flat, max": (lambda x: F.max_pool1d(x.flatten(2), 2).unflatten(2, (6, 6)), 4),
    "shuffle, max": (lambda x: F.max_pool2d(x.flip(1).transpose(2, 3), 2), 4),
    "copies": (lambda x: x.to(x.dtype).clone().detach(), 4),
    "squeezed": (lambda x: x.unsqueeze(1).squeeze(1), 4),
    "mean over rows": (lambda x: x.mean(2, keepdim=True), 4),
    "sum over rows": (lambda x: (x + 1).sum(-1, keepdim=True), 4),
    "largest": (lambda x: x.amax((2, 3), keepdim=True), 4),
    "adaptive max": (lambda x: F.adaptive_max_pool2d(x, (3, 2)), 4),
    "largest, flat": (lambda x: x.amax((2, 3))[:, :, None, None], 4),
    "pixels": (lambda x: F.pixel_shuffle(x, 2), 1),
    "alpha dropout": (lambda x: F.alpha_dropout(x, 0.5), 4),
    "relu6": (F.relu6, 4), "clamp": (lambda x: x.clamp(-0.2, 0.3), 4),
    "clamp of spikes": (lambda x: x.clamp(0.0, 0.2), 4),
    "clamp above": (lambda x: x.clamp(max=0.2), 4),
    "hardtanh, max": (lambda x: F.max_pool2d(F.hardtanh(x, -0.5, 0.5), 2), 4),
    "hardtanh by default": (lambda x: F.hardtanh_(3 * x) + F.hardtanh(2 * x), 4),
    "leaky by default": (lambda x: F.leaky_relu_(2 * x) + F.leaky_relu(x), 4),
    "doubled sum": (lambda x: torch.add(x, x.flip(1), alpha=2), 4),
    "minus itself, scaled": (lambda x: torch.sub(y := x * COLUMN + 1, y, alpha=3), 4),
    "plus itself, scaled": (lambda x: (y := x * COLUMN + 1) + y, 4),
    "larger of itself": (lambda x: torch.maximum(y := x * COLUMN + 1, y), 4),
    "joined to itself": (
        lambda x: torch.cat([y := F.max_pool2d(x * COLUMN + 1, 2), y], 1)[:, 2:6], 4,
    ),
    "parts after a pool": (
        lambda x: torch.cat(F.max_pool2d(x * COLUMN + 1, 2).chunk(2, 1)[::-1], 1), 4,
    ),
    "minus itself": (lambda x: torch.sub(x, x, alpha=3), 4),
    "batch norm, epsilon": (
        lambda x: F.batch_norm(x, COLUMN.flatten(), COLUMN.flatten() ** 2, eps=0.5), 4,
    ),
    "rows of both, max": (lambda x: F.max_pool2d(torch.cat([x.relu(), x - 0.5], 2), 2), 4),
    "threshold": (lambda x: F.threshold(x, 0.1, 0.1), 4),
    "leaky": (lambda x: F.leaky_relu(x, 0.1), 4),
    "prelu": (lambda x: F.prelu(x, COLUMN.flatten()), 4),
    "absolute": (lambda x: x.abs(), 4), "max alone": (lambda x: F.max_pool2d(x, 2), 4),
    "larger": (lambda x: torch.maximum(x, x.flip(1)), 4),
    "larger, by name": (lambda x: torch.maximum(input=x, other=x.flip(1))[:, :, 1:], 4),
    "larger, sliced": (lambda x: torch.max(x, x.flip(1))[:, 1:], 3),
    "larger of other": (lambda x: torch.max(1 - x, 2 * x.flip(2)), 4),
    "larger than a number": (lambda x: torch.maximum(x, torch.tensor(0.1)), 4),
    "smaller": (lambda x: torch.minimum(x, x.flip(1)), 4),
    "smaller of other, max": (lambda x: F.max_pool2d(torch.min(1 - x, 2 * x.flip(2)), 2), 4),
    "smaller than a column": (lambda x: F.max_pool2d(torch.minimum(x, COLUMN), 2), 4),
    "larger than a column": (lambda x: torch.maximum(COLUMN, F.max_pool2d(x, 2)), 4),
    "larger than a map": (lambda x: F.max_pool2d(torch.max(x, other=MAP), 2), 4),
    "smaller than a map": (lambda x: torch.fmin(MAP, F.max_pool2d(x, 3, 1, 1)), 4),
    "clamp by columns": (lambda x: x.clamp(min=0.1 * COLUMN).clamp(max=COLUMN), 4),
    "larger than zeros": (lambda x: torch.fmax(x, torch.zeros_like(x)), 4),
    "maxout": (lambda x: x.unflatten(1, (2, 2)).amax(2), 2),
    "maxout, indices": (lambda x: (0.5 - x).unflatten(1, (2, 2)).max(2)[0], 2),
    "maxout, values": (lambda x: x.unflatten(1, (2, 2)).max(2).values, 2),
    "factor by name": (lambda x: torch.mul(x, other=-2.0), 4),
    "quotient by name": (lambda x: torch.div(input=x, other=0.5), 4),
    "maxout kept": (lambda x: x.unflatten(1, (2, 2)).max(1, keepdim=True)[0].squeeze(1), 2),
    "nearest": (lambda x: F.interpolate(x, scale_factor=2), 4),
    "nearest, max": (lambda x: F.max_pool2d(F.interpolate(x, (13, 6), mode="nearest"), 3), 4),
    "bilinear": (lambda x: F.interpolate(x * COLUMN, (13, 15), mode="bilinear"), 4),
    "bilinear corners": (
        lambda x: F.interpolate(x - 1, (5, 9), mode="bilinear", align_corners=True), 4,
    ),
    "bicubic": (lambda x: F.interpolate(x, scale_factor=(1.5, 2), mode="bicubic"), 4),
    "transposed": (lambda x: F.conv_transpose2d(x, KERNEL, None, 2, 1, 1), 6),
    "transposed groups": (
        lambda x: F.conv_transpose2d(x * COLUMN - 1, KERNEL, None, 1, (3, 0), 0, 2, (2, 1)), 12,
    ),
    "blur": (
        lambda x: F.conv2d(
            F.pad(x, (1, 1, 1, 1), "reflect"), BLUR.expand(x.shape[1], 1, 3, 3), stride=2,
            groups=x.shape[1],
        ), 4,
    ),
    "max, max alone": (lambda x: F.max_pool2d(-2 * F.max_pool2d(x, 3, 1, 1) + 1, 2), 4),
}  # fmt: skip


@pytest.mark.parametrize(("function", "channels"), FUNCTIONS.values(), ids=FUNCTIONS.keys())
@pytest.mark.parametrize("spikes", [True, False], ids=["spikes", "potential"])
@pytest.mark.parametrize("span", [(0, 1), (-2, 3)], ids=["unit", "other"])
def test_function(
    function: Callable, channels: int, spikes: bool, span: tuple[float, float]
) -> None:
    network = randomise(between(function, channels, spikes)).double()
    images = draw(IMAGE, *span).double()
    with _Double():
        snn = ttfs.convert(network, images, input_range=span)
        with torch.no_grad():
            expected, found = network(images.clone()), snn(images)
            oracle, times = simulate(snn, images[:2]), snn.spike_times(images[:2])
            twin = reference_network(snn)(images)
    assert (found - expected).abs().max() <= 1e-10 * expected.abs().max()
    assert (twin - expected).abs().max() <= 1e-10 * expected.abs().max()
    assert (oracle.logits - found[:2]).abs().max() <= 1e-9 * expected.abs().max()
    for name, closed in times.items():
        spiking = closed.isfinite()
        assert torch.equal(spiking, oracle.spike_times[name].isfinite()), name
        assert torch.allclose(
            oracle.spike_times[name][spiking], closed[spiking], rtol=0, atol=1e-9
        ), name
    counts = fan_out(snn)
    assert counts.keys() >= set(snn.layers)


class _Double:
    """Constants of the functions above are float64 while it is on."""

    def __enter__(self) -> None:
        torch.set_default_dtype(torch.float64)
        for key in ("COLUMN", "MAP", "KERNEL", "BLUR"):
            globals()[key] = globals()[key].double()

    def __exit__(self, *_: object) -> None:
        torch.set_default_dtype(torch.float32)
        for key in ("COLUMN", "MAP", "KERNEL", "BLUR"):
            globals()[key] = globals()[key].float()


MODULES: dict[str, Callable[[], list[nn.Module]]] = {
    "ReLU6": lambda: [conv(), nn.ReLU6(), conv(4, 4), nn.ReLU6()],
    "ReLU6 after norm": lambda: [conv(), norm(), nn.ReLU6(inplace=True), nn.MaxPool2d(2)],
    "Hardtanh": lambda: [conv(), nn.Hardtanh(-0.3, 0.4), norm(), nn.MaxPool2d(2)],
    "Threshold": lambda: [conv(), nn.Threshold(0.2, 0.2)],
    "LeakyReLU": lambda: [conv(), nn.LeakyReLU(0.2), conv(4, 4), nn.LeakyReLU(0.2, inplace=True)],
    "PReLU": lambda: [conv(), nn.PReLU(4), norm(), nn.PReLU()],
    "max without ReLU": lambda: [conv(), nn.MaxPool2d(2), norm(), conv(4, 4)],
    "max of the input": lambda: [nn.AvgPool2d(2), nn.MaxPool2d(2)],
    "AdaptiveMaxPool": lambda: [conv(), nn.ReLU(), nn.AdaptiveMaxPool2d(2)],
    "paddings": lambda: [
        nn.ZeroPad2d(1), nn.ReflectionPad2d(1), conv(), nn.ReLU(), nn.CircularPad2d(1),
    ],
    "pixels": lambda: [nn.PixelUnshuffle(1), conv(), nn.ReLU(), nn.PixelShuffle(2)],
    "alpha dropout": lambda: [conv(), nn.ReLU(), nn.AlphaDropout(), nn.Dropout3d()],
    "upsampling": lambda: [
        conv(), nn.ReLU(), nn.Upsample(scale_factor=2), nn.MaxPool2d(2), nn.UpsamplingBilinear2d(6),
    ],
    "transposed": lambda: [
        conv(), norm(), nn.ReLU(), norm(), nn.ConvTranspose2d(4, 6, (3, 2), (2, 3), (1, 0), (1, 2)),
        norm(6), nn.ReLU(),
    ],
    "transposed, cropped": lambda: [
        conv(), nn.ReLU(), nn.ConvTranspose2d(4, 4, 2, 1, 3, groups=2, bias=False), nn.ReLU(),
    ],
    "max of the logits": lambda: [conv(), nn.MaxPool2d(2)],
}  # fmt: skip


@pytest.mark.parametrize("stack", MODULES.values(), ids=MODULES.keys())
@pytest.mark.parametrize("span", [(0, 1), (-3, 3)], ids=["unit", "symmetric"])
def test_modules(stack: Callable[[], list[nn.Module]], span: tuple[float, float]) -> None:
    assert_exact(headed(IMAGE, *stack()), IMAGE, *span)


@pytest.mark.parametrize("name", ["zeros_like", "item", "relu", "output", "body"])
def test_a_layer_may_have_the_name_of_a_call(name: str):
    layers = [("flat", nn.Flatten()), ("first", nn.Linear(216, 7)), (name, nn.ReLU())]
    assert_exact(nn.Sequential(OrderedDict([*layers, ("head", nn.Linear(7, 5))])), IMAGE)


def test_a_layer_that_no_graph_has_may_have_any_name():
    net = Net(lambda net, x: net.out(F.relu(x).flatten(1)), out=nn.Linear(216, 5), meta=conv())
    assert_exact(net, IMAGE)


RACES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "maximum": torch.maximum,
    "rows, max": lambda a, b: F.max_pool2d(torch.cat([a, b], 2)[:, :, 5:14], 2),
    "channels, largest": lambda a, b: torch.cat([a, b], 1).amax(1, keepdim=True),
    "stack, largest": lambda a, b: torch.stack([a, b], 1).amax(1),
    "shuffle, max": lambda a, b: F.max_pool2d(
        torch.cat([y := torch.cat([a, b], 1).transpose(1, 2), y], 1), 2
    ),
}


@pytest.mark.parametrize("race", RACES.values(), ids=RACES)
@pytest.mark.parametrize("deeper", [False, True])
def test_spikes_race_in_one_window(race: Callable[..., Tensor], deeper: bool) -> None:
    """The earliest spike is the largest charge only where deadlines are the same: spikes of layers
    whose windows differ pass one layer of neurons more.
    """

    def forward(net: Net, x: Tensor) -> Tensor:
        one = F.relu(net.one(x))
        other = F.relu(net.three(one)) if deeper else F.relu(net.two(x))
        return net.head(race(one, other).flatten(1))

    net = Net(forward, one=conv(), two=conv(), three=conv(4), head=nn.LazyLinear(5))
    net(draw(IMAGE))
    with torch.no_grad():
        net.two.weight.mul_(3)
        net.three.weight.mul_(3)
    windows = assert_exact(net, IMAGE).windows
    assert len(windows) == 1 + 3
    first, second, raced = list(windows.values())[1:]
    assert raced[0] == max(first[1], second[1])


@pytest.mark.parametrize(
    "join",
    [
        lambda parts: torch.cat(parts, 1), lambda parts: torch.concat(parts, dim=-3),
        lambda parts: torch.concatenate(parts, axis=1),
        lambda parts: torch.cat(tensors=parts, dim=1),
    ],
    ids=["place", "from the last", "axis", "name"],
)  # fmt: skip
def test_a_pool_of_each_channel_needs_no_neurons_to_race(join: Callable) -> None:
    """Channels of several layers side by side: each field is of one of them."""

    def forward(net: Net, x: Tensor) -> Tensor:
        joined = join([F.relu(net.one(x)), F.relu(net.two(x))])
        return net.head(F.max_pool2d(joined, 2).flatten(1))

    net = Net(forward, one=conv(), two=conv(), head=nn.Linear(128, 5))
    assert len(assert_exact(net, IMAGE).layers) == 2


def test_constants_of_whole_channels_are_taken_in_by_the_weights() -> None:
    """However they are written: no one-to-one synapses, no map of biases is left, and a max pool
    waits for its ReLU behind them.
    """
    maps = {
        "a full map": lambda x: x * torch.full((4, 9, 8), 2.0),
        "reshaped": lambda x: (x * COLUMN).flatten(2).unflatten(2, (9, 8)),
        "copied": lambda x: (x * COLUMN).contiguous(),
        "moved": lambda x: (x * COLUMN).flip(2),
    }
    for name, function in maps.items():
        network = between(function)
        kinds = [type(module) for module in ttfs.convert(network, draw(IMAGE)).modules()]
        assert OneToOne not in kinds, name
    pooled = between(lambda x: F.relu(F.max_pool2d(x, 2) * torch.full((4, 4), -2.0)), spikes=False)
    assert len(ttfs.convert(pooled, draw(IMAGE)).layers) == 2
    for mode, maps_of_biases in (("zeros", 1), ("reflect", 0), ("circular", 0), ("replicate", 0)):
        layers = [conv(), nn.ReLU(), norm(), conv(4, 4, padding_mode=mode), nn.ReLU()]
        snn = ttfs.convert(randomise(headed(IMAGE, *layers)), draw(IMAGE))
        found = [m.bias_map for m in snn.modules() if isinstance(m, Synapses)]
        assert sum(bias_map is not None for bias_map in found) == maps_of_biases, mode


def test_a_clipped_neuron_fires_as_its_window_opens() -> None:
    ann = nn.Sequential(
        nn.Linear(1, 1, bias=False), nn.ReLU6(), nn.Linear(1, 1, bias=False)
    ).double()
    ann[0].weight.data.fill_(10.0)
    ann[2].weight.data.fill_(1.0)
    images = torch.tensor([[0.5], [0.9], [0.0]]).double()
    snn = ttfs.convert(ann, images)
    assert snn.windows["_1"] == (1.0, 7.0)
    assert snn.spike_times(images)["_1"].flatten().tolist() == [2.0, 1.0, float("inf")]
    assert snn(images).flatten().tolist() == [5.0, 6.0, 0.0]
    snn.layers["_1"].width = 2.0  # a short window clips more; the reference network knows of none
    assert snn(images).flatten().tolist() == [2.0, 2.0, 0.0]
    assert reference_network(snn)(images).flatten().tolist() == [5.0, 6.0, 0.0]


def test_two_neurons_of_a_leaky_one_are_both_counted() -> None:
    ann = nn.Sequential(nn.Linear(1, 2, bias=False), nn.LeakyReLU(), nn.Linear(2, 2)).double()
    ann[0].weight.data.copy_(torch.tensor([[1.0], [-1.0]]))
    snn = ttfs.convert(ann, torch.ones(1, 1).double())
    assert (
        ttfs.spikes_per_neuron(snn, torch.tensor([[0.5], [0.0]]).double()) == 0.25
    )  # 2 of 4, 0 of 4


@pytest.mark.parametrize("seen", ["fresh", "evaluated before", "with gradients"])
@pytest.mark.parametrize("how", ["pruned", "weight norm", "spectral norm"])
def test_weights_that_hooks_compute(how: str, seen: str) -> None:
    layer = conv(4, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        if how == "pruned":
            prune.random_unstructured(layer, "weight", 0.5)
        else:
            (nn.utils.weight_norm if how == "weight norm" else nn.utils.spectral_norm)(layer)
    ann = headed(IMAGE, conv(), nn.ReLU(), layer, nn.ReLU()).eval()
    if seen != "fresh":
        with torch.set_grad_enabled(seen == "with gradients"):
            ann(draw(IMAGE))
        with torch.no_grad():
            next(p for name, p in layer.named_parameters() if name.startswith("weight")).mul_(-1.5)
    images = draw(IMAGE)
    snn = ttfs.convert(ann, images)
    with torch.no_grad():
        assert torch.allclose(snn(images), ann(images), atol=1e-5)
    assert not any("orig" in key or "mask" in key for key in snn.state_dict())
    if how == "pruned":
        zeros = sum(int((p == 0).sum()) for p in snn.parameters())
        assert zeros >= 72  # half of 4 x 4 x 9
