"""Equalized networks compute what they did, and few bits hold their weights."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import ttfs
from ttfs.hardware import Hardware, deploy, quantized_relu
from ttfs.hardware.equalization import equalize_
from ttfs.snn import SpikingNetwork, Synapses


def normed(channels: int) -> nn.BatchNorm2d:
    """Batch norm that has learned channels of very different size."""
    norm = nn.BatchNorm2d(channels)
    norm.running_mean.uniform_(0, 0.1)
    norm.running_var.copy_(10 ** (6 * torch.rand(channels) - 5))
    nn.init.uniform_(norm.weight, -1.5, 1.5)
    nn.init.normal_(norm.bias)
    return norm


def chain() -> nn.Sequential:
    """Batch norm after the ReLU, both kinds of pools, groups, a vector at the end."""
    layers = [
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), normed(8), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1, groups=4), nn.ReLU(), normed(16), nn.AvgPool2d(2),
        nn.Conv2d(16, 12, 1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(12, 20), nn.ReLU(), nn.Linear(20, 10),
    ]  # fmt: skip
    return nn.Sequential(*layers).eval()


def plain(groups: int = 1) -> nn.Sequential:
    """Convolutions whose channels are all alike."""
    second = nn.Conv2d(8, 16, 3, groups=groups)
    layers = [nn.Conv2d(3, 8, 3), nn.ReLU(), second, nn.ReLU(), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(256, 10))


@pytest.fixture
def images() -> Tensor:
    return torch.rand(50, 3, 8, 8)


def off(snn: nn.Module, other: nn.Module, images: Tensor) -> float:
    """The largest difference of the logits, as a share of the largest logit."""
    with torch.no_grad():
        expected = other(images)
        return ((snn(images) - expected).abs().max() / expected.abs().max()).item()


def synapses(snn: SpikingNetwork) -> list[Synapses]:
    return [module for module in snn.modules() if isinstance(module, Synapses)]


def factors(snn: SpikingNetwork, equal: SpikingNetwork) -> list[Tensor]:
    """What the biases of each hidden layer were multiplied by."""
    found = []
    for old, new in zip(synapses(snn)[:-1], synapses(equal)[:-1], strict=True):
        before, after = (
            one.weights.bias if one.bias_map is None else one.bias_map for one in (old, new)
        )
        found.append((after / before)[before != 0])
    return found


@pytest.mark.parametrize("per_channel", [False, True])
def test_the_network_its_windows_and_its_spikes_stay(images, per_channel: bool):
    snn = ttfs.convert(chain(), images).double()
    equal = copy.deepcopy(snn)
    assert equalize_(equal, per_channel) == len(snn.layers)
    assert off(equal, snn, images.double()) < 1e-12
    assert equal.windows == snn.windows
    before, after = (net.charges(images.double())[1] for net in (snn, equal))
    for name in snn.layers:
        assert torch.equal(before[name] > 0, after[name] > 0)
        excess = after[name] - before[name]  # a ratio of charges close to 0 is one of roundings
        assert excess.max() <= 1e-12 * before[name].max()
    for factor in factors(snn, equal):
        assert factor.min() > 0
        assert factor.max() <= 1 + 1e-12


def test_weights_into_and_out_of_a_channel_have_one_range(images):
    equal = ttfs.convert(plain(groups=4), images).double()
    equalize_(equal)
    first, second, last = (part.weights.weight.abs() for part in synapses(equal))
    grouped = second.flatten(2).amax(2).view(4, 4, 2).amax(1).flatten()
    outof = [grouped, last.view(10, 16, -1).amax((0, 2))]
    for rows, columns in zip((first.flatten(1), second.flatten(1)), outof, strict=True):
        ratio = rows.amax(1) / columns
        assert ratio.max() / ratio.min() < 1.01  # one constant a layer keeps the windows


def test_columns_are_balanced_where_rows_have_their_scales(images):
    equal = ttfs.convert(plain(groups=4), images).double()
    equalize_(equal, per_channel=True)
    _, second, last = (part.weights.weight.abs() for part in synapses(equal))
    grouped = second.flatten(2).amax(2).view(4, 4, 2)  # [groups, rows, columns]
    for rows in (grouped, last.view(1, 10, 16, -1).amax(3)):
        shares = rows / rows.square().mean(2, keepdim=True).sqrt()
        columns = shares.square().mean(1).sqrt()
        assert columns.max() / columns.min() < 1.01


def test_few_bits_hold_the_columns_that_batch_norm_leaves_behind_the_relu(images):
    """A channel that fires rarely has a small spread, so the norm makes its columns large."""
    norm = nn.BatchNorm2d(64, momentum=None)
    layers = nn.Conv2d(3, 64, 3), nn.ReLU(), norm, nn.Flatten(), nn.Linear(64 * 36, 10)
    ann = nn.Sequential(*layers)
    with torch.no_grad():
        potential = layers[0](images)
        high = potential.quantile(0.9, dim=0).amax((1, 2))  # few potentials are above it
        layers[0].bias -= high * torch.arange(64) / 64
        layers[0].bias[::2] -= 1e-3
    ann(images)
    snn = ttfs.convert(ann.eval(), images)

    @torch.no_grad()
    def error(**keys) -> float:
        """A root mean square: the largest difference of a draw is one of few."""
        chip = deploy(snn, Hardware(weight_bits=4, **keys))
        return (chip(images) - snn(images)).square().mean().sqrt().item()

    balanced = error(weight_scale="channel", equalize=True)
    assert balanced < 0.5 * error(weight_scale="channel")
    assert balanced < 0.5 * error(equalize=True)


def test_few_bits_hold_the_weights_of_channels_of_any_size(images):
    snn = ttfs.convert(plain(), images)
    uneven = copy.deepcopy(snn)
    first, second, last = synapses(uneven)
    with torch.no_grad():
        for entry, reader, channels in ((first, second, 8), (second, last, 16)):
            size = 10 ** (4 * torch.rand(channels) - 4)
            entry.weights.weight *= size.view(-1, 1, 1, 1)
            entry.weights.bias *= size
            columns = reader.weights.weight
            columns.view(len(columns), channels, -1).div_(size.view(1, -1, 1))
    assert off(uneven, snn, images) < 1e-4
    errors = {
        equalize: off(deploy(uneven, Hardware(weight_bits=4, equalize=equalize)), snn, images)
        for equalize in (False, True)
    }
    assert errors[True] < 0.3
    assert errors[False] > 0.45


@pytest.mark.parametrize("scale", ["layer", "channel"])
def test_fine_tuning_after_it_moves_in_levels(images, scale: str):
    snn = ttfs.convert(chain(), images).double()
    few = {"weight_bits": 4, "weight_scale": scale}
    equal = copy.deepcopy(snn)
    equalize_(equal, scale == "channel")
    chip = deploy(snn, Hardware(**few, equalize=True))
    assert off(chip, deploy(equal, Hardware(**few)), images.double()) < 1e-12

    chip(images.double()).square().sum().backward()
    assert all(held.grad.isfinite().all() for held in chip.parameters())
    for here, there in zip(synapses(chip), synapses(equal), strict=True):
        held = here.weights.parametrizations.weight
        step = held[0].step
        assert torch.allclose(held.original * step, there.weights.weight, rtol=1e-12)
        biases = here.weights if there.bias_map is None else here
        name = "bias" if there.bias_map is None else "bias_map"
        held, bias = biases.parametrizations[name].original, getattr(biases, name)
        assert torch.allclose(held * step.reshape(-1, *[1] * (held.dim() - 1)), bias)
        wanted = getattr(there.weights if name == "bias" else there, name)
        assert torch.allclose(bias, wanted, rtol=1e-12)


def test_the_control_is_equalized_too(images):
    snn = ttfs.convert(chain(), images)
    hardware = Hardware(weight_bits=4, equalize=True)
    assert off(quantized_relu(snn, hardware), deploy(snn, hardware), images) < 1e-5


class Sum(nn.Module):
    """x + relu(conv(x)), between two convolutions."""

    def __init__(self):
        super().__init__()
        self.first, self.branch = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 6, 3, padding=1)
        self.inner, self.last = nn.Conv2d(6, 6, 1), nn.Linear(6, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x).relu()
        x = (x + self.branch(self.inner(x).relu())).relu()
        return self.last(x.mean((2, 3)))


def test_layers_of_a_residual_sum_and_clipping_ones_keep_their_scale(images):
    snn = ttfs.convert(Sum().eval(), images).double()
    equal = copy.deepcopy(snn)
    assert equalize_(equal) == 1  # the one within the branch
    assert off(equal, snn, images.double()) < 1e-12
    six = nn.Sequential(nn.Flatten(), nn.Linear(192, 9), nn.ReLU6(), nn.Linear(9, 3)).eval()
    clipping = ttfs.convert(six, images)
    weights = [part.weights.weight.clone() for part in synapses(clipping)]
    assert equalize_(clipping) == 0
    after = (part.weights.weight for part in synapses(clipping))
    assert all(map(torch.equal, weights, after))


class Maxout(nn.Module):
    """The larger of each two neurons."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(192, 20), nn.Linear(10, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x.flatten(1)).relu().view(-1, 10, 2).amax(2))


