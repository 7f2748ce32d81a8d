"""Images and options of `convert` are checked, and the ANN stays as it was."""

import copy
import re

import pytest
import torch
from kit.exactness import IMAGE, LINE, Net, conv, draw, headed, norm, randomise, refusal
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune

import ttfs
from ttfs import ConversionError
from ttfs.errors import UserError
from ttfs.snn import convert, layer_differences, simulate

pytestmark = pytest.mark.usefixtures("seed")


@pytest.mark.parametrize(
    ("images", "reason"),
    [
        (torch.empty(0, *IMAGE), "no image"),
        ([], "no image"),
        (torch.full((2, *IMAGE), float("nan")), "NaN"),
        (torch.full((2, *IMAGE), 1.5), r"[1.5, 1.5], outside input_range (0, 1)"),
        (torch.full((2, *IMAGE), -0.5), "outside input_range"),
        (torch.rand(2, 1, 9, 8), "fails on torch.float32 images of shape [1, 9, 8]"),
        (torch.rand(2, 3, 8, 8), "fails on torch.float32 images of shape [3, 8, 8]"),
        (torch.rand(2, *IMAGE).double(), "fails on torch.float64 images"),
        (torch.zeros(2, *IMAGE).byte(), "fails on torch.uint8 images"),
    ],
)
def test_calibration_is_checked(images: Tensor | list, reason: str, capfd) -> None:
    network = headed(IMAGE, conv(), nn.ReLU())
    assert reason in refusal(lambda: convert(network, images))
    assert not capfd.readouterr().err


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"neuron": "lif"}, "neuron 'lif' is not known; choose from: b1"),
        ({"headroom": -0.1}, "headroom is -0.1"),
        ({"headroom": float("nan")}, "headroom is nan"),
        ({"headroom": float("inf")}, "headroom is inf"),
        ({"input_range": (1, 1)}, "input_range is (1, 1)"),
        ({"input_range": (0, float("inf"))}, "input_range is (0, inf)"),
    ],
)
def test_options_are_checked(options: dict, reason: str) -> None:
    assert reason in refusal(
        lambda: convert(headed(IMAGE, conv(), nn.ReLU()), draw(IMAGE), **options)
    )


@pytest.mark.parametrize("largest", [1.0e6, -1.0e6])
def test_rounding_that_hides_the_activations_is_refused(largest: float) -> None:
    """c - relu(c - v) is v in float64, and not in float32."""
    bounded = torch.minimum if largest > 0 else torch.maximum
    network = Net(
        lambda net, x: net.out(bounded(net.inner(x.flatten(1)), torch.full((8,), largest))),
        inner=nn.Linear(216, 8), out=nn.Linear(8, 5),
    )  # fmt: skip
    images = draw(IMAGE)
    assert "rounding to float32 moves its outputs" in refusal(lambda: convert(network, images))
    exact = network.double()
    found = convert(exact, images.double())(images.double())
    assert torch.allclose(found, exact(images.double()), rtol=0, atol=1e-8)


def test_images_of_another_shape_are_refused_by_the_network() -> None:
    snn = convert(headed(LINE, nn.Conv1d(3, 4, 3), nn.ReLU()), draw(LINE))
    for call in (snn, snn.charges, snn.spike_times):
        for shape in ([12, 3, 9], [12, 12, 3], [12, 36]):
            with pytest.raises(
                ValueError, match=re.escape(f"shape {shape}, this network takes [N, 3, 12]")
            ):
                call(torch.rand(shape))


def test_the_ann_is_left_as_it_was() -> None:
    parametrized = parametrizations.weight_norm(conv(4, 4))
    ann = randomise(
        headed(
            IMAGE, nn.ReLU(True), conv(), norm(), nn.ReLU(True), norm(), parametrized, nn.Dropout()
        )
    )
    ann.train()
    ann[2].eval()
    ann[1].weight.requires_grad_(False)
    before, modes = copy.deepcopy(ann.state_dict()), [module.training for module in ann.modules()]
    images = draw(IMAGE, -1, 1)
    kept, generator = images.clone(), torch.get_rng_state()
    snn = convert(ann, images, input_range=(-1, 1))
    snn.charges(images)
    simulate(snn, images[:1])
    assert torch.equal(images, kept)
    assert torch.equal(torch.get_rng_state(), generator)
    assert modes == [module.training for module in ann.modules()]
    assert before.keys() == ann.state_dict().keys()
    assert all(torch.equal(before[key], value) for key, value in ann.state_dict().items())
    exact = images.double()
    layer_differences(copy.deepcopy(ann).double(), copy.deepcopy(snn).double(), exact)
    assert torch.equal(exact, kept.double())
    assert not any(module._forward_hooks for network in (ann, snn) for module in network.modules())
    assert parametrize.is_parametrized(parametrized, "weight")
    assert all(parameter.grad is None for parameter in ann.parameters())
    assert not ann[1].weight.requires_grad
    ann.eval()(images.clone()).sum().backward()  # still whole
    assert snn.training
    assert not convert(ann, images, input_range=(-1, 1)).training
    assert not {p.data_ptr() for p in snn.parameters()} & {p.data_ptr() for p in ann.parameters()}


def net() -> nn.Sequential:
    return headed(IMAGE, conv(), nn.ReLU())


def test_what_takes_a_network_says_so_of_another() -> None:
    snn = ttfs.convert(net(), draw(IMAGE))
    rate = ttfs.convert_to_rate(net(), draw(IMAGE))
    for spiking in (snn, rate):
        for way in (ttfs.convert, ttfs.convert_to_rate):
            with pytest.raises(ConversionError, match="is a spiking network already; convert the"):
                way(spiking, draw(IMAGE))
    with pytest.raises(TypeError, match=r"takes a network of ttfs\.convert, not RateNetwork"):
        ttfs.simulate(rate, draw(IMAGE))
    for network in (snn, rate):
        with pytest.raises(TypeError, match=r"are ndarray; give a torch\.Tensor \[N, \.\.\.\]"):
            network(draw(IMAGE).numpy())


def test_deploy_says_what_it_needs() -> None:
    with pytest.raises(
        UserError, match=r"takes a SpikingNetwork, not Sequential; call ttfs.convert"
    ):
        ttfs.deploy(net(), ttfs.Hardware())  # type: ignore[arg-type]
    snn = ttfs.convert(net(), draw(IMAGE))
    with pytest.raises(UserError, match=r"takes a ttfs\.Hardware, not dict; write ttfs\.Hardware"):
        ttfs.deploy(snn, {"jitter": 0.1})  # type: ignore[arg-type]
    for value in (None, "0.1"):
        with pytest.raises(UserError, match=f"hardware: jitter is {value!r}; it is a number"):
            ttfs.Hardware(jitter=value)  # type: ignore[arg-type]
    pruned = copy.deepcopy(snn)
    prune.l1_unstructured(
        next(m for m in pruned.modules() if isinstance(m, nn.Linear)), "weight", 0.5
    )
    with pytest.raises(
        UserError, match=r"is pruned by a hook; make it permanent with prune\.remove"
    ):
        ttfs.deploy(pruned, ttfs.Hardware(weight_bits=4))
