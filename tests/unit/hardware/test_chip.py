"""Whole chips: imperfections together, defects, the same chip in the simulator, faults."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from kit.learning import make_data
from torch import nn

import ttfs
from ttfs.errors import UserError
from ttfs.hardware import Hardware, deploy
from ttfs.methods._deploying import _measure


def test_the_ideal_chip_is_the_ideal_network_bit_for_bit(snn, images):
    assert torch.equal(deploy(snn, Hardware())(images), snn(images))


def test_deploying_leaves_the_ideal_network_alone(snn, images):
    before, windows = snn(images), snn.windows
    deploy(snn, Hardware(jitter=0.1, time_bits=2, weight_bits=2, window_quantile=0.5), images)
    assert torch.equal(snn(images), before)
    assert snn.windows == windows


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
        ({"conductance_bits": 0}, "conductance_bits is 0; choose 1 to 16"),
        ({"programming_noise": -0.1}, "programming_noise is -0.1; it is 0 or more"),
        ({"read_noise": float("inf")}, "read_noise is inf"),
        ({"drift_exponent": -0.1}, "drift_exponent is -0.1"),
        ({"drift_spread": -0.1}, "drift_spread is -0.1"),
        ({"drift_time": 0.5}, "drift_time is 0.5; it is a time in units of t0, 1 or more"),
        ({"stuck_devices": 2}, "stuck_devices is 2; it is a share, from 0 to 1"),
        ({"weight_bits": 4, "read_noise": 0.1}, "give conductance_bits instead"),
        ({"window_quantile": 0.0}, "window_quantile is 0.0"),
        ({"window_quantile": 1.5}, "window_quantile is 1.5"),
        ({"window_quantile": "0.9"}, "window_quantile is '0.9'; it is a number"),
        ({"equalize": "no"}, "equalize is 'no'; it is True or False"),
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
    {"weight_bits": 3, "equalize": True, "window_quantile": 0.9},
    {"window_quantile": 0.9},
    {"threshold_mismatch": 0.1},
    {"dead_neurons": 0.3},
    {"lost_spikes": 0.2},
    {"conductance_bits": 2},
    {"programming_noise": 0.03},
    {"stuck_devices": 0.1},
    {"drift_exponent": 0.06, "drift_spread": 0.02, "drift_time": 1e4},
    {"read_noise": 0.1},
    {
        "conductance_bits": 4, "weight_scale": "channel", "programming_noise": 0.03,
        "stuck_devices": 0.01, "drift_exponent": 0.05, "drift_spread": 0.01, "drift_time": 100.0,
        "read_noise": 0.02, "jitter": 0.02, "time_bits": 4, "threshold_mismatch": 0.02,
    },
    {
        "jitter": 0.05, "time_bits": 4, "time_rounding": "nearest", "weight_bits": 4,
        "window_quantile": 0.95,
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
    often = [neuron for neuron in shift.flatten(1).T if neuron.isfinite().sum() > 1]
    assert len(often) > 10
    for neuron in often:
        seen = neuron[neuron.isfinite()]
        assert (seen - seen[0]).abs().max() < 1e-5
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


def test_windows_are_measured_on_batches_with_labels_too(snn, images):
    hardware, labels = Hardware(window_quantile=0.9), torch.zeros(len(images))
    wanted = deploy(snn, hardware, images).windows
    batches = [(images[:3], labels[:3]), (images[:0], labels[:0]), (images[3:], labels[3:])]
    assert deploy(snn, hardware, batches).windows == wanted


@pytest.mark.parametrize("count", [True, False], ids=["all costs", "accuracy alone"])
@pytest.mark.parametrize("read_out", [1.0, 0.5])
def test_latency_and_time_steps_are_those_until_the_read_out(
    tmp_path, monkeypatch, read_out, count
):
    """Three windows of several widths follow one another, one the input's, of 16 steps each."""
    data = make_data(tmp_path, monkeypatch)
    ann = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU())
    ann.append(nn.Linear(8, 3))
    items, _ = next(iter(data.train.batches(8)))
    chip = deploy(ttfs.convert(ann.eval(), items), Hardware(time_bits=4))
    job = SimpleNamespace(data=data, device="cpu", config={"hardware": {"time_bits": 4}})
    rows = {r["metric"]: r["value"] for r in _measure(chip, read_out, count, job) if len(r) == 2}
    passed, time = 0.0, read_out * chip.latency
    for begin, end in chip.windows.values():
        passed += 16 * min(max((time - begin) / (end - begin), 0.0), 1.0)
    assert rows["time_steps"] == pytest.approx(passed)
    assert read_out < 1 or passed == 3 * 16
    assert rows["latency"] == read_out * chip.latency
    assert ("first_spike_latency" in rows) == (count and read_out == 1)
