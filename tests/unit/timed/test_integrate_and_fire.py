"""Integrate-and-fire neurons: their rate, error split, pools, thresholds, and what they refuse."""

import math
import random

import pytest
import torch
import torch.nn.functional as F
from kit.exactness import IMAGE, Net, conv, draw, headed, norm, randomise
from kit.random_networks import RandomNetwork
from torch import nn

import ttfs
from ttfs.errors import UserError
from ttfs.snn import EarliestSpike
from ttfs.timed import TERMS, convert_to_rate, error_split, split
from ttfs.timed.conversion import _least, _loss
from ttfs.timed.integrate_and_fire import (
    GatedPool,
    SettingsClock,
    integrate_and_fire,
    quantized,
    summed,
)

pytestmark = pytest.mark.usefixtures("seed")


def qcfs(x: torch.Tensor, theta: float, levels: int) -> torch.Tensor:
    """The activation of QCFS as its authors write it."""
    return theta * torch.clip(torch.floor(x * levels / theta + 0.5) / levels, 0, 1)


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


def a_network() -> nn.Sequential:
    return randomise(
        headed(
            IMAGE,
            conv(),
            norm(),
            nn.ReLU(),
            nn.MaxPool2d(2),
            conv(4, 6),
            nn.ReLU(),
            nn.AvgPool2d(2),
        )
    ).double()


def test_the_split_of_a_network_adds_up_to_its_error_layer_by_layer():
    network, images = a_network(), draw(IMAGE).double()
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
    network, images = a_network(), draw(IMAGE).double()
    rate = convert_to_rate(network, images, steps=9)
    seen = rate.observe(images)
    for steps in (1, 4, 9):
        assert torch.allclose(seen.logits[steps - 1], rate(images, steps), rtol=0, atol=1e-12)
    counted = seen.fired(4)
    layer = next(iter(rate.layers))
    assert torch.equal(counted[layer], seen.spikes[layer][:4].sum(0))
    assert torch.equal(counted["input"], images > 0)


def test_a_call_for_other_steps_leaves_those_of_the_network():
    network, images = a_network(), draw(IMAGE).double()
    rate = convert_to_rate(network, images, steps=6)
    whole = rate(images)
    rate(images, 2), rate.observe(images, 3)
    with pytest.raises(RuntimeError):
        rate(images.float(), 4)
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


def test_thresholds_are_of_the_activations():
    network, images = a_network(), draw(IMAGE).double()
    charges = ttfs.convert(network, images).charges(images)[1]
    largest = {name: charges[name].max().item() for name in convert_to_rate(network, images).layers}
    for name, neurons in convert_to_rate(network, images, "max").layers.items():
        assert neurons.threshold == pytest.approx(largest[name], rel=1e-9)
    for name, neurons in convert_to_rate(network, images, "quantile", quantile=0.9).layers.items():
        positive, slack = charges[name][charges[name] > 0], largest[name] / 2**15
        assert (positive <= neurons.threshold + slack).double().mean() >= 0.9
        assert (positive < neurons.threshold - slack).double().mean() < 0.9


@torch.no_grad()
def test_the_threshold_of_neurons_that_clip_is_their_largest_activation_too():
    ann = nn.Sequential(nn.Linear(2, 3), nn.ReLU6(), nn.Linear(3, 3), nn.ReLU6(), nn.Linear(3, 2))
    ann[0].bias.copy_(torch.tensor([9.0, 5.0, 0.0]))
    ann[2].bias.fill_(1.0)
    ann[2].weight.mul_(0.01)
    inputs = torch.rand(8, 2)
    strongest = ann.eval()[:4](inputs).amax(1).argsort(descending=True)
    inputs = inputs[strongest]  # in the first batch
    largest = ann[:4](inputs).max().item()
    for threshold in ("max", "mmse", "tuned"):
        rate = convert_to_rate(ann, [inputs[:5], inputs[5:]], threshold, 4)
        first, second = (neurons.threshold for neurons in rate.layers.values())
        if threshold == "max":
            assert (first, second) == (6.0, pytest.approx(largest))
        hundredths = 100 * second / largest
        assert hundredths == pytest.approx(round(hundredths), abs=1e-3)


