"""Thresholds and bias corrections of rate-coded networks, from activations and by search."""

import pytest
import torch
from kit.exactness import IMAGE, conv, draw, headed, qcfs, randomise, with_pools
from torch import nn

import ttfs
from ttfs.timed import convert_to_rate
from ttfs.timed.conversion import _least, _loss
from ttfs.timed.integrate_and_fire import integrate_and_fire

pytestmark = pytest.mark.usefixtures("seed")


def test_thresholds_are_of_the_activations():
    network, images = with_pools(), draw(IMAGE).double()
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
    network, images = with_pools(), draw(IMAGE).double()
    steps = 4
    rate = convert_to_rate(network, images, threshold, steps)
    name, neurons = next(iter(rate.layers.items()))
    activations = ttfs.convert(network, images).charges(images)[1][name]
    largest = activations.max().item()

    def error(theta: float) -> float:  # currents are constant here: both searches are one
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
    network, images = with_pools(), draw(IMAGE).double()
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
    network, images = with_pools(), draw(IMAGE, n=20).double()
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
    network, images = with_pools(), draw(IMAGE).double()
    rate = convert_to_rate(network, images, "max", 8, bias_correction="light")
    before = [layer.threshold for layer in rate.layers.values()]
    assert {layer.correction.dtype for layer in rate.layers.values()} == {torch.float64}
    rate.to("meta", torch.float32)
    for layer, threshold in zip(rate.layers.values(), before, strict=True):
        assert (layer.correction.device.type, layer.correction.dtype) == ("meta", torch.float32)
        assert layer.threshold == threshold


def test_light_correction_leaves_of_a_mean_error_what_neurons_do_not_answer():
    """What is left of the mean error c of a channel is c less the mean answer θ (N' - N) / T of its
    neurons. They answer c > 0 with more spikes and c < 0 with fewer, by less than T |c| / θ + 1.
    Who is silent, or spikes at each step, cannot answer, so the error does not vanish.
    """
    network, images = with_pools(), draw(IMAGE, n=20).double()
    rate, currents = convert_to_rate(network, images, "max", 8, bias_correction="light"), {}
    for name, neurons in rate.layers.items():
        neurons.register_forward_pre_hook(
            lambda module, inputs, name=name: currents.update({name: inputs[0]})
        )
    seen, charges = rate.observe(images, 8).spikes, ttfs.convert(network, images).charges(images)[1]
    answered = 0.0
    for name, neurons in rate.layers.items():
        theta, correction = neurons.threshold, neurons.correction
        spikes = seen[name].double().sum(0)  # [N, C, ...]
        answer = spikes - count(currents[name].unflatten(0, (8, -1)), theta)
        error = (charges[name] - theta * spikes / 8).mean((0, 2, 3))
        left = correction.flatten() - theta * answer.mean((0, 2, 3)) / 8
        assert torch.allclose(error, left, rtol=0, atol=1e-12)
        assert (answer * correction >= 0).all()
        assert (answer.abs() < 8 * correction.abs() / theta + 1).all()
        answered += answer.abs().sum().item()
    assert answered > 0


def count(currents: torch.Tensor, theta: float) -> torch.Tensor:
    """Numbers of spikes [N, ...] of currents [T, N, ...], without a correction."""
    spikes = torch.zeros_like(currents[0])
    for step in range(len(currents)):
        spikes += currents[: step + 1].sum(0) + theta / 2 - theta * spikes >= theta
    return spikes


def test_thresholds_are_measured_on_batches_with_labels_too():
    ann, inputs = headed(IMAGE, conv(), nn.ReLU()), draw(IMAGE)
    batches = [(inputs[:3], 0), (inputs[:0], 0), (inputs[3:], 0)]
    one, other = (convert_to_rate(ann, given) for given in (inputs, batches))
    assert torch.equal(one(inputs), other(inputs))
