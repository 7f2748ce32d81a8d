"""Memristive synapses, each property against its definition."""

import copy

import pytest
import torch
from kit.learning import learn
from torch import nn

import ttfs
from ttfs.hardware import Hardware, deploy, program_, quantized_relu
from ttfs.snn import Synapses


def layers(network) -> list:
    return [module.weights for module in network.modules() if isinstance(module, Synapses)]


def pair_of(weights) -> tuple[torch.Tensor, torch.Tensor]:
    """Return G+ and G- in units of G_max."""
    stored = weights.parametrizations.weight
    return stored[0].conductances(stored.original.detach())


@pytest.fixture(scope="module")
def wide(images):
    """A network with enough devices for statistics."""
    torch.manual_seed(4)
    ann = nn.Sequential(nn.Flatten(), nn.Linear(64, 300), nn.ReLU(), nn.Linear(300, 5))
    return ttfs.convert(ann, images).eval()


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_each_device_has_its_levels_and_one_of_a_pair_is_off(snn, bits):
    chip = deploy(snn, Hardware(conductance_bits=bits))
    most = 2**bits - 1
    assert len(layers(chip)) == 3
    for weights, ideal in zip(layers(chip), layers(snn), strict=True):
        positive, negative = pair_of(weights)
        assert not (positive * negative).any()
        for conductance in (positive, negative):
            levels = conductance * most
            assert torch.allclose(levels, levels.round(), atol=1e-5)
            assert levels.min() >= 0
            assert levels.max() <= most + 1e-5
        full = weights.parametrizations.weight[0].full
        assert torch.allclose(weights.weight, full * (positive - negative))
        inside = ideal.weight.abs() <= full
        assert ((weights.weight - ideal.weight).abs() <= 0.5001 * full / most)[inside].all()


def test_pairs_of_b_bits_are_weights_of_b_plus_1_bits(snn, images):
    """2^b - 1 levels above and below 0 each."""
    pairs = layers(deploy(snn, Hardware(conductance_bits=3)))
    few = layers(deploy(snn, Hardware(weight_bits=4)))
    for pair, other in zip(pairs, few, strict=True):
        assert len(pair.weight.unique()) <= 15
        assert torch.allclose(pair.weight, other.weight, rtol=0, atol=1e-6)


def test_programming_noise_is_a_share_of_the_largest_conductance(wide):
    weights = layers(deploy(wide, Hardware(programming_noise=0.03, seed=3)))[0]
    full, exact = weights.parametrizations.weight[0].full, weights.parametrizations.weight.original
    target = (exact.detach() / full).clamp(-1, 1)
    positive, negative = pair_of(weights)
    error = (positive - target)[target > 0.2]  # seven standard deviations above 0
    count = len(error)
    assert error.std().item() == pytest.approx(0.03, abs=4 * 0.03 / (2 * count) ** 0.5)
    assert abs(error.mean().item()) < 4 * 0.03 / count**0.5
    assert (positive[target == 1] > 1).any(), "noise may exceed the largest that is asked for"
    assert torch.allclose(weights.weight, full * (positive - negative))
    off = negative[target > 0]
    assert off.min() == 0, "no conductance is negative"
    assert (off > 0).double().mean().item() == pytest.approx(0.5, abs=4 * 0.5 / len(off) ** 0.5)


def test_each_programming_draws_anew_and_each_pass_of_a_training(wide, images):
    hardware = Hardware(programming_noise=0.03, seed=1)
    chip, again = deploy(wide, hardware).eval(), deploy(wide, hardware).eval()
    first = chip(images)
    assert torch.equal(first, chip(images)), "written once, read twice"
    assert torch.equal(first, again(images)), "the seed names the chip"
    assert not torch.equal(first, deploy(wide, Hardware(programming_noise=0.03, seed=2))(images))
    program_(chip)
    assert not torch.equal(first, chip(images))
    again.train()
    with torch.no_grad():  # no step follows, so nothing is written
        assert torch.equal(first, again(images))
    with torch.enable_grad():
        assert not torch.equal(again(images), again(images))
    again.eval()
    assert torch.equal(first, again(images)), "trained or not, the first writing is the same"


