"""Integrate-and-fire neurons: their rate, error split, pools, and what they refuse."""

import math
import random
import re
from unittest import mock

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from kit.exactness import IMAGE, Net, conv, draw, headed, qcfs, randomise, with_pools
from kit.random_networks import RandomNetwork
from torch import nn

import ttfs
from ttfs.errors import UserError
from ttfs.snn import EarliestSpike
from ttfs.timed import TERMS, convert_to_rate, error_split, split
from ttfs.timed.integrate_and_fire import (
    GatedPool,
    SettingsClock,
    integrate_and_fire,
    quantized,
    summed,
)

pytestmark = pytest.mark.usefixtures("seed")


@pytest.mark.parametrize("steps", [1, 2, 7, 32])
def test_a_constant_current_gives_the_activation_of_qcfs(steps):
    currents = torch.randn(500, dtype=torch.float64) * 2
    theta = random.uniform(0.3, 2.0)
    rates = integrate_and_fire(currents.expand(steps, -1), theta).mean(0)
    assert torch.allclose(rates, qcfs(currents, theta, steps), rtol=0, atol=1e-12)
    assert torch.equal(quantized(currents, theta, steps) > 0, rates > 0)


def test_a_current_of_the_threshold_gives_one_spike_a_step():
    outputs = integrate_and_fire(torch.full((9, 3), 1.5, dtype=torch.float64), 1.5)
    assert torch.equal(outputs, torch.full((9, 3), 1.5, dtype=torch.float64))


def test_a_potential_follows_its_definition():
    """By hand: θ = 1, V(0) = 0.5; currents 0.6, -0.3, 0.1, 0.7 give V = 1.1, -0.2, -0.1, 0.6."""
    currents = torch.tensor([0.6, -0.3, 0.1, 0.7])
    assert integrate_and_fire(currents, 1.0).tolist() == [1.0, 0.0, 0.0, 0.0]


def test_the_four_terms_add_up_and_the_deviation_is_what_the_potential_keeps():
    steps, theta = random.randint(1, 40), random.uniform(0.5, 3.0)
    currents = torch.randn(steps, 400, dtype=torch.float64) * 2 + 0.5
    wanted = torch.randn(400, dtype=torch.float64)
    outputs = integrate_and_fire(currents, theta)
    rates = outputs.mean(0)
    terms = split(wanted, currents, rates, theta)
    assert tuple(terms) == TERMS
    assert torch.allclose(sum(terms.values()), wanted.relu() - rates, rtol=0, atol=1e-12)
    left = theta / 2 + currents.sum(0) - outputs.sum(0)  # V(T)
    mean = currents.mean(0)
    inside = (mean > 0) & (mean < theta * (1 - 0.5 / steps))
    kept = theta / steps * (left / theta).floor()
    assert torch.allclose(terms["deviation"][inside], kept[inside], rtol=0, atol=1e-9)
    assert terms["quantization"].abs().max() <= theta / (2 * steps) + 1e-12


def test_the_split_of_a_network_adds_up_to_its_error_layer_by_layer():
    network, images = with_pools(), draw(IMAGE).double()
    steps = random.randint(2, 20)
    rate = convert_to_rate(network, images, "tuned", steps, bias_correction="light")
    snn = ttfs.convert(network, images)
    found = error_split(rate, snn, images, steps)
    spikes = rate.observe(images, steps).spikes
    _, charges = snn.charges(images)
    assert list(found) == list(snn.layers) == list(rate.layers)
    for name, terms in found.items():
        rates = rate.layers[name].threshold * spikes[name].double().mean(0)
        error = charges[name] - rates
        assert torch.allclose(sum(terms.values()), error, rtol=0, atol=1e-12)
    first = found[next(iter(found))]
    assert first["deviation"].abs().max() < 1e-12  # its currents are constant


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sums_over_steps_are_those_of_cumsum_bit_for_bit(dtype):
    values = 0.73 * torch.randn(50, 3, 4, 5, dtype=dtype)
    assert torch.equal(summed(values), values.cumsum(0))


def test_a_gated_pool_passes_the_largest_rate_and_its_mirror_the_smallest():
    theta, steps = 0.7, 12
    spikes = theta * (torch.rand(steps, 5, 2, 6, 6) < 0.4).double()
    for sign in (None, torch.tensor([1.0, -1.0], dtype=torch.float64).reshape(2, 1, 1)):
        pool = EarliestSpike(nn.MaxPool2d(3, 2, 1), sign)
        gated = GatedPool(SettingsClock((steps,)), pool)
        passed = gated(spikes.flatten(0, 1)).unflatten(0, (steps, 5))
        for t in range(1, steps + 1):
            wanted = pool(spikes[:t].mean(0))
            assert torch.allclose(passed[:t].mean(0), wanted, rtol=0, atol=1e-12)
        each = (passed / theta).round()
        assert torch.allclose(passed, each * theta)
        assert set(each.unique().tolist()) <= {0.0, 1.0}  # a spike or none


