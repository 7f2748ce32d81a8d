"""Clocks, jitter and windows, one by one, against their definitions."""

import copy
import math
from collections.abc import Iterator

import pytest
import torch
from torch import nn

import ttfs
from ttfs.hardware import Hardware, QuantizedReLU, deploy, quantized_relu


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


def test_pixels_of_any_range_spike_in_the_window_of_the_input(images):
    """Jitter and clock are shares of that window, not of the range of the pixels."""
    ann = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 5)).double()
    unit, wide = images.double(), 8 * images.double() - 3
    hardware = Hardware(jitter=0.05, time_bits=6, lost_spikes=0.1, seed=4)
    one = deploy(ttfs.convert(ann, unit), hardware)
    other = deploy(ttfs.convert(ann, wide, input_range=(-3, 5)), hardware)
    assert torch.equal(one.charges(unit)[1]["input"], other.charges(wide)[1]["input"])


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


def test_a_window_ends_at_its_quantile_and_clips_the_rest(snn, images):
    chip = deploy(snn, Hardware(window_quantile=0.9), images)
    assert chip.latency < snn.latency
    # Only the first hidden layer sees what it was calibrated on.
    charges, width = snn.charges(images)[1]["_1"], chip.layers["_1"].width
    emitted = charges[charges > 0].double()
    fit = (emitted <= width).double().mean().item()
    assert 0.9 <= fit <= 0.9 + 2 / len(emitted) + 1e-4
    assert torch.equal(chip.charges(images)[1]["_1"], charges.clamp(max=width))


@pytest.fixture(params=[1, 2], ids=["1 thread", "2 threads"])
def threads(request: pytest.FixtureRequest) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("shape", [(7, 3), (1, 17), (3, 2**15), (1, 2**16 + 7), (30, 99, 71)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize(("jitter", "bits"), [(0.05, None), (0.0, 3), (0.05, 3)])
def test_spikes_emitted_in_blocks_are_those_emitted_at_once(shape, dtype, jitter, bits):
    """Without gradients charges are emitted block after block; while a network learns, at once."""
    from ttfs.hardware.emission import Emission

    emissions = [Emission(jitter, bits, 0.0, 0.0, 1) for _ in range(2)]
    for _ in range(2):  # each call draws on
        charges = (torch.randn(shape) * 2).clamp(0, 3.3).to(dtype)
        before, learning = charges.clone(), charges.clone().requires_grad_()
        in_blocks = emissions[0](charges, 3.3)
        assert torch.equal(in_blocks, emissions[1](learning, 3.3))
        assert torch.equal(charges, before)
        assert not torch.equal(in_blocks, charges)
