"""A TTFS network's clock, its gradients, and what it keeps in a checkpoint."""

import copy
import io
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from kit.exactness import IMAGE, Net, conv, draw, headed, norm, randomise
from torch import Tensor, nn

import ttfs
from ttfs.metrics import multiply_accumulates
from ttfs.snn import (
    EarliestSpike,
    Fire,
    SpikingNetwork,
    Synapses,
    WindowGrowth,
    calibrate_,
    convert,
    reference_network,
    simulate,
)

pytestmark = pytest.mark.usefixtures("seed")


def activations(ann: nn.Sequential, images: Tensor) -> list[Tensor]:
    """Return what each ReLU of a chain gives."""
    found = []
    for layer in ann:
        images = layer(images)
        if isinstance(layer, nn.ReLU):
            found.append(images)
    return found


@torch.no_grad()
@pytest.mark.parametrize("headroom", [0.0, 0.5, 2.0])
def test_windows_of_a_chain_follow_one_another(headroom: float) -> None:
    ann = headed(
        IMAGE, conv(), nn.ReLU(), conv(4, 6), nn.ReLU(), nn.AvgPool2d(2), conv(6, 5), nn.ReLU()
    ).double()
    images = draw(IMAGE).double()
    snn = convert(ann, images, headroom=headroom)
    t_min = 1.0
    assert snn.windows["input"] == (0.0, 1.0)
    for (name, (opening, close)), values in zip(
        list(snn.windows.items())[1:], activations(ann, images), strict=True
    ):
        assert opening == t_min, name
        largest = values.max().item()
        width = (1 + headroom) * largest if largest else 1.0  # a draw may leave a layer silent
        assert close - opening == pytest.approx(width)
        t_min = close
    assert snn.latency == t_min


@torch.no_grad()
def test_a_layer_waits_for_its_slowest_input() -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        first = F.relu(net.one(x))
        second = F.relu(net.two(first))
        third = F.relu(net.three(first) + second)
        return net.head(torch.cat([first, third], 1).flatten(1))

    snn = convert(
        Net(forward, one=conv(), two=conv(4), three=conv(4), head=nn.Linear(576, 5)), draw(IMAGE)
    )
    windows = snn.windows
    assert windows["relu_1"][0] == windows["relu"][1]
    assert windows["relu_2"][0] == windows["relu_1"][1] > windows["relu"][1]
    assert snn.latency == windows["relu_2"][1]
    assert snn.depth == 4  # windows of the input and of three layers follow one another


@torch.no_grad()
def test_the_chain_of_parallel_layers_is_that_which_closes_last() -> None:
    ann = nn.Sequential(nn.Linear(4, 8), nn.LeakyReLU(0.1), nn.Linear(8, 2))
    with torch.no_grad():
        ann[0].bias.fill_(10.0)  # one of the two, of negative values, hardly carries anything
    for sign in (1.0, -1.0):
        with torch.no_grad():
            ann[0].bias.mul_(sign)
        snn = convert(ann, torch.rand(64, 4))
        assert len(snn.layers) == 2
        assert snn.chain[-1][1] == snn.latency


def test_spike_times_lie_in_their_windows_and_silence_is_infinite() -> None:
    ann = randomise(
        headed(IMAGE, conv(), norm(), nn.ReLU(), nn.MaxPool2d(2), conv(4, 4), nn.ReLU())
    ).double()
    images = draw(IMAGE).double()
    snn = convert(ann, images)
    times, windows = snn.spike_times(images), snn.windows
    assert list(times) == list(windows) == ["input", *snn.layers]
    for (name, (t_min, t_max)), values in zip(
        windows.items(), [images, *activations(ann, images)], strict=True
    ):
        assert times[name].dtype == torch.float64
        assert times[name].shape == values.shape  # before pooling
        assert torch.equal(times[name].isinf(), values == 0)
        spikes = times[name][values > 0]
        assert ((spikes >= t_min) & (spikes < t_max)).all()
        assert torch.allclose(t_max - spikes, values[values > 0], atol=1e-10)


@torch.no_grad()
def test_spike_times_keep_small_charges_behind_wide_windows() -> None:
    ann = nn.Sequential(nn.Linear(3, 3, bias=False), nn.ReLU(), nn.Linear(3, 2))
    ann[0].weight.copy_(torch.eye(3))
    snn = convert(ann, torch.rand(2, 3))
    snn.layers["_1"].width = 1e4
    times = snn.spike_times(torch.tensor([[0.0, 1e-4, 0.5]]))["_1"]
    assert times.dtype == torch.float64
    assert times[0].tolist() == [float("inf"), pytest.approx(10001 - 1e-4, abs=1e-11), 10000.5]


