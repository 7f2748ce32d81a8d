"""A chip's imperfections, one by one and together, against their definitions."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

import ttfs
from ttfs.errors import UserError
from ttfs.hardware import Hardware, QuantizedReLU, deploy, quantized_relu
from ttfs.snn import Synapses


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


def test_the_ideal_chip_is_the_ideal_network_bit_for_bit(snn, images):
    assert torch.equal(deploy(snn, Hardware())(images), snn(images))


def test_deploying_leaves_the_ideal_network_alone(snn, images):
    before, windows = snn(images), snn.windows
    deploy(snn, Hardware(jitter=0.1, time_bits=2, weight_bits=2, window_quantile=0.5), images)
    assert torch.equal(snn(images), before)
    assert snn.windows == windows


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 7])
def test_spikes_lie_on_the_clock_and_never_come_early(snn, images, bits):
    chip = deploy(snn, Hardware(time_bits=bits))
    ideal, coarse = snn.charges(images)[1], chip.charges(images)[1]
    for name, (t_min, t_max) in chip.windows.items():
        steps = coarse[name].double() * 2**bits / (t_max - t_min)
        assert torch.allclose(steps, steps.round(), atol=1e-5)
        assert steps.min() >= 0
        assert steps.max() <= 2**bits + 1e-5
    step = 1 / 2**bits
    late = ideal["input"] - coarse["input"]  # of the input both see the same potential
    assert late.min() >= 0
    assert late.max() < step
    assert torch.equal(coarse["input"] == 0, ideal["input"] < step)


@pytest.mark.parametrize("bits", [1, 3, 5])
def test_lower_thresholds_take_spikes_to_the_nearest_step(snn, images, bits):
    chip = deploy(snn, Hardware(time_bits=bits, time_rounding="nearest"))
    coarse = chip.charges(images)[1]
    nearest = (images.double() * 2**bits + 0.5).floor() / 2**bits
    assert torch.allclose(coarse["input"].double(), nearest, atol=1e-6)
    for name, fire in chip.layers.items():
        step = fire.width / 2**bits
        assert (coarse[name] <= fire.width * 1.00001).all()
        assert torch.allclose(coarse[name] / step, (coarse[name] / step).round(), atol=1e-4)
    assert (coarse["input"][images == 0] == 0).all()


def test_nearest_steps_are_the_rounded_activations_of_the_quantized_relu_network(snn, images):
    """The clock has 2^bits steps above silence, the quantised ReLU 2^bits - 1: with as many levels
    they are one.
    """
    chip = deploy(snn, Hardware(time_bits=3, time_rounding="nearest", weight_bits=4))
    control = quantized_relu(snn, Hardware(time_bits=3, weight_bits=4))
    for module in control.modules():
        if isinstance(module, QuantizedReLU):
            module.largest, module.bits = module.largest * 15 / 8, 4
    clipped = {name: fire.width for name, fire in chip.layers.items()}
    charges = chip.charges(images)[1]
    inside = torch.stack(
        [(charges[name] < width).flatten(1).all(1) for name, width in clipped.items()]
    ).all(0)
    assert inside.float().mean() > 0.5
    assert torch.allclose(chip(images)[inside], control(images)[inside], atol=1e-4)


def test_the_control_of_an_ideal_chip_is_the_relu_network(snn, images):
    control = quantized_relu(snn, Hardware())
    assert torch.equal(control(images), snn(images))
    fine = quantized_relu(snn, Hardware(time_bits=16, weight_bits=16))
    assert torch.allclose(fine(images), snn(images), atol=1e-2 * snn(images).abs().max().item())


def test_the_control_learns(snn, images):
    control = quantized_relu(snn, Hardware(time_bits=3, weight_bits=3))
    nn.functional.cross_entropy(control(images), torch.arange(64) % 5).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in control.parameters())
    assert sum(bool(p.grad.any()) for p in control.parameters()) > 3


def test_a_clock_changes_nothing_that_lies_on_it():
    from ttfs.hardware.emission import Emission

    for width in (1.0, 0.3, 7.7):
        clock = Emission(0.0, 5, 0.0, 0.0, 0)
        once = clock(torch.linspace(0, width, 1001).clamp(max=width), width)
        assert torch.equal(clock(once, width), once)
        assert clock(torch.tensor([width]), width).item() == pytest.approx(width)


def test_jitter_moves_spikes_by_its_share_of_the_window_and_silence_not_at_all(snn, images):
    chip = deploy(snn, Hardware(jitter=0.05))
    ideal, moved = images, chip.charges(images)[1]["input"]
    assert torch.equal(moved[ideal == 0], ideal[ideal == 0])
    inside = (ideal > 0.2) & (ideal < 0.8)  # four standard deviations from both ends
    noise = (moved - ideal)[inside]
    assert noise.std().item() == pytest.approx(0.05, rel=0.1)
    assert abs(noise.mean().item()) < 4 * 0.05 / len(noise) ** 0.5
    hidden, window = chip.charges(images)[1]["_1"], chip.layers["_1"].width
    assert hidden.min() >= 0
    assert hidden.max() <= window


def test_jitter_wakes_no_silent_neuron(snn):
    fire = deploy(snn, Hardware(jitter=0.05)).layers["_1"]
    potential = torch.randn(1000) * fire.width
    charges = fire(potential)
    assert not charges[potential <= 0].any()
    assert charges[
        potential > 0.5 * fire.width
    ].all()  # ten standard deviations before the deadline


def test_a_threshold_half_a_step_lower_wakes_whom_jitter_takes_over_the_next_step(snn):
    """A potential of -1/4 of a step fires 1/4 of a step before the deadline, too late for the clock
    but for jitter.
    """
    potential = torch.full((20_000,), -0.25 / 8) * snn.layers["_1"].width
    shares = []
    for jitter in (0.0, 0.05):
        fire = deploy(snn, Hardware(time_bits=3, time_rounding="nearest", jitter=jitter)).layers[
            "_1"
        ]
        shares.append((fire(potential) > 0).double().mean().item())
    tail = 0.5 * math.erfc(0.75 / 8 / 0.05 / 2**0.5)  # xi > 3/4 of a step
    assert shares == [0.0, pytest.approx(tail, abs=4 * (tail / 20_000) ** 0.5)]


def test_noise_is_its_seed_s(snn, images):
    first, again = (deploy(snn, Hardware(jitter=0.05, seed=1)) for _ in range(2))
    logits = first(images)
    assert torch.equal(logits, again(images))
    assert not torch.equal(logits, first(images)), "each image is a new trial"
    assert not torch.equal(logits, deploy(snn, Hardware(jitter=0.05, seed=2))(images))
    assert torch.equal(copy.deepcopy(first)(images), first(images))


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_every_layer_has_few_bit_weights_the_output_too(snn, bits):
    chip = deploy(snn, Hardware(weight_bits=bits))
    ideal = [module for module in snn.modules() if isinstance(module, Synapses)]
    layers = [module for module in chip.modules() if isinstance(module, Synapses)]
    most = 2 ** (bits - 1) - 1
    assert len(layers) == 3
    for few, full in zip(layers, ideal, strict=True):
        weight, exact = few.weights.weight.double(), full.weights.weight.double()
        step = few.weights.parametrizations.weight[0].step.double()
        assert torch.allclose(weight / step, (weight / step).round(), atol=1e-4)
        assert (weight / step).abs().max() <= most + 1e-4
        within = exact.abs() <= most * step
        assert ((weight - exact).abs() <= step * 0.5001)[within].all()


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_no_other_step_has_a_smaller_error(snn, bits):
    exact = (
        next(m for m in snn.modules() if isinstance(m, Synapses)).weights.weight.detach().double()
    )
    chip = deploy(snn, Hardware(weight_bits=bits))
    weight = next(m for m in chip.modules() if isinstance(m, Synapses)).weights.weight.double()
    most = 2 ** (bits - 1) - 1
    largest = exact.abs().max() / most
    for share in torch.rand(200).clamp(min=1e-3).double():
        step = largest * share
        other = (exact / step).round().clamp(-most, most) * step
        assert (weight - exact).square().mean() <= 1.02 * (
            other - exact
        ).square().mean()  # between two candidates


def test_the_levels_of_a_chip_stay_while_its_weights_learn(snn, images):
    chip = deploy(snn, Hardware(weight_bits=3))
    few = next(m for m in chip.modules() if isinstance(m, Synapses)).weights
    before = few.weight.detach().abs().max()
    with torch.no_grad():
        few.parametrizations.weight.original.mul_(5.0)
    assert torch.equal(few.weight.detach().abs().max(), before)
    assert any(name.endswith("step") for name in chip.state_dict())


def test_few_bit_weights_learn_through_the_rounding(snn, images):
    chip = deploy(snn, Hardware(weight_bits=3, time_bits=4))
    optimizer = torch.optim.Adam(chip.parameters(), 1e-2)
    labels = torch.arange(64) % 5
    losses = []
    for _ in range(100):
        loss = nn.functional.cross_entropy(chip(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
    assert all(parameter.grad is not None for parameter in chip.parameters())


def test_a_window_ends_at_its_quantile_and_clips_the_rest(snn, images):
    chip = deploy(snn, Hardware(window_quantile=0.9), images)
    assert chip.latency < snn.latency
    for name, charges in snn.charges(images)[1].items():
        if name == "_1":  # the first hidden layer sees what it was calibrated on
            emitted = charges[charges > 0].double()
            fit = (emitted <= chip.layers[name].width).double().mean().item()
            assert fit == pytest.approx(0.9, abs=2 / len(emitted) + 1e-4)
            assert torch.equal(
                chip.charges(images)[1][name], charges.clamp(max=chip.layers[name].width)
            )


def test_imperfections_compose(snn, images):
    chip = deploy(
        snn, Hardware(jitter=0.02, time_bits=4, weight_bits=4, window_quantile=0.99), images
    )
    for name, (t_min, t_max) in chip.windows.items():
        steps = chip.charges(images)[1][name].double() * 16 / (t_max - t_min)
        assert torch.allclose(steps, steps.round(), atol=1e-4)
    assert chip(images).isfinite().all()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"jitter": -0.1}, "jitter is -0.1"),
        ({"jitter": float("nan")}, "jitter is nan"),
        ({"time_bits": 0}, "time_bits is 0"),
        ({"time_bits": 2.5}, "time_bits is 2.5"),
        ({"time_rounding": "up"}, "time_rounding is 'up'; choose 'next' or 'nearest'"),
        ({"time_bits": True}, "time_bits is True; give a whole number, 1 to 16, or None"),
        ({"time_bits": 17}, "time_bits is 17; choose 1 to 16, or None for continuous time"),
        ({"time_bits": "4"}, "time_bits is '4'; give a whole number"),
        ({"weight_bits": 1}, "weight_bits is 1"),
        ({"weight_bits": True}, "weight_bits is True; give a whole number, 2 to 16, or None"),
        ({"weight_bits": np.float64(4)}, "give a whole number"),
        ({"weight_scale": "row"}, "weight_scale is 'row'"),
        ({"threshold_mismatch": -0.1}, "threshold_mismatch is -0.1"),
        ({"dead_neurons": 1.1}, "dead_neurons is 1.1"),
        ({"lost_spikes": -0.5}, "lost_spikes is -0.5"),
        ({"window_quantile": 0.0}, "window_quantile is 0.0"),
        ({"window_quantile": 1.5}, "window_quantile is 1.5"),
    ],
)
def test_chips_that_cannot_be(wrong, said):
    with pytest.raises(UserError, match=said):
        Hardware(**wrong)


@pytest.mark.parametrize("whole", [np.int64, np.uint8, torch.tensor])
def test_bits_may_be_any_whole_number(whole):
    assert Hardware(time_bits=whole(4), weight_bits=whole(3)) == Hardware(
        time_bits=4, weight_bits=3
    )
    assert type(Hardware(time_bits=whole(4)).time_bits) is int


def test_what_cannot_be_deployed(snn, images):
    with pytest.raises(UserError, match="needs calibration images"):
        deploy(snn, Hardware(window_quantile=0.9))
    with pytest.raises(UserError, match="holds no image"):
        deploy(snn, Hardware(window_quantile=0.9), iter([]))
    with pytest.raises(UserError, match="alpha1 neurons; deploy one of b1 neurons"):
        deploy(
            ttfs.convert(nn.Sequential(nn.Flatten(), nn.Linear(64, 5)), images, neuron="alpha1"),
            Hardware(),
        )
    chip = deploy(snn, Hardware(time_bits=4))
    with pytest.raises(UserError, match="on a chip already"):
        deploy(chip, Hardware())


CHIPS = [
    {},
    {"jitter": 0.05},
    {"time_bits": 3},
    {"time_bits": 3, "time_rounding": "nearest"},
    {"weight_bits": 3},
    {"weight_bits": 3, "weight_scale": "channel"},
    {"window_quantile": 0.9},
    {"threshold_mismatch": 0.1},
    {"dead_neurons": 0.3},
    {"lost_spikes": 0.2},
    {
        "jitter": 0.05, "time_bits": 4, "time_rounding": "nearest", "weight_bits": 4, "window_quantile": 0.95,
        "threshold_mismatch": 0.05, "dead_neurons": 0.1, "lost_spikes": 0.1,
    },
]  # fmt: skip


@pytest.mark.parametrize("chip", CHIPS, ids=lambda chip: "+".join(chip) or "ideal")
def test_the_simulator_of_the_same_chip_gives_the_same_spikes_and_logits(snn, images, chip):
    exact, few = copy.deepcopy(snn).double(), images[:6].double()
    hardware = Hardware(**chip, seed=5)
    simulation = ttfs.simulate(deploy(exact, hardware, images.double()), few)
    logits, charges = deploy(exact, hardware, images.double()).charges(few)
    assert torch.allclose(simulation.logits, logits, rtol=0, atol=1e-12)
    windows = deploy(exact, hardware, images.double()).windows
    for name, times in simulation.spike_times.items():
        simulated = torch.where(times.isfinite(), windows[name][1] - times, 0.0)
        assert torch.allclose(simulated, charges[name], rtol=0, atol=1e-9), name


def test_a_mismatch_shifts_each_threshold_once_and_for_all(snn, images):
    chip = deploy(snn, Hardware(threshold_mismatch=0.1, seed=2))
    first, second = (chip.charges(images)[1]["_1"] for _ in range(2))
    assert torch.equal(first, second)
    ideal, width = snn.charges(images)[1]["_1"], snn.layers["_1"].width
    inside = (ideal > 0) & (first > 0) & (ideal < width) & (first < width)
    shift = ((ideal - first) / width).masked_fill(~inside, torch.nan)
    for neuron in shift.flatten(1).T:
        seen = neuron[neuron.isfinite()]
        assert len(seen) == 0 or (seen - seen[0]).abs().max() < 1e-5
    each = shift.flatten(1).nanmean(0)
    assert each[each.isfinite()].std().item() == pytest.approx(0.1, rel=0.35)


def test_dead_neurons_are_the_same_ones_for_every_image_and_precision(snn, images):
    chip = deploy(snn, Hardware(dead_neurons=0.25, seed=1))
    charges, ideal = chip.charges(images)[1]["_1"], snn.charges(images)[1]["_1"]
    alive = (charges > 0).any(0)
    assert torch.equal(charges[:, alive], ideal[:, alive])
    dead = ~alive & (ideal > 0).any(0)
    assert dead.float().mean().item() == pytest.approx(
        0.25, abs=0.09
    )  # of 216 neurons: three standard deviations
    double = copy.deepcopy(chip).double().charges(images.double())[1]["_1"]
    assert torch.equal((double > 0).any(0), alive)


def test_lost_spikes_are_drawn_anew_for_each_image_and_silence_loses_none(snn, images):
    chip = deploy(snn, Hardware(lost_spikes=0.2))
    ideal, first, second = images, *(chip.charges(images)[1]["input"] for _ in range(2))
    assert not torch.equal(first, second)
    assert torch.equal(first[first > 0], ideal[first > 0])
    count = (ideal > 0).sum().item()
    assert ((ideal > 0) & (first == 0)).sum().item() / count == pytest.approx(
        0.2, abs=4 * (0.16 / count) ** 0.5
    )


def test_each_channel_has_a_scale_of_its_own(snn):
    with torch.no_grad():
        own = copy.deepcopy(snn)
        weight = next(m for m in own.modules() if isinstance(m, Synapses)).weights.weight
        weight[0] *= 100.0
        weight[1] = 0.0
    errors = []
    for scale in ("channel", "layer"):
        chip = deploy(own, Hardware(weight_bits=3, weight_scale=scale))
        quantised = next(m for m in chip.modules() if isinstance(m, Synapses)).weights.weight
        errors.append((weight - quantised)[2:].square().sum() / weight[2:].square().sum())
        assert torch.equal(quantised[1], weight[1])
        assert all(len(row.unique()) <= 7 for row in quantised)
    assert errors[0] < 0.1 < errors[1]


@pytest.mark.parametrize(
    "chip",
    [
        {"threshold_mismatch": 0.05, "window_quantile": 0.9},
        {"jitter": 0.02},
        {"dead_neurons": 0.3},
        {"lost_spikes": 0.2},
    ],
    ids="+".join,
)
def test_where_nothing_is_rounded_the_gradient_is_the_finite_difference(snn, images, chip):
    """Of the same draws: a copy of a chip draws what the chip draws."""
    chip = deploy(copy.deepcopy(snn).double(), Hardware(**chip, seed=3), images.double())
    few, small = images[:4].double(), 1e-6
    directions = [torch.randn_like(parameter) for parameter in chip.parameters()]
    values = []
    for sign in (1, -1):
        moved = copy.deepcopy(chip)
        with torch.no_grad():
            for parameter, direction in zip(moved.parameters(), directions, strict=True):
                parameter += sign * small * direction
            values.append(moved(few).square().sum().item())
    chip(few).square().sum().backward()
    slope = sum(
        (p.grad * d).sum().item() for p, d in zip(chip.parameters(), directions, strict=True)
    )
    assert slope == pytest.approx((values[0] - values[1]) / (2 * small), rel=1e-4)


def test_float_weights_get_the_gradient_of_their_rounded_ones(snn, images):
    chip = deploy(snn, Hardware(weight_bits=3))
    rounded = copy.deepcopy(snn)
    layers = [
        [m.weights for m in network.modules() if isinstance(m, Synapses)]
        for network in (chip, rounded)
    ]
    with torch.no_grad():
        for few, full in zip(*layers, strict=True):
            full.weight.copy_(few.weight)
    for network in (chip, rounded):
        network(images).square().sum().backward()
    for few, full in zip(*layers, strict=True):
        assert full.weight.grad.any()
        assert torch.equal(few.parametrizations.weight.original.grad, full.weight.grad)