def test_a_chip_is_the_same_in_every_precision(wide):
    devices = {"programming_noise": 0.03, "stuck_devices": 0.1, "drift_spread": 0.01}
    chip = deploy(wide, Hardware(**devices, drift_time=10.0)).eval()
    single = pair_of(layers(chip)[0])
    after = pair_of(layers(copy.deepcopy(chip).double())[0])
    fresh = deploy(copy.deepcopy(wide).double(), Hardware(**devices, drift_time=10.0)).eval()
    assert torch.allclose(single.double(), after, atol=1e-6)
    assert torch.allclose(pair_of(layers(fresh)[0]), after, rtol=0, atol=1e-6)
    exact = layers(fresh)[0].parametrizations.weight[0]
    again = layers(copy.deepcopy(chip).double())[0].parametrizations.weight[0]
    draws = [pairs._draw("programming", after) for pairs in (exact, again)]
    assert torch.equal(*draws), "all digits of the draws are kept"


def test_stuck_devices_are_off_or_at_the_largest_whatever_is_written(wide):
    chip = deploy(wide, Hardware(stuck_devices=0.2, programming_noise=0.01, seed=2)).eval()
    weights = layers(chip)[0]
    before = pair_of(weights)
    program_(chip)
    with torch.no_grad():
        weights.parametrizations.weight.original.mul_(-0.7)
    after = pair_of(weights)
    same = before == after
    stuck = same & ((before == 0) | (before == 1))
    on = same & (before == 1)
    count = before.numel()
    assert on.double().mean().item() == pytest.approx(0.1, abs=4 * (0.09 / count) ** 0.5)
    assert stuck.double().mean().item() >= 0.2 - 4 * (0.16 / count) ** 0.5
    assert not (same & ~stuck).any()


def test_conductances_drift_by_their_exponents(wide):
    def pairs(**drift):
        return pair_of(layers(deploy(wide, Hardware(conductance_bits=4, **drift, seed=5)))[0])

    fresh = pairs()
    late = pairs(drift_exponent=0.05, drift_time=1e3)
    assert torch.allclose(late, fresh * 1e3**-0.05)
    spread = pairs(drift_exponent=0.05, drift_spread=0.01, drift_time=1e3)
    on = fresh > 0
    nu = -(spread[on] / fresh[on]).log() / torch.tensor(1e3).log()
    assert nu.mean().item() == pytest.approx(0.05, abs=4 * 0.01 / len(nu) ** 0.5)
    assert nu.std().item() == pytest.approx(0.01, abs=4 * 0.01 / (2 * len(nu)) ** 0.5)


def test_exponents_that_only_spread_let_half_of_the_devices_grow(wide):
    spread = Hardware(conductance_bits=4, drift_spread=0.1, drift_time=100.0, seed=5)
    fresh, late = (
        pair_of(layers(deploy(wide, hardware))[0])
        for hardware in (Hardware(conductance_bits=4, seed=5), spread)
    )
    grown = (late > fresh)[fresh > 0].double()
    assert grown.mean().item() == pytest.approx(0.5, abs=4 * 0.5 / len(grown) ** 0.5)
    alone = Hardware(drift_spread=0.1, drift_time=100.0, seed=5)
    ideal, drifted = (layers(deploy(wide, hardware))[0] for hardware in (Hardware(), alone))
    assert not torch.equal(ideal.weight, drifted.weight)


