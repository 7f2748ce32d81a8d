"""What the tests of conversion share: small networks, random statistics, and what exact means."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from ttfs.errors import UserError
from ttfs.snn import ConversionError, SpikingNetwork, convert, layer_differences, simulate

IMAGE = (3, 9, 8)
LINE = (3, 12)


class Net(nn.Module):
    """A network written as a function of its modules and the images."""

    def __init__(self, function: Callable[["Net", Tensor], Tensor], **modules: nn.Module):
        super().__init__()
        self.function = function
        for name, module in modules.items():
            setattr(self, name, module)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def headed(shape: tuple[int, ...], *modules: nn.Module) -> nn.Sequential:
    """Put a linear layer for five classes behind the modules."""
    with torch.no_grad():
        features = nn.Sequential(*modules, nn.Flatten()).eval()(torch.rand(2, *shape)).shape[1]
    return nn.Sequential(*modules, nn.Flatten(), nn.Linear(features, 5))


def conv(before: int = 3, after: int = 4, **options) -> nn.Conv2d:
    return nn.Conv2d(before, after, 3, **{"padding": 1} | options)


def norm(channels: int = 4, **options) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, **options)


def randomise(network: nn.Module) -> nn.Module:
    """Give batch norms statistics as of a trained network, half of the scales negative."""
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
            norm.running_mean.normal_(0, 0.5)
            norm.running_var.uniform_(0.5, 2)
            if norm.affine:
                sign = torch.randint(0, 2, norm.weight.shape) * 2 - 1
                norm.weight.data = torch.empty_like(norm.weight).uniform_(0.5, 1.5) * sign
                norm.bias.data.normal_(0, 0.5)
    return network.eval()


def draw(shape: tuple[int, ...], low: float = 0.0, high: float = 1.0, n: int = 12) -> Tensor:
    return torch.rand(n, *shape) * (high - low) + low


def scale_free(value: Tensor, reference: Tensor) -> float:
    assert value.shape == reference.shape
    assert value.dtype == reference.dtype
    return ((value - reference).abs().max() / reference.abs().max().clamp(min=1e-12)).item()


@torch.no_grad()
def assert_exact(
    network: nn.Module,
    shape: tuple[int, ...],
    low: float = 0.0,
    high: float = 1.0,
    neuron: str = "b1",
) -> SpikingNetwork:
    """Convert in both precisions, and compare logits, layers and spike times with the ANN and the
    simulator.
    """
    images = draw(shape, low, high)
    randomise(network)
    for dtype, bound in ((torch.float32, 1e-4), (torch.float64, 1e-10)):
        ann, batch = copy.deepcopy(network).to(dtype), images.to(dtype)
        snn = convert(ann, batch, neuron, input_range=(low, high))
        assert scale_free(snn(batch), ann(batch.clone())) <= bound
        if neuron == "b1":  # α1 neurons carry activations up to a scale
            assert all(value <= bound for value in layer_differences(ann, snn, batch).values())
    assert_simulated(snn, batch[:2])
    return snn


@torch.no_grad()
def assert_simulated(snn: SpikingNetwork, batch: Tensor) -> None:
    """Compare spike times and logits of a float64 network with the simulator's."""
    oracle, times = simulate(snn, batch), snn.spike_times(batch)
    assert oracle.spike_times.keys() == times.keys() == snn.windows.keys()
    for name, closed in times.items():
        simulated = oracle.spike_times[name]
        differ = simulated.isinf() != closed.isinf()
        # A potential of 0 up to rounding is silence, or a spike at the deadline.
        late = torch.minimum(simulated, closed)[differ]
        deadline = snn.windows[name][1]
        assert (late >= deadline - 1e-9).all(), f"{name}: other neurons are silent"
        simulated = simulated.masked_fill(differ, deadline)
        closed = closed.masked_fill(differ, deadline)
        spiking = closed.isfinite()
        assert torch.allclose(simulated[spiking], closed[spiking], rtol=0, atol=1e-9), name
    assert scale_free(oracle.logits, snn(batch)) <= 1e-9


def refusal(call: Callable[[], object]) -> str:
    """Return the error of a conversion that is refused, which is one line."""
    with pytest.raises(ConversionError) as caught:
        call()
    assert isinstance(caught.value, UserError)
    message = str(caught.value)
    assert "\n" not in message
    return message


@torch.no_grad()
def with_pools() -> nn.Sequential:
    """Return a network in float64, with batch norm, a max pool and an average pool, no layer of
    which is silent, as one in forty is by chance.
    """
    relus, active = 2, 0
    while active < relus:
        layers = conv(), norm(), nn.ReLU(), nn.MaxPool2d(2), conv(4, 6), nn.ReLU(), nn.AvgPool2d(2)
        network = randomise(headed(IMAGE, *layers)).double()
        values, active = draw(IMAGE).double(), 0
        for layer in network:
            values = layer(values)
            active += isinstance(layer, nn.ReLU) and (values > 0).double().mean().item() > 0.05
    return network


def qcfs(x: torch.Tensor, theta: float, levels: int) -> torch.Tensor:
    """The activation of QCFS as its authors write it."""
    return theta * torch.clip(torch.floor(x * levels / theta + 0.5) / levels, 0, 1)