@torch.no_grad()
def test_neurons_that_clip_and_are_silent_keep_their_ceiling_as_threshold():
    ann = nn.Sequential(nn.Linear(2, 3), nn.ReLU6(), nn.Linear(3, 2)).eval()
    ann[0].bias.fill_(-9.0)
    [neurons] = convert_to_rate(ann, torch.rand(4, 2)).layers.values()
    assert neurons.threshold == 6.0


@pytest.mark.parametrize(("steps", "inputs"), [(64, 32), (32, 64)])
def test_as_many_inputs_are_measured_as_their_steps_leave(steps, inputs):
    """2048 / T, and 32 at least; the largest activation is that of all inputs."""
    ann = randomise(headed(IMAGE, conv(), nn.ReLU())).double()
    images = draw(IMAGE, n=100).double()
    images = images[ann[:2](images).flatten(1).amax(1).argsort(descending=True)]

    def correction(images: torch.Tensor) -> torch.Tensor:
        rate = convert_to_rate(ann, images, "max", steps, bias_correction="light")
        return next(iter(rate.layers.values())).correction

    whole = correction(images)
    assert torch.equal(correction(torch.cat([images[:inputs], images[:1]])), whole)
    assert not torch.equal(correction(torch.cat([images[: inputs - 1], images[:9]])), whole)


@pytest.mark.parametrize("threshold", ["mmse", "tuned"])
def test_a_searched_threshold_errs_least_of_all_candidates_near_it(threshold):
    network, images = a_network(), draw(IMAGE).double()
    steps = 4
    rate = convert_to_rate(network, images, threshold, steps)
    name, neurons = next(iter(rate.layers.items()))
    activations = ttfs.convert(network, images).charges(images)[1][name]
    largest = activations.max().item()

    def error(
        theta: float,
    ) -> float:  # the first layer has constant currents: both searches are one
        return (activations - qcfs(activations, theta, steps)).square().mean().item()

    best = neurons.threshold
    assert error(best) <= error(largest)
    for step in (-0.01, 0.01):
        if 0.06 * largest < best + step * largest <= largest:
            assert error(best) <= error(best + step * largest) + 1e-15


@pytest.mark.parametrize("place", range(100))
def test_the_search_finds_the_least_error_that_falls_and_rises(place):
    wanted = 1 - 0.01 * min(place, 94)  # the last candidate
    assert _least(1.0, lambda theta: abs(theta - (1 - 0.01 * place))) == pytest.approx(wanted)


def test_the_error_of_tuned_thresholds_is_that_of_the_rate_to_what_the_mean_current_asks():
    """θ = 1: currents 1, -0.2 spike once, rate 0.5 for 0.4; -1, 0.2 never, 0 for relu(-0.4)."""
    currents = torch.tensor([[1.0, -1.0], [-0.2, 0.2]])
    assert _loss(currents)(1.0) == pytest.approx((0.1**2 + 0.0) / 2)


def test_thresholds_for_several_numbers_of_steps_are_those_of_each():
    network, images = a_network(), draw(IMAGE).double()
    both = convert_to_rate(network, images, "tuned", (2, 16))
    for steps in (2, 16):
        alone = convert_to_rate(network, images, "tuned", steps)
        assert torch.equal(both(images, steps), alone(images, steps))
    assert both.settings == (2, 16)
    later = convert_to_rate(network, images, "tuned", 16)
    for steps in (3, 15, 16, 40):  # those of the next number up, or of the last
        assert torch.equal(both(images, steps), later(images, steps))
    assert convert_to_rate(network, images, "max", (2, 16)).settings == (16,)
    light = convert_to_rate(network, images, "max", (2, 16), bias_correction="light")
    assert light.settings == (2, 16)
    again = convert_to_rate(network, images, "tuned", (2, 16))
    for layer in again.layers.values():
        layer.thresholds.fill_(1.0)
    again.load_state_dict(both.state_dict())
    assert torch.equal(again(images, 2), both(images, 2))