def test_each_channel_has_its_scale_and_its_read_noise(wide):
    """Channels of a thousandth of the weights have a thousandth of the noise."""
    small = copy.deepcopy(wide)
    with torch.no_grad():
        layers(small)[0].weight[::2] /= 1000
    hardware = Hardware(conductance_bits=4, read_noise=0.1, weight_scale="channel")
    weights = layers(deploy(small, hardware))[0]
    full = weights.parametrizations.weight[0].full.flatten()
    assert full.shape == (300,)
    large = weights.parametrizations.weight.original.detach().abs().amax(1)
    assert (full <= large * 1.0001).all()
    assert (full > large / 8).all()
    reads = next(m.reads for m in deploy(small, hardware).modules() if isinstance(m, Synapses))
    expected = (0.1 * full[:, None]) ** 2 * pair_of(weights).square().sum(0)
    assert torch.allclose(reads.variances(), expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
def test_a_channel_without_weights_is_written_on_the_scale_of_the_others(wide, size: float):
    """Its scale is none of its own, and must not be one in other units."""
    dead = copy.deepcopy(wide)
    with torch.no_grad():
        layers(dead)[0].weight *= size
        layers(dead)[0].weight[7] = 0.0
    hardware = Hardware(programming_noise=0.05, weight_scale="channel", seed=2)
    weights = layers(deploy(dead, hardware))[0]
    written = weights.weight - weights.parametrizations.weight.original
    noise = written.detach().square().mean(1).sqrt()
    others = torch.cat([noise[:7], noise[8:]])
    assert 0 < noise[7] <= others.max()


def test_the_two_devices_of_a_pair_drift_apart(wide):
    def pairs(**drift):
        noisy = Hardware(programming_noise=0.2, **drift, seed=5)
        return pair_of(layers(deploy(wide, noisy))[0]).flatten(1)

    both = (pairs() > 0).all(0)
    ratio = pairs(drift_spread=0.01, drift_time=1e3)[:, both] / pairs()[:, both]
    correlation = torch.corrcoef(ratio.log())[0, 1]
    assert abs(correlation) < 4 / int(both.sum()) ** 0.5


def test_stuck_devices_do_not_drift(wide):
    hardware = Hardware(stuck_devices=1.0, drift_exponent=0.1, drift_time=1e6)
    assert set(pair_of(layers(deploy(wide, hardware))[0]).unique().tolist()) == {0.0, 1.0}


def test_read_noise_has_the_law_of_a_draw_for_each_device(wide, images):
    """The same image many times, and the same currents with a draw a device, by hand."""
    share, often = 0.1, 4000
    noisy = {"conductance_bits": 4, "programming_noise": 0.2}  # both devices of a pair conduct
    chip = deploy(wide, Hardware(**noisy, read_noise=share)).eval()
    quiet = deploy(wide, Hardware(**noisy)).eval()
    image = images[:1]
    name = next(iter(chip.potentials(image)))
    read = chip.potentials(image.expand(often, -1, -1, -1))[name]
    exact = quiet.potentials(image)[name]
    weights = layers(chip)[0]
    moved = pair_of(weights) * (1 + share * torch.randn(often, *pair_of(weights).shape)[:, :, :, :])
    full = weights.parametrizations.weight[0].full
    currents = full * (moved[:, 0] - moved[:, 1])  # [often, targets, sources]
    by_hand = torch.einsum("nts,s->nt", currents, image.flatten()) + weights.bias
    assert (read.mean(0) - exact[0]).abs().max() < 5 * read.std(0).max() / often**0.5
    ratio = read.std(0) / by_hand.std(0)
    assert ratio.mean().item() == pytest.approx(1.0, abs=0.01)
    assert (ratio - 1).abs().max() < 5 / often**0.5 * 1.5
    covariance = torch.corrcoef(read.T)[:20, :20] - torch.eye(20)
    assert covariance.abs().max() < 5 / often**0.5, "neurons have their own devices"


def test_read_noise_is_drawn_for_each_image_and_silence_reads_nothing(wide, images):
    chip = deploy(wide, Hardware(read_noise=0.05, seed=3)).eval()
    name = next(iter(chip.potentials(images)))
    two = chip.potentials(images[:1].expand(2, -1, -1, -1))[name]
    assert not torch.equal(two[0], two[1])
    quiet = torch.zeros_like(images[:3])
    assert torch.allclose(chip.potentials(quiet)[name], wide.potentials(quiet)[name], atol=1e-6)


def test_noise_is_the_same_however_values_lie_in_memory():
    ann = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)).double()
    images = torch.rand(5, 2, 6, 6).double()
    hardware = Hardware(read_noise=0.2, programming_noise=0.1, conductance_bits=4)
    found = []
    for layout in (torch.contiguous_format, torch.channels_last):
        chip = deploy(ttfs.convert(ann, images), hardware).eval().to(memory_format=layout)
        found.append(chip(images.contiguous(memory_format=layout)))
    assert torch.allclose(*found, rtol=0, atol=1e-12)