class Vote(nn.Module):
    """The mean of each two neurons."""

    def __init__(self, pool: bool):
        super().__init__()
        self.pool = pool
        self.first, self.last = nn.Linear(192, 20), nn.Linear(10, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x.flatten(1)).relu()
        if self.pool:
            return self.last(F.avg_pool1d(x.unsqueeze(1), 2).flatten(1))
        return self.last(x.view(-1, 10, 2).mean(2))


class Middle(nn.Module):
    """The mean of channels c and C - 1 - c: it has the number that channels have on average."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(192, 2), nn.Linear(1, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x.flatten(1)).relu().view(-1, 1, 2).mean(2))


def pooled(pool: nn.Module, features: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), pool, nn.Flatten(), nn.Linear(features, 10))


@pytest.mark.parametrize(
    ("ann", "layers"),
    [
        (Maxout(), 0),
        (Vote(pool=False), 0),
        (Vote(pool=True), 0),
        (Middle(), 0),
        (pooled(nn.AdaptiveAvgPool2d(1), 6), 1),
        (pooled(nn.AvgPool2d(2, padding=1), 96), 0),  # the border counts zeros
        (pooled(nn.AvgPool2d(3, 2, 1, count_include_pad=False), 54), 1),
        (pooled(nn.AvgPool2d(2, divisor_override=2), 54), 0),
        (pooled(nn.MaxPool2d(3, 2, 1), 54), 1),
    ],
    ids=[
        "maxout",
        "vote",
        "vote by a pool",
        "middle",
        "global",
        "padded",
        "without the border",
        "divisor",
        "max",
    ],
)
def test_no_pool_mixes_up_the_channels(ann: nn.Module, layers: int, images):
    snn = ttfs.convert(ann.eval(), images).double()
    equal = copy.deepcopy(snn)
    assert equalize_(equal) == layers
    assert off(equal, snn, images.double()) < 1e-12


class Split(nn.Module):
    """Channels that are read by one convolution or another."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 28, 1)
        self.large, self.small = nn.Conv2d(24, 32, 3), nn.Conv2d(4, 8, 3)
        self.last = nn.Linear(40 * 36, 10)

    def forward(self, x: Tensor) -> Tensor:
        large, small = self.first(x).relu().split([24, 4], 1)
        both = [self.large(large).relu(), self.small(small).relu()]
        return self.last(torch.cat(both, 1).flatten(1))