def test_a_gated_pool_passes_spikes_of_any_height_side_by_side():
    heights = torch.tensor([1.0, 1e-5, 1e4]).reshape(3, 1, 1)  # of three layers, concatenated
    spikes = heights * (torch.rand(64, 2, 3, 4, 4) < 0.4)
    gated = GatedPool(SettingsClock((64,)), EarliestSpike(nn.MaxPool2d(2)))
    passed = gated(spikes.flatten(0, 1)).unflatten(0, (64, 2))
    wanted = F.max_pool2d(spikes.sum(0), 2)
    assert torch.allclose(passed.sum(0) / heights, wanted / heights, atol=1e-4)
    assert torch.equal(gated(spikes[:, :1].flatten(0, 1)), passed[:, 0])  # whatever is beside it


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_counts_as_many_spikes(dtype):
    """Of many steps: neither small currents nor spikes vanish beside large sums."""
    small = torch.tensor([1e-3, 0.7]).to(dtype)
    rates = integrate_and_fire(small.expand(4096, -1), 1.0).float().mean(0)
    assert torch.allclose(rates, small.float(), atol=1 / 4096)
    layers = [nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
    ann, images = nn.Sequential(*layers, nn.Linear(128, 5)).to(dtype), torch.rand(16, 1, 8, 8)
    expected = ann(images.to(dtype)).float()
    found = ttfs.convert_to_rate(ann, images.to(dtype), steps=512)(images.to(dtype)).float()
    assert (found - expected).abs().max() < 0.05 * expected.abs().max()


def test_two_sums_that_rounding_parts_are_one_spike():
    once = torch.tensor(0.3).nextafter(torch.tensor(1.0))
    spikes = torch.zeros(3, 1, 1, 1, 2)
    spikes[0, ..., 0], spikes[1, ..., 1], spikes[2, ..., 1] = 0.3, once, 0.3
    gated = GatedPool(SettingsClock((3,)), EarliestSpike(nn.MaxPool2d((1, 2))))
    passed = gated(spikes.flatten(0, 1)).flatten()
    assert passed.tolist() == pytest.approx([0.3, 0.0, 0.3])
    assert passed[1] == 0


@pytest.mark.parametrize("number", range(12))
def test_many_steps_reach_the_relu_network_whatever_its_graph(number):
    low, high = random.choice([(0.0, 1.0), (-3.0, 3.0)])
    network = randomise(RandomNetwork(steps=random.randint(3, 12))).double()
    images = draw(IMAGE, low, high, n=4).double()
    wanted = network(images.clone())
    rate = convert_to_rate(network, images, input_range=(low, high))
    errors = [
        ((rate(images, t) - wanted).square().mean() / wanted.square().mean()).sqrt()
        for t in (16, 2048)
    ]
    assert errors[1] < 0.02
    assert errors[1] < errors[0] or errors[0] < 1e-9
    assert torch.allclose(rate.observe(images, 16).logits[-1], rate(images, 16), atol=1e-12)


@torch.no_grad()
def test_the_error_of_neurons_that_clip_is_that_to_what_they_clip_to():
    ann = nn.Sequential(nn.Linear(2, 3), nn.ReLU6(), nn.Linear(3, 2)).eval()
    ann[0].bias.copy_(torch.tensor([9.0, 5.0, 0.0]))
    inputs = torch.rand(4, 2)
    snn, rate = ttfs.convert(ann, inputs), convert_to_rate(ann, inputs)
    [terms] = error_split(rate, snn, inputs, 8).values()
    rates = rate.observe(inputs, 8).spikes["_1"].sum(0) * rate.layers["_1"].threshold / 8
    assert torch.allclose(sum(terms.values()), F.relu6(ann[0](inputs)) - rates, atol=1e-5)


def test_sums_and_concatenation_are_mapped():
    network = Net(
        lambda n, x: n.out(
            torch.cat([F.relu(n.a(x) + n.b(x)), F.max_pool2d(n.b(x).relu(), 3, 1, 1)], 1).flatten(1)
        ),
        a=conv(), b=conv(), out=nn.Linear(8 * 9 * 8, 5),
    ).double()  # fmt: skip
    images = draw(IMAGE).double()
    rate, wanted = convert_to_rate(network, images), network(images)
    assert (rate(images, 2048) - wanted).abs().max() < 0.02 * wanted.abs().max()


def test_a_network_whose_first_neurons_come_in_pairs_is_observed():
    network = headed(IMAGE, conv(), nn.LeakyReLU(0.2), nn.MaxPool2d(2)).double()
    images = draw(IMAGE).double()
    rate = convert_to_rate(network, images)
    seen = rate.observe(images, 8)
    assert torch.allclose(seen.logits[-1], rate(images, 8), atol=1e-12)
    assert set(rate.layers) <= set(seen.spikes)


def test_a_network_without_hidden_neurons_is_the_relu_network_in_each_step():
    network, images = headed(IMAGE, conv()).double(), draw(IMAGE).double()
    rate = convert_to_rate(network, images)
    wanted = network(images)
    assert torch.allclose(rate(images, 3), wanted, atol=1e-12)
    assert torch.allclose(rate.observe(images, 3).logits, wanted.expand(3, -1, -1), atol=1e-12)


def test_the_lowest_input_feeds_no_current():
    images = draw(IMAGE, -1.0, 1.0)
    images[:, 0] = -1.0
    rate = convert_to_rate(headed(IMAGE, conv(), nn.ReLU()), images, input_range=(-1.0, 1.0))
    assert torch.equal(rate.observe(images, 2).fired(2)["input"], images > -1)


def test_the_logits_after_each_step_come_in_one_pass():
    network, images = with_pools(), draw(IMAGE).double()
    rate = convert_to_rate(network, images, steps=9)
    seen = rate.observe(images)
    for steps in (1, 4, 9):
        assert torch.allclose(seen.logits[steps - 1], rate(images, steps), rtol=0, atol=1e-12)
    counted = seen.fired(4)
    layer = next(iter(rate.layers))
    assert torch.equal(counted[layer], seen.spikes[layer][:4].sum(0))
    assert torch.equal(counted["input"], images > 0)


def test_a_call_for_other_steps_leaves_those_of_the_network():
    network, images = with_pools(), draw(IMAGE).double()
    rate = convert_to_rate(network, images, steps=6)
    whole = rate(images)
    rate(images, 2), rate.observe(images, 3)
    with (
        mock.patch.object(rate.body, "forward", side_effect=RuntimeError),
        pytest.raises(RuntimeError),
    ):
        rate(images, 4)
    assert torch.equal(rate(images), whole)
    assert torch.equal(rate(images, 6), whole)


def test_many_inputs_are_taken_in_parts(monkeypatch):
    """A converted network does not train, so what it holds at once has a bound, whatever comes."""
    ann, images = randomise(headed(IMAGE, conv(), nn.ReLU())), draw(IMAGE, n=20)
    rate, held = convert_to_rate(ann, images), []
    rate.body.register_forward_hook(lambda module, inputs, output: held.append(len(output)))
    whole = rate(images, 8)
    monkeypatch.setattr("ttfs.timed.network.AT_ONCE", 64)
    assert torch.allclose(rate(images, 8), whole, atol=1e-6)
    assert held[1:] == [64, 64, 32]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"steps": 0}, "steps is 0; give a whole number of time steps, 1 or more"),
        ({"steps": 2.5}, "steps is 2.5"),
        ({"steps": np.array([2, 0])}, "steps is np.int64(0)"),
        ({"steps": ()}, "steps is empty"),
        ({"threshold": "median"}, "'median' is not known; choose from: max, quantile, mmse, tuned"),
        ({"bias_correction": "heavy"}, "bias_correction 'heavy' is not known"),
        ({"threshold": "quantile", "quantile": 0.0}, "quantile is 0.0; it is a share above 0"),
        ({"threshold": "quantile", "quantile": "0.9"}, "quantile is '0.9'; it is a share above 0"),
    ],
)  # fmt: skip
def test_bad_options_are_refused_in_one_line(options, said):
    with pytest.raises(UserError, match=re.escape(said)) as caught:
        convert_to_rate(headed(IMAGE, conv(), nn.ReLU()), draw(IMAGE), **options)
    assert "\n" not in str(caught.value)


