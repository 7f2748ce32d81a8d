"""What is wrong in a call is told in one line, and never counted as an answer."""

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import ttfs
from ttfs.errors import UserError
from ttfs.metrics import (
    accuracy,
    agreement,
    fan_out,
    first_spike_latency,
    multiply_accumulates,
    spikes_per_neuron,
    synaptic_operations,
)
from ttfs.snn import SpikingNetwork, relative_difference


@pytest.fixture
def images() -> Tensor:
    return torch.rand(12, 16)


@pytest.fixture
def ann() -> nn.Sequential:
    return nn.Sequential(nn.Linear(16, 20), nn.ReLU(), nn.Linear(20, 5)).eval()


@pytest.fixture
def snn(ann: nn.Module, images: Tensor) -> SpikingNetwork:
    return ttfs.convert(ann, images)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("layer", [0, -2])
def test_weights_that_are_not_finite_are_no_sparse_network(
    snn: SpikingNetwork, images: Tensor, value: float, layer: int, tmp_path: Path
):
    broken = copy.deepcopy(snn)
    with torch.no_grad():
        list(broken.parameters())[layer].fill_(value)
    with pytest.raises(ValueError, match=r"simulate: weights of .* are NaN or infinite"):
        ttfs.simulate(broken, images)
    with pytest.raises(ValueError, match=r"spikes_per_neuron: .* holds NaN or infinity"):
        spikes_per_neuron(broken, images)
    with pytest.raises(ValueError, match=r"first_spike: .* holds NaN or infinity"):
        broken.first_spike(images)
    pytest.importorskip("nir")
    with pytest.raises(ValueError, match=r"to_nir: .* holds NaN or infinity"):
        ttfs.to_nir(broken, tmp_path / "net.nir")


class Masked(nn.Module):
    """A network that never answers its last class."""

    def __init__(self, ann: nn.Module):
        super().__init__()
        self.ann = ann
        mask = torch.tensor([0.0, 0.0, 0.0, 0.0, -math.inf])
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return self.ann(images) + self.mask


def test_a_class_may_be_masked(ann: nn.Module, images: Tensor):
    masked, plain = ttfs.convert(Masked(ann), images), ttfs.convert(ann, images)
    assert spikes_per_neuron(masked, images) == spikes_per_neuron(plain, images)
    answers, times = masked.first_spike(images)
    assert torch.equal(answers, plain(images)[:, :4].argmax(1))
    assert times.isfinite().all()
    simulated = ttfs.simulate(masked, images[:2]).logits
    assert torch.allclose(simulated[:, :4].float(), masked(images[:2])[:, :4], atol=1e-5)
    assert simulated[:, 4].isneginf().all()


def test_nan_is_no_answer():
    logits, labels = torch.tensor([[1.0, 0.0], [math.nan, 0.0]]), torch.tensor([0, 0])
    assert accuracy(logits, labels) == 50.0
    assert agreement(logits, logits) == 50.0
    assert agreement(torch.zeros(2, 2), logits) == 50.0


L, Y = torch.rand(8, 3), torch.arange(8) % 3


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: accuracy(L, Y[:, None]), "accuracy: labels have shape [8, 1]; give [8]"),
        (lambda: accuracy(L, Y[:1]), "accuracy: labels have shape [1]; give [8]"),
        (lambda: accuracy(L[:, 0], Y), "accuracy: logits have shape [8]; give [N, classes]"),
        (lambda: accuracy(L[:0], Y[:0]), "accuracy: logits are empty"),
        (lambda: accuracy(L.numpy(), Y.numpy()), "accuracy: logits are ndarray"),
        (lambda: accuracy(L, Y.tolist()), "accuracy: labels are list; give a torch.Tensor"),
        (lambda: agreement(L, L[:1]), "logits of the reference have shape [1, 3]; give [8, 3]"),
        (lambda: agreement(L, L[:, :2]), "have shape [8, 2]; give [8, 3]"),
        (lambda: relative_difference(L, L[:1]), "shapes [8, 3] and [1, 3]"),
        (lambda: relative_difference(L[:0], L[:0]), "with a number at least"),
        (lambda: first_spike_latency(L, 2.0), "largest logits have shape [8, 3]; give [N]"),
        (
            lambda: synaptic_operations({"input": torch.rand(2, 3)}, {"input": torch.ones(3)}),
            "synaptic_operations: input: charges; give snn.fired(charges)",
        ),
    ],
)
def test_functions_of_metrics_broadcast_nothing(call: Any, said: str):
    with pytest.raises((ValueError, TypeError)) as caught:
        call()
    assert said in str(caught.value)


@pytest.mark.parametrize("function", [fan_out, multiply_accumulates])
def test_metrics_of_a_network_take_networks_of_convert(ann: nn.Module, function: Any):
    with pytest.raises(TypeError, match=r"takes a network of ttfs.convert, not Sequential"):
        function(ann)


def test_times_and_thresholds_are_numbers(snn: SpikingNetwork, images: Tensor):
    with pytest.raises(ValueError, match="read_out: the time is NaN"):
        snn.read_out(images, math.nan)
    for value in (math.nan, math.inf):
        with pytest.raises(ValueError, match=f"first_spike: threshold is {value}"):
            snn.first_spike(images, value)
        with pytest.raises(ValueError, match=f"simulate: threshold is {value}"):
            ttfs.simulate(snn, images, threshold=value)
    with pytest.raises(UserError, match="neuron is 'lif'; choose from: b1, alpha1"):
        snn.neuron = "lif"


