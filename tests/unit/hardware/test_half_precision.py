"""Chips in bfloat16 and float16, and in training with autocast, do what they do in float32."""

import pytest
import torch
from torch import nn

import ttfs
from ttfs.hardware.emission import Emission
from ttfs.snn import INPUT

HALVES = (torch.bfloat16, torch.float16)


def network(layers: int = 1) -> tuple[ttfs.SpikingNetwork, torch.Tensor]:
    hidden = [module for _ in range(layers) for module in (nn.Linear(16, 16), nn.ReLU())]
    images = torch.rand(64, 16)
    return ttfs.convert(nn.Sequential(*hidden, nn.Linear(16, 4)).eval(), images), images


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("bits", [1, 4, 6, 8, 10, 16])
def test_the_clock_waits_for_the_next_step(dtype: torch.dtype, bits: int):
    width, eps = 3.0 * torch.rand(()).item() + 0.1, torch.finfo(dtype).eps
    step = width / 2**bits
    clock = Emission(0.0, bits, 0.0, 0.0, 0)
    exact = width * torch.rand(5000, dtype=torch.float64)
    exact[::7], exact[1::7] = 0.0, width
    exact[2::7] = (exact[2::7] / step).floor() * step  # on the clock already
    charges = exact.to(dtype)
    emitted = clock(charges, width)
    assert emitted.dtype == dtype
    assert not emitted[exact == 0].any()  # silence stays silent
    assert (emitted[exact == width].double() / width - 1).abs().max() <= eps / 2
    waited = clock(exact, width)
    if 2**bits * eps < 0.5:  # the clock is coarser than the charges
        assert torch.all((emitted - waited)[2::7].abs() <= eps / 2 * exact[2::7])
    most = (exact * eps / step).ceil() * step + eps * exact  # what rounding of the charge may move
    assert torch.all((emitted.double() - waited).abs() <= most + 1e-9)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("bits", [4, 8, 16])
def test_a_blank_image_has_no_spike(dtype: torch.dtype, bits: int):
    snn, _ = network()
    chip = ttfs.deploy(snn, ttfs.Hardware(time_bits=bits)).to(dtype)
    times = chip.spike_times(torch.zeros(3, 16, dtype=dtype))
    assert torch.isinf(times[INPUT]).all()
    assert chip(torch.rand(3, 16).to(dtype)).isfinite().all()


@pytest.mark.parametrize("rounding", ["next", "nearest"])
@pytest.mark.parametrize("bits", [4, 6, 8])
def test_training_with_autocast_sees_the_clock_of_the_chip(bits: int, rounding: str):
    """What spikes is the same but for rounding; with a clock that is early by epsilon x steps of
    bfloat16, silent neurons spike, and chips learn another clock than they are measured with.
    """
    snn, images = network(layers=3)
    chip = ttfs.deploy(snn, ttfs.Hardware(time_bits=bits, time_rounding=rounding))
    plain = chip.charges(images)[1]
    with torch.autocast("cpu", torch.bfloat16):
        narrow = chip.charges(images)[1]
    for name, charges in plain.items():
        mean, off = charges.mean(), (narrow[name].float() - charges).mean()
        assert off.abs() <= 0.05 * mean + 1e-6, name


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_levels_of_many_bits_and_noise_of_devices(dtype: torch.dtype):
    snn, images = network()
    images = images.to(dtype)
    for hardware in (ttfs.Hardware(conductance_bits=16), ttfs.Hardware(weight_bits=16)):
        logits = ttfs.deploy(snn, hardware).to(dtype)(images)
        late = ttfs.deploy(snn.to(dtype), hardware)(images)
        expected = snn.float()(images.float())
        for found in (logits, late):
            off = (found.float() - expected).abs().max() / expected.abs().max()
            assert off <= 32 * torch.finfo(dtype).eps
    chip = ttfs.deploy(snn, ttfs.Hardware(read_noise=0.1)).to(dtype)
    blank = torch.zeros(200, 16, dtype=dtype)
    first = next(iter(chip.charges(blank)[1].values()))  # of the input: nothing, so nothing is read
    assert not first.any()
    quiet, ideal = chip.charges(blank)[1]["_1"], snn.to(dtype).charges(blank)[1]["_1"]
    assert torch.allclose(quiet, ideal, atol=1e-3)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_the_share_of_lost_spikes_is_the_one_asked_for(dtype: torch.dtype):
    share, spikes = 1e-3, torch.ones(1_000_000, dtype=dtype)
    lost = (Emission(0.0, None, 0.0, share, 1)(spikes, 1.0) == 0).double().mean().item()
    assert lost == pytest.approx(share, abs=5 * (share / len(spikes)) ** 0.5)


def test_the_strongest_charges_count_in_a_window_that_rounding_moves():
    """Windows of dark images cut charges of others off: the strongest lie at its end."""
    hidden = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 4)).eval()
    images = torch.rand(500, 16)
    for headroom in (0.0, 0.01, 0.02, 0.03, 0.04, 0.05):
        snn = ttfs.convert(hidden, images[:2] / 2, headroom=headroom)
        charges = snn.charges(images)[1]["_1"]
        assert (charges[charges > 0] >= snn.layers["_1"].width).float().mean() > 0.002
        chip = ttfs.deploy(snn.bfloat16(), ttfs.Hardware(window_quantile=0.999), images.bfloat16())
        assert chip.layers["_1"].width >= snn.layers["_1"].width * (1 - 2**-8)
