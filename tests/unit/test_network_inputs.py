"""Images that a TTFS network is given: their range, their values, and images without a spike."""

import copy
import math
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from kit.exactness import IMAGE, conv, draw, headed
from torch import nn

import ttfs
from ttfs.metrics import multiply_accumulates
from ttfs.snn import ConversionError, SpikingNetwork, convert

pytestmark = pytest.mark.usefixtures("seed")


@torch.no_grad()
def test_pixels_outside_the_range_are_clipped() -> None:
    ann = headed(IMAGE, conv(), nn.ReLU())
    snn = convert(ann, draw(IMAGE, -1, 1), input_range=(-1, 1), headroom=9.0)
    images = draw(IMAGE, -2, 2)
    with pytest.warns(UserWarning, match="are clipped to the input range"):
        assert torch.allclose(snn(images), ann(images.clamp(-1, 1)), atol=1e-5)
    assert (snn.spike_times(images)["input"][images >= 1] == 0).all()
    assert snn.spike_times(images)["input"][images <= -1].isinf().all()


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_ends_of_the_range_may_be_rounded_to_few_bits(dtype: torch.dtype) -> None:
    """By up to an epsilon: 2.8215, the white of normalized MNIST, is 2.8281 in bfloat16."""
    low, high = -0.3 - torch.rand(()).item(), 1.0 + 2 * torch.rand(()).item()
    ann, images = headed(IMAGE, conv(), nn.ReLU()).to(dtype), draw(IMAGE, low, high).to(dtype)
    images[0, 0, 0, :2] = torch.tensor([low, high], dtype=dtype)
    with warnings.catch_warnings(action="error"):
        snn = convert(ann, images, input_range=(low, high))
        assert torch.allclose(snn(images), ann(images), atol=0.1)
        assert multiply_accumulates(snn) > 0
    images[0, 0, 0, 1] = high * (1 + 3 * torch.finfo(dtype).eps)
    with pytest.raises(ConversionError, match="outside input_range"):
        convert(ann, images, input_range=(low, high))


@torch.no_grad()
@pytest.mark.parametrize("span", [(0.0, 1.0), (0.0, 255.0), (-0.01, 0.01)])
def test_pixels_may_leave_the_range_by_rounding_alone(span: tuple[float, float]) -> None:
    """By 1e-4 of it: they are clipped, without a word."""
    low, high = span
    ann, images = headed(IMAGE, conv(), nn.ReLU()).double(), draw(IMAGE, low, high).double()
    images[0, 0, 0, :2] = torch.tensor([low, high]) + torch.tensor([-5e-5, 5e-5]) * (high - low)
    snn = convert(ann, images, input_range=span)
    assert snn.charges(images)[1]["input"][0, 0, 0, :2].tolist() == [0.0, 1.0]
    for end, beyond in ((0, low - 5e-4 * (high - low)), (1, high + 5e-4 * (high - low))):
        far = images.clone()
        far[0, 0, 0, end] = beyond
        for calibration in (far, [images, far]):
            with pytest.raises(ConversionError, match="outside input_range"):
                convert(ann, calibration, input_range=span)
        with pytest.warns(UserWarning, match="are clipped to the input range"):
            copy.deepcopy(snn)(far)


@pytest.mark.parametrize("span", [(0, 1), (-1, 1)])
def test_no_images_have_no_logits(span: tuple[int, int]) -> None:
    snn = convert(headed(IMAGE, conv(), nn.ReLU()), draw(IMAGE), input_range=span)
    assert snn(torch.empty(0, *IMAGE)).shape == (0, 5)
    assert {times.shape[0] for times in snn.spike_times(torch.empty(0, *IMAGE)).values()} == {0}


LOOKS = {
    "logits": SpikingNetwork.__call__,
    "charges": SpikingNetwork.charges,
    "spike times": SpikingNetwork.spike_times,
    "potentials": SpikingNetwork.potentials,
    "spikes per neuron": ttfs.spikes_per_neuron,
    "read-out": lambda snn, images: snn.read_out(images, 0.5 * snn.latency),
}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
@pytest.mark.parametrize("warned", [False, True], ids=["at first", "after a warning"])
def test_values_that_are_not_finite_are_refused(
    value: float, look: Callable[..., Any], warned: bool
) -> None:
    snn = convert(headed(IMAGE, conv(), nn.ReLU()), draw(IMAGE))
    if warned:
        with pytest.warns(UserWarning, match="are clipped"):
            snn(torch.full((1, *IMAGE), 9.0))
    images = draw(IMAGE)
    images[1, 0, 2, 2] = value
    with pytest.raises(ValueError, match="the images hold NaN or infinity"):
        look(snn, images)


def test_calibration_of_a_chip_that_is_not_finite_is_refused() -> None:
    snn = convert(headed(IMAGE, conv(), nn.ReLU()), draw(IMAGE))
    images = torch.full((3, *IMAGE), math.nan)
    with pytest.raises(ConversionError, match="the calibration images hold NaN or infinity"):
        ttfs.deploy(snn, ttfs.Hardware(window_quantile=0.9), images)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_silence_holds_no_spike_in_any_range(dtype: torch.dtype) -> None:
    """Its pixels are the lowest value in the dtype of the network, not rounded on the way."""
    ann, images = headed(IMAGE, conv(), nn.ReLU()).to(dtype), draw(IMAGE).to(dtype)
    for low in torch.rand(8, dtype=torch.float64).sub(1).tolist():
        snn = convert(ann, images.clamp(low, 1.0), input_range=(low, 1.0))
        assert snn.silence.dtype == dtype
        assert not snn.charges(snn.silence)[1]["input"].any()
