"""Networks that torch has quantized compute with integers, and are refused by name."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.ao import quantization

import ttfs
from ttfs import ConversionError

pytestmark = pytest.mark.usefixtures("seed")


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4)).eval()


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)
    ).eval()


def _dynamic(ann: nn.Module, images: Tensor) -> nn.Module:
    return quantization.quantize_dynamic(ann, {nn.Linear})


def _static(ann: nn.Module, images: Tensor) -> nn.Module:
    ann = nn.Sequential(quantization.QuantStub(), ann, quantization.DeQuantStub()).eval()
    ann.qconfig = quantization.get_default_qconfig("x86")
    prepared = quantization.prepare(ann)
    prepared(images)
    return quantization.convert(prepared)


@pytest.mark.filterwarnings("ignore")  # of torch about its own quantization
@pytest.mark.parametrize(
    ("network", "quantize", "named"),
    [
        (net, _dynamic, r"0 \(torch.ao.nn.quantized.dynamic"), (cnn, _static, "Quantize"),
        (net, _static, "Quantize"),
    ],
)  # fmt: skip
def test_quantized_networks_are_refused_by_name(
    network: Callable, quantize: Callable, named: str
) -> None:
    images = torch.rand(100, 6) if network is net else torch.rand(8, 2, 8, 8)
    with pytest.raises(ConversionError, match=f"{named}.* computes with integers"):
        ttfs.convert(quantize(network(), images), images)