class Branches(nn.Module):
    """Sums of read and of direct branches, average pooling and a concatenation: what noise passes
    on its way.
    """

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.short, self.third, self.pool = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 2, 3), nn.AvgPool2d(2)
        self.relu1, self.relu2, self.relu3 = nn.ReLU(), nn.ReLU(), nn.ReLU()
        self.left, self.right = nn.Linear(4, 3), nn.Linear(18, 5)
        self.last = nn.Linear(8, 5)

    def forward(self, images):
        start = self.relu1(self.first(images))
        summed = self.relu2(self.second(start) + self.short(start) + start)
        pooled = self.pool(self.third(summed))
        flat = pooled.flatten(1)
        both = torch.cat([self.left(summed.mean((2, 3))), self.right(flat)], 1)
        return self.last(self.relu3(both))


def test_the_simulator_reads_with_noise_through_sums_pools_and_concatenations(images):
    torch.manual_seed(1)
    exact, few = ttfs.convert(Branches(), images).double(), images[:3].double()
    hardware = Hardware(read_noise=0.1, programming_noise=0.02, conductance_bits=3, seed=4)
    simulation = ttfs.simulate(deploy(exact, hardware), few)
    logits, charges = deploy(exact, hardware).charges(few)
    assert torch.allclose(simulation.logits, logits, rtol=0, atol=1e-12)
    assert not torch.allclose(deploy(exact, Hardware()).double()(few), logits, atol=1e-3)
    for name, times in simulation.spike_times.items():
        windows = deploy(exact, hardware).windows
        simulated = torch.where(times.isfinite(), windows[name][1] - times, 0.0)
        assert torch.allclose(simulated, charges[name], rtol=0, atol=1e-9), name


def test_float_weights_get_the_gradient_of_those_that_the_pairs_hold(snn, images):
    devices = {"conductance_bits": 3, "programming_noise": 0.03, "stuck_devices": 0.02}
    chip = deploy(snn.eval(), Hardware(**devices, drift_exponent=0.05, drift_time=10.0))
    held = copy.deepcopy(snn)
    with torch.no_grad():
        for pair, full in zip(layers(chip), layers(held), strict=True):
            full.weight.copy_(pair.weight)
    for network in (chip, held):
        network(images).square().sum().backward()
    for pair, full in zip(layers(chip), layers(held), strict=True):
        assert full.weight.grad.any()
        assert torch.equal(pair.parametrizations.weight.original.grad, full.weight.grad)


def test_memristive_synapses_learn(snn, images):
    devices = {"conductance_bits": 2, "programming_noise": 0.05, "read_noise": 0.02}
    chip = deploy(snn, Hardware(**devices, stuck_devices=0.02)).train()
    losses = learn(chip, images)
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])
    chip.eval()
    restored = deploy(snn, Hardware(**devices, stuck_devices=0.02)).eval()
    restored.load_state_dict(chip.state_dict())
    for trained, loaded in zip(layers(chip), layers(restored), strict=True):
        assert torch.equal(trained.weight, loaded.weight), "the first writing, as it was measured"


def test_the_scale_weighs_rounding_against_noise(wide):
    """More noise of the devices asks for a smaller scale: clipped weights, but less noise."""
    scales = [
        layers(deploy(wide, Hardware(programming_noise=noise)))[0].parametrizations.weight[0].full
        for noise in (1e-6, 0.1, 0.3)
    ]
    assert scales[0] > scales[1] > scales[2]


@pytest.mark.parametrize("noise", [0.0, 0.05, 0.3, 1.0])
def test_the_scale_has_the_least_error_of_the_formula(wide, noise):
    hardware = Hardware(programming_noise=noise, conductance_bits=2)
    [first, _] = layers(deploy(wide, hardware))
    weights = first.parametrizations.weight.original.detach().double()
    candidates = [weights.abs().max() * part / 64 for part in range(1, 65)]

    def error(full):
        held = full * ((weights / full).clamp(-1, 1) * 3).round() / 3
        return (weights - held).square().mean() + 2 * (noise * full) ** 2

    full = first.parametrizations.weight[0].full
    assert full.item() == pytest.approx(min(candidates, key=error).item(), rel=1e-6)


def test_the_control_has_the_levels_of_the_conductances(snn, images):
    devices = {"time_bits": 8, "conductance_bits": 3}
    control = quantized_relu(snn, Hardware(**devices, programming_noise=0.1, read_noise=0.1))
    exact = quantized_relu(snn, Hardware(**devices))
    assert torch.equal(control(images), exact(images))
    few = [m for m in control.modules() if isinstance(m, Synapses)]
    assert all(len(module.weights.weight.unique()) <= 15 for module in few)