def test_steps_may_be_numbers_of_numpy():
    ann, images = headed(IMAGE, conv(), nn.ReLU()), draw(IMAGE)
    rate = convert_to_rate(ann, images, steps=2 ** np.arange(3), threshold="tuned")
    same = convert_to_rate(ann, images, steps=[1, 2, 4], threshold="tuned")
    assert torch.equal(rate(images, np.int64(4)), same(images, 4))


def test_inputs_out_of_range_are_told_of_once(recwarn):
    rate = convert_to_rate(headed(IMAGE, conv(), nn.ReLU()), draw(IMAGE))
    for _ in range(2):
        rate(255 * draw(IMAGE))
    [told] = recwarn
    assert "are clipped to the input range (0, 1)" in str(told.message)


def test_a_network_without_a_rate_form_is_refused_by_name():
    with pytest.raises(ttfs.ConversionError, match=r"1 \(Sigmoid\) cannot be mapped"):
        convert_to_rate(headed(IMAGE, conv(), nn.Sigmoid()), draw(IMAGE))


def test_a_call_refuses_steps_and_shapes_that_do_not_fit():
    rate = convert_to_rate(headed(IMAGE, conv(), nn.ReLU()), draw(IMAGE), steps=4)
    with pytest.raises(UserError, match="steps is 0"):
        rate(draw(IMAGE), 0)
    with pytest.raises(
        ValueError, match=r"inputs have shape \[12, 3, 9\], this network takes \[N, 3, 9, 8\]"
    ):
        rate(draw(IMAGE)[..., 0])
    for look in (rate, rate.observe):
        with pytest.raises(ValueError, match="the images hold NaN or infinity"):
            look(draw(IMAGE) * math.nan)
        with pytest.raises(ValueError, match="the images hold NaN or infinity"):
            look(draw(IMAGE) + math.inf)
    assert rate.clock.steps == 4
    assert math.isfinite(rate(draw(IMAGE)).sum())
