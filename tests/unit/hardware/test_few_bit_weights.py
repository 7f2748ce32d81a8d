"""Weights of few bits, against their definition."""

import copy

import pytest
import torch
from kit.learning import learn

from ttfs.hardware import Hardware, deploy
from ttfs.snn import Synapses


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
    losses = learn(chip, images)
    assert losses[-1] < 0.9 * losses[0]
    assert all(parameter.grad is not None for parameter in chip.parameters())


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