def test_images_of_another_dtype_are_told_in_words(
    ann: nn.Module, snn: SpikingNetwork, images: Tensor
):
    rate, leaky = ttfs.convert_to_rate(ann, images), ttfs.to_leaky(ann, images).eval()
    for network in (snn, rate, leaky):
        with pytest.raises(ValueError, match=r"images are torch.float64, the weights .*float32"):
            network(images.double())
        with torch.autocast("cpu", torch.bfloat16):
            assert network(images.bfloat16()).isfinite().all()
    with (
        torch.autocast("cpu", torch.bfloat16),
        pytest.raises(ValueError, match=r"are torch\.float64"),
    ):
        snn(images.double())
    whole = (images > 0.5).long()
    assert torch.equal(snn(whole), snn(whole.float()))


def test_the_simulator_takes_tensors_and_warns_of_what_it_clips(
    snn: SpikingNetwork, images: Tensor
):
    with pytest.raises(TypeError, match=r"simulate: images are ndarray; give a torch.Tensor"):
        ttfs.simulate(snn, images.numpy())
    with pytest.warns(UserWarning, match="are clipped to the input range"):
        ttfs.simulate(snn, 3 * images)


def test_windows_of_a_chip_come_from_images_on_the_input_range(snn: SpikingNetwork, images: Tensor):
    with pytest.raises(UserError, match=r"lie on .*, outside input_range \(0, 1\)"):
        ttfs.deploy(snn, ttfs.Hardware(window_quantile=0.9), 5 * images)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"headroom": "a"}, "headroom is 'a'"),
        ({"headroom": np.str_("a")}, "headroom is"),
        ({"headroom": None}, "headroom is None"),
        ({"input_range": ("a", "b")}, r"input_range is \('a', 'b'\)"),
        ({"neuron": ["b1"]}, r"neuron \['b1'\] is not known"),
    ],
)
def test_options_of_a_conversion(ann: nn.Module, images: Tensor, options: Any, said: str):
    with pytest.raises(UserError, match=said):
        ttfs.convert(ann, images, **options)


@pytest.mark.parametrize(("option", "value"), [("beta", "a"), ("alpha", None)])
def test_options_of_leaky_neurons(ann: nn.Module, images: Tensor, option: str, value: Any):
    with pytest.raises(UserError, match=f"{option} is {value!r}"):
        ttfs.to_leaky(ann, images, **{option: value})


@pytest.mark.parametrize("whole", [np.int64, torch.tensor])
def test_a_seed_of_a_chip_is_a_whole_number(whole: Any):
    assert ttfs.Hardware(seed=whole(3)) == ttfs.Hardware(seed=3)
    assert isinstance(ttfs.Hardware(seed=whole(3)).seed, int)
    for wrong in (3.0, "3", None, True, torch.tensor(3.0), np.array(3.0)):
        with pytest.raises(UserError, match="hardware: seed is"):
            ttfs.Hardware(seed=wrong)


def test_a_file_of_nir_holds_images_that_its_rule_encodes(
    snn: SpikingNetwork, ann: nn.Module, images: Tensor, tmp_path: Path
):
    pytest.importorskip("nir")
    for wrong, said in (
        (5 * images + 1, "images leave the input range"),
        (images[:0], "no images"),
        (images[0, 0], "no images"),
        (images.numpy(), "images are ndarray"),
    ):
        with pytest.raises((ValueError, TypeError), match=said):
            ttfs.to_nir(snn, tmp_path / "net.nir", wrong)
    with pytest.raises(UserError, match=r"takes a network of ttfs.convert, not Sequential"):
        ttfs.to_nir(ann, tmp_path / "net.nir")
    with pytest.raises(UserError, match=r"no folder .*nowhere; make it first"):
        ttfs.to_nir(snn, tmp_path / "nowhere" / "net.nir")
    assert not list(tmp_path.iterdir())


def test_normalized_images_lie_on_their_range_but_for_rounding(
    ann: nn.Module, images: Tensor, tmp_path: Path
):
    nir = pytest.importorskip("nir")
    low, high = (0 - 0.1307) / 0.3081, (1 - 0.1307) / 0.3081
    normalized = (images.round() - 0.1307) / 0.3081  # 0 and 1 alone
    ttfs.to_nir(
        ttfs.convert(ann, normalized, input_range=(low, high)), tmp_path / "a.nir", normalized
    )
    kept = nir.read(tmp_path / "a.nir").metadata["images"]
    assert low <= kept.min() < kept.max() <= high


def test_a_quantile_of_more_charges_than_float32_counts():
    """Two thirds of the charges are 1, the others 4; both are many."""
    conv = nn.Conv2d(1, 63, 1)
    nn.init.zeros_(conv.bias)
    conv.weight.data[:42], conv.weight.data[42:] = 1.0, 4.0
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(63, 3))
    ann = nn.Sequential(conv, nn.ReLU(), *head).eval()
    images = torch.ones(1000, 1, 24, 24)
    snn = ttfs.convert(ann, images[:2], headroom=0.0)
    chip = ttfs.deploy(snn, ttfs.Hardware(window_quantile=0.6), [images])
    [layer] = chip.layers.values()
    assert layer.width == pytest.approx(1.0, rel=1e-3)