@torch.no_grad()
def test_a_pool_before_its_relu_moves_behind_the_neurons() -> None:
    snn = convert(headed(IMAGE, conv(), nn.MaxPool2d(2), nn.ReLU()), draw(IMAGE))
    _, charges = snn.charges(draw(IMAGE))
    assert charges["_2"].shape[1:] == (4, 9, 8)


@torch.no_grad()
def test_too_strong_an_activation_fires_at_the_opening() -> None:
    ann = nn.Sequential(nn.Flatten(), nn.Linear(216, 20), nn.ReLU(), nn.Linear(20, 5)).double()
    dim, bright = draw(IMAGE, 0, 0.05).double(), draw(IMAGE).double()
    ann[1].weight.abs_()
    snn = convert(ann, dim, headroom=0.0)
    t_min, t_max = snn.windows["_2"]
    (strong,) = activations(ann, bright)
    clipped = strong > t_max - t_min
    assert clipped.any()
    assert snn.spike_times(bright)["_2"][clipped].tolist() == pytest.approx(
        [t_min] * int(clipped.sum())
    )
    assert torch.allclose(snn(bright), ann[3](strong.clamp(max=t_max - t_min)))


@torch.no_grad()
def test_a_dead_layer_stays_silent() -> None:
    ann = headed(IMAGE, conv(), nn.ReLU(), conv(4, 4), nn.ReLU())
    ann[0].bias.fill_(-100)
    snn = convert(ann, draw(IMAGE))
    assert snn.windows["_1"] == (1.0, 2.0)
    assert snn.spike_times(draw(IMAGE))["_1"].isinf().all()
    assert torch.equal(snn(draw(IMAGE)), ann(draw(IMAGE)))


@pytest.mark.parametrize(
    "layers", [[], [nn.ReLU()], [nn.Identity()], [nn.AvgPool2d(2), nn.ReLU()], [nn.MaxPool2d(2)]]
)
def test_a_network_may_have_no_weights(layers: list[nn.Module], tmp_path: Path) -> None:
    ann, images = nn.Sequential(*layers, nn.Flatten()), draw(IMAGE)
    snn = convert(ann, images)
    assert torch.allclose(snn(images), ann(images), atol=1e-6)
    assert multiply_accumulates(snn) == 0
    assert torch.allclose(simulate(snn, images[:1]).logits.float(), ann(images[:1]), atol=1e-6)
    assert ttfs.to_leaky(ann, images, steps=2)(images).shape == ann(images).shape
    assert ttfs.to_leaky(ann, images.double(), steps=2)(images.double()).dtype == torch.float64
    rate = ttfs.convert_to_rate(ann, images, steps=64)
    assert torch.allclose(rate(images, steps=64), ann(images), atol=1 / 32)
    if not any(isinstance(module, EarliestSpike) for module in snn.modules()):
        ttfs.to_nir(snn, tmp_path / "net.nir")


@torch.no_grad()
def test_logits_may_all_be_zero() -> None:
    """Their difference from the ANN's is a share of the largest, which is 0."""
    ann = headed(IMAGE, conv(), nn.ReLU())
    for parameter in ann[-1].parameters():
        parameter.zero_()
    assert not convert(ann, draw(IMAGE))(draw(IMAGE)).any()


@torch.no_grad()
def test_calibration_may_come_in_batches() -> None:
    ann, images = headed(IMAGE, conv(), nn.ReLU(), conv(4, 4), nn.ReLU()), draw(IMAGE)
    whole, batched = convert(ann, images), convert(ann, (batch for batch in images.split(5)))
    for name, (t_min, t_max) in whole.windows.items():
        assert batched.windows[name] == pytest.approx((t_min, t_max))


@torch.no_grad()
def test_windows_are_calibrated_as_if_there_were_none() -> None:
    """Those that a network has clip nothing that is measured, be they short or wide."""
    ann = headed(IMAGE, conv(), nn.ReLU(), conv(4, 4), nn.ReLU(), conv(4, 4), nn.ReLU6())
    snn, images = convert(ann, draw(IMAGE)), draw(IMAGE)
    found = []
    for width in (1e-3, 1e3):
        for layer in snn.layers.values():
            layer.width = width
        calibrate_(snn, [images[:7], images[7:]], 0.25)
        found.append([layer.width for layer in snn.layers.values()])
    largest = [values.max().item() for values in activations(ann, images)]
    assert found[0] == found[1] == pytest.approx([*(1.25 * value or 1.0 for value in largest), 6.0])