def test_light_correction_is_the_mean_error_of_a_channel_layer_by_layer():
    network, images = a_network(), draw(IMAGE, n=20).double()
    rate, currents = convert_to_rate(network, images, "max", 8, bias_correction="light"), {}
    for name, neurons in rate.layers.items():
        neurons.register_forward_pre_hook(
            lambda module, inputs, name=name: currents.update({name: inputs[0]})
        )
    rate.observe(images, 8)
    charges = ttfs.convert(network, images).charges(images)[1]
    for name, neurons in rate.layers.items():
        plain = integrate_and_fire(currents[name].unflatten(0, (8, -1)), neurons.threshold)
        error = (charges[name] - plain.mean(0)).mean((0, 2, 3))
        assert torch.allclose(neurons.correction.flatten(), error, atol=1e-12)


def test_a_correction_goes_where_the_network_goes_and_thresholds_keep_their_digits():
    network, images = a_network(), draw(IMAGE).double()
    rate = convert_to_rate(network, images, "max", 8, bias_correction="light")
    before = [layer.threshold for layer in rate.layers.values()]
    assert {layer.correction.dtype for layer in rate.layers.values()} == {torch.float64}
    rate.to("meta", torch.float32)
    for layer, threshold in zip(rate.layers.values(), before, strict=True):
        assert (layer.correction.device.type, layer.correction.dtype) == ("meta", torch.float32)
        assert layer.threshold == threshold


def test_light_correction_takes_the_mean_error_of_a_channel_away():
    network, images = a_network(), draw(IMAGE, n=64).double()
    snn = ttfs.convert(network, images)

    def bias(correction: str) -> float:
        rate = convert_to_rate(network, images, "max", 8, bias_correction=correction)
        spikes, charges = rate.observe(images, 8).spikes, snn.charges(images)[1]
        last = list(rate.layers)[-1]
        rates = rate.layers[last].threshold * spikes[last].double().mean(0)
        return (charges[last] - rates).mean((0, 2, 3)).abs().mean().item()

    assert bias("light") < bias("none") + 1e-3


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"steps": 0}, "steps is 0; give a whole number of time steps, 1 or more"),
        ({"steps": 2.5}, "steps is 2.5"),
        ({"steps": ()}, "steps is empty"),
        ({"threshold": "median"}, "'median' is not known; choose from: max, quantile, mmse, tuned"),
        ({"bias_correction": "heavy"}, "bias_correction 'heavy' is not known"),
        ({"threshold": "quantile", "quantile": 0.0}, "quantile is 0.0; it is a share above 0"),
    ],
)  # fmt: skip
def test_bad_options_are_refused_in_one_line(options, said):
    with pytest.raises(UserError, match=said.replace("(", r"\(")) as caught:
        convert_to_rate(headed(IMAGE, conv(), nn.ReLU()), draw(IMAGE), **options)
    assert "\n" not in str(caught.value)


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
        with pytest.raises(ValueError, match="the inputs hold NaN or infinity"):
            look(draw(IMAGE) * math.nan)
        with pytest.raises(ValueError, match="the inputs hold NaN or infinity"):
            look(draw(IMAGE) + math.inf)
    assert rate.clock.steps == 4
    assert math.isfinite(rate(draw(IMAGE)).sum())


def test_thresholds_are_measured_on_batches_with_labels_too():
    ann, inputs = headed(IMAGE, conv(), nn.ReLU()), draw(IMAGE)
    batches = [(inputs[:3], 0), (inputs[:0], 0), (inputs[3:], 0)]
    one, other = (convert_to_rate(ann, given) for given in (inputs, batches))
    assert torch.equal(one(inputs), other(inputs))