def pruned() -> nn.Sequential:
    """One row reads all neurons, the other one of them."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, 8), nn.ReLU(), nn.Linear(8, 2))
    with torch.no_grad():
        net[3].weight.fill_(1.0)
        net[3].weight[1, :7] = 0.0
    return net


def dead_filter() -> nn.Sequential:
    net = plain(groups=4)
    with torch.no_grad():
        net[2].weight[0] = 0.0
    return net


@pytest.mark.parametrize("make", [Split, pruned, dead_filter])
def test_zeros_among_the_weights_take_no_channel_out_of_its_window(make, images):
    snn = ttfs.convert(make().eval(), images).double()
    equal = copy.deepcopy(snn)
    assert equalize_(equal, per_channel=True) > 0
    assert off(equal, snn, images.double()) < 1e-12
    assert factors(snn, equal)[0].min() > 0.1


def test_a_row_that_hardly_differs_from_the_others_sets_no_channel_apart(images):
    """A balance may ask for any factor; a charge that no clock would see is none."""
    net = pruned()
    with torch.no_grad():
        net[3].weight[1, :7] = 1e-12
    snn = ttfs.convert(net.eval(), images).double()
    equal = copy.deepcopy(snn)
    equalize_(equal, per_channel=True)
    assert off(equal, snn, images.double()) < 1e-9
    assert factors(snn, equal)[0].min().item() == pytest.approx(2.0**-12)


@pytest.mark.parametrize("weight", [0.0, 1e-30, 1e-39, 1e-42])
def test_a_row_close_to_zero_keeps_its_bias_on_the_chip(images, weight: float):
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, 8), nn.ReLU(), nn.Linear(8, 5)).eval()
    with torch.no_grad():
        net[1].weight[2] = weight
        net[1].bias[2] = 0.5
    snn = ttfs.convert(net, images)
    hardware = Hardware(weight_bits=8, weight_scale="channel", equalize=True)
    chip = deploy(snn, hardware)
    assert off(chip, snn, images) < 0.03
    held = synapses(chip)[0].weights.parametrizations
    assert held.bias.original.isfinite().all()
    steps = held.weight[0].step.flatten()
    if weight == 0.0:  # a row without weights learns in the steps of the others
        assert steps[2] <= 1.01 * steps.max()
        assert steps[2] < 1.0


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("weight", [0.0, 1e-42, 1e-6])
def test_a_dead_channel_takes_no_part_of_the_window(images, weight: float, per_channel: bool):
    snn = ttfs.convert(plain(), images)
    with torch.no_grad():
        synapses(snn)[1].weights.weight /= 400  # living channels get factors of about 1/20
        alive = copy.deepcopy(snn)
        equalize_(alive, per_channel)
        synapses(snn)[0].weights.weight[2] = weight
    equal = copy.deepcopy(snn)
    equalize_(equal, per_channel)
    assert off(equal, snn, images) < 1e-5
    for name in snn.layers:
        shares = [
            net.charges(images)[1][name].amax() / net.layers[name].width for net in (equal, alive)
        ]
        assert shares[0] > 0.3 * shares[1]


def test_weights_that_are_computed_stay_and_few_bits_of_precision_are_lost_once(images):
    snn = ttfs.convert(plain(), images)
    torch.nn.utils.parametrizations.weight_norm(synapses(snn)[1].weights)
    assert off(deploy(snn, Hardware(equalize=True)), snn, images) < 1e-5
    wide = nn.Sequential(nn.Flatten(), nn.Linear(192, 300), nn.ReLU(), nn.Linear(300, 10))
    narrow = ttfs.convert(wide, images).bfloat16()
    assert off(deploy(narrow, Hardware(equalize=True)), narrow, images.bfloat16()) < 0.03