def test_windows_grow_with_the_potentials_of_training_alone() -> None:
    ann, images = headed(IMAGE, conv(), nn.ReLU()), draw(IMAGE)
    nn.init.constant_(ann[0].bias, 0.5)  # a batch may have no potential above 0
    snn = convert(ann, images).train()
    [layer], [potentials] = snn.layers.values(), list(snn.potentials(0.1 * images).values())[:1]
    layer.width = 1e-3
    growth = WindowGrowth(snn, 3.0)
    growth.start()
    snn(0.1 * images)
    snn.eval()(images)
    growth.grow()
    growth.stop()
    assert layer.width == 3.0 * potentials.max().item()


@pytest.mark.parametrize("blank", [False, True])
def test_gradients_are_the_anns(blank: bool) -> None:
    layers = [
        conv(bias=False),
        nn.ReLU(),
        nn.MaxPool2d(2),
        conv(4, 6, bias=False),
        nn.ReLU(),
        nn.AvgPool2d(2),
    ]
    ann = headed(IMAGE, *layers).double()
    images, labels = draw(IMAGE).double(), torch.randint(0, 5, (12,))
    if blank:  # potentials of exactly 0, where ReLU's subgradient is 0
        images[:, :, :, 3:] = 0
    snn = convert(ann, images)
    for network in (ann, snn):
        F.cross_entropy(network(images), labels).backward()
    synapses = [module.weights for module in snn.modules() if isinstance(module, Synapses)]
    for layer, mapped in zip([ann[0], ann[3], ann[7]], synapses, strict=True):
        assert layer.weight.grad.abs().max() > 0
        assert torch.allclose(mapped.weight.grad, layer.weight.grad, rtol=1e-9, atol=1e-15)
    assert torch.allclose(synapses[-1].bias.grad, ann[7].bias.grad)


def converted(images: Tensor) -> SpikingNetwork:
    layers = [conv(), norm(), nn.ReLU(), norm(), nn.MaxPool2d(2), conv(4, 4), nn.ReLU(), norm()]
    return convert(randomise(headed(IMAGE, *layers)), images)


@torch.no_grad()
def test_a_checkpoint_restores_logits_and_windows() -> None:
    images = draw(IMAGE)
    snn, other = converted(images), converted(images / 2)
    file = io.BytesIO()
    torch.save(snn.state_dict(), file)
    file.seek(0)
    assert other.windows != snn.windows
    other.load_state_dict(torch.load(file, weights_only=True))
    assert other.windows == snn.windows
    assert other.latency == snn.latency
    assert torch.equal(other(images), snn(images))


@torch.no_grad()
def test_a_checkpoint_fits_the_network_of_any_weights() -> None:
    images = draw(IMAGE)
    layers = [
        conv(),
        norm(),
        nn.ReLU(),
        norm(),
        nn.MaxPool2d(2),
        conv(4, 4),
        nn.MaxPool2d(2),
        norm(),
        nn.ReLU(),
    ]
    ann = headed(IMAGE, *layers)
    untrained = convert(ann, images[:1] * 0)
    snn = convert(randomise(copy.deepcopy(ann)), images)
    untrained.load_state_dict(snn.state_dict())
    assert torch.equal(untrained(images), snn(images))


@torch.no_grad()
def test_a_copy_is_independent() -> None:
    images = draw(IMAGE)
    snn = converted(images)
    windows, logits, twin = snn.windows, snn(images), copy.deepcopy(snn)
    assert twin.windows == windows
    assert torch.equal(twin(images), logits)
    for parameter in twin.parameters():
        parameter.mul_(2)
    for fire in twin.layers.values():
        fire.width *= 2
    assert twin.windows != windows == snn.windows
    assert torch.equal(snn(images), logits)


@torch.no_grad()
def test_a_network_moves_to_another_precision() -> None:
    images = draw(IMAGE)
    snn = converted(images)
    exact = copy.deepcopy(snn).double()(images.double())
    assert exact.dtype == torch.float64
    assert torch.allclose(snn(images).double(), exact, atol=1e-4)


@torch.no_grad()
def test_the_reference_network_is_the_network_where_no_window_clips() -> None:
    images = draw(IMAGE, -1, 1)
    layers = [conv(), norm(), nn.ReLU(), norm(), nn.MaxPool2d(2), conv(4, 4), nn.ReLU(), norm()]
    snn = convert(randomise(headed(IMAGE, *layers)), images, input_range=(-1, 1))
    twin = reference_network(snn)
    assert not any(isinstance(module, Fire) for module in twin.modules())
    assert torch.equal(twin(images), snn(images))
    strong = snn.layers["_6"]
    _, charges = snn.charges(images)
    strong.width = 0.5 * charges["_6"].max().item()
    clipped = (charges["_6"] > strong.width).flatten(1).any(1)
    assert clipped.any()
    assert torch.equal(
        (twin(images) != snn(images)).any(1), clipped
    )  # the twin knows nothing of windows
