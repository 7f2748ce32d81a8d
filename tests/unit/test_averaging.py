"""Averages of weights: the published rules, step by step, and what they do to a training."""

import copy

import pytest
import torch
from kit.learning import AXES, CONFIG, equal, make_data, network
from torch import nn

import ttfs
from ttfs.training import GrowingWindows, fit
from ttfs.training.averaging import Average

pytestmark = pytest.mark.xdist_group("training")  # one import of Lightning


@pytest.fixture
def data(tmp_path, monkeypatch):
    return make_data(tmp_path, monkeypatch)


def moved(net: nn.Module) -> None:
    """Take a random step, running statistics included."""
    with torch.no_grad():
        for tensor in net.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(torch.randn_like(tensor))
            else:
                tensor.add_(1)


def test_ema_follows_the_weights_and_the_statistics_of_batch_norm():
    net = network(norm=True)
    average = Average(net, "ema", 0.7)
    wanted = {name: value.clone() for name, value in net.state_dict().items()}
    for step in range(1, 30):
        moved(net)
        average.update(net, step, step / 30)
        kept = min(0.7, (1 + step) / (10 + step))
        for name, value in net.state_dict().items():
            if name.endswith("num_batches_tracked"):
                wanted[name] = value.clone()
            else:
                wanted[name] = kept * wanted[name] + (1 - kept) * value
    for name, value in average.network.state_dict().items():
        torch.testing.assert_close(value, wanted[name])
    assert not equal(average.network, net)


def test_lookahead_pulls_back_every_fifth_step():
    net = network(norm=True)
    average = Average(net, "lookahead", 0.9)
    slow = net[1].weight.clone()
    for step in range(1, 21):
        moved(net)
        fast = net[1].weight.clone()
        average.update(net, step, step / 20)
        if step % 5:
            assert net[1].weight.equal(fast)
            continue
        kept = 0.9**5 * (step / 20) ** 3
        slow = kept * slow + (1 - kept) * fast
        torch.testing.assert_close(net[1].weight, slow)
        assert equal(net, average.network)


def test_windows_of_a_ttfs_network_are_not_averaged():
    snn = ttfs.convert(network().eval(), torch.rand(8, 1, 4, 4))
    average = Average(snn, "ema", 0.99)
    for layer in snn.layers.values():
        layer.width *= 3.0
    average.update(snn, 1, 0.5)
    widths = [layer.width for layer in average.network.layers.values()]
    assert widths == [layer.width for layer in snn.layers.values()]


@pytest.mark.parametrize("how", ["ema", "lookahead"])
def test_buffers_of_any_meaning_are_taken_from_the_network(how: str):
    """Such as a number that it sets itself, or a mask of -inf, whose average is NaN."""
    net = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    net.register_buffer("scale", torch.ones(()))
    net.register_buffer("mask", torch.tensor([0.0, -torch.inf]))
    average = Average(net, how, 0.9)
    net.scale.fill_(5.0)
    average.update(net, 5, 0.5)
    for one in (net, average.network):
        assert one.scale == 5
        assert one.mask.tolist() == [0, -torch.inf]


def test_weights_are_averaged_in_their_own_precision():
    net = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False).double())
    for layer in net:
        nn.init.zeros_(layer.weight)
    average = Average(net, "ema", 0.9)
    for layer in net:
        nn.init.ones_(layer.weight)
    average.update(net, 1000, 0.5)
    for layer in average.network:
        assert layer.weight.item() == pytest.approx(0.1)
    Average(net[1].requires_grad_(False), "ema", 0.9).update(net[1], 1, 0.5)  # nothing that learns


@pytest.mark.parametrize("how", ["ema", "lookahead"])
def test_the_average_is_validated_and_kept(data, how: str):
    plain, averaged = network(norm=True), network(norm=True)
    fit(plain, data, CONFIG, AXES)
    rows = fit(averaged, data, CONFIG | {"averaging": how, "averaging_decay": 0.9}, AXES)
    assert not equal(plain, averaged)
    images, labels = next(iter(data.validation.batches(100)))
    with torch.no_grad():
        loss = nn.functional.cross_entropy(averaged.eval()(images), labels)
    assert rows[-1]["validation_loss"] == pytest.approx(loss.item(), rel=1e-5)


def test_an_average_does_not_change_the_training_it_watches(data):
    """The train loss of each epoch is that of a training without EMA."""
    config = CONFIG | {"epochs": 3}
    plain = fit(network(), data, config, AXES)
    watched = fit(network(), data, config | {"averaging": "ema"}, AXES)
    assert [row["train_loss"] for row in plain] == [row["train_loss"] for row in watched]


def test_a_growing_ttfs_network_can_be_averaged(data):
    images = torch.rand(8, 1, 4, 4)
    snn = ttfs.convert(network().eval(), images).train()
    before = copy.deepcopy(snn)
    config = CONFIG | {"averaging": "ema", "averaging_decay": 0.5}
    fit(snn, data, config, AXES, callbacks=[GrowingWindows(snn, 2.0)])
    assert not equal(snn, before)


@pytest.mark.parametrize("how", ["ema", "lookahead"])
def test_a_shared_layer_is_averaged_once(how: str):
    layer = nn.Linear(3, 3)
    net = nn.Sequential(layer, nn.ReLU(), layer)
    average, before = Average(net, how, 0.9), layer.weight.detach().clone()
    with torch.no_grad():
        layer.weight.add_(1.0)
    average.update(net, 1000, 1.0)
    kept = 0.9 if how == "ema" else 0.9**5
    torch.testing.assert_close(average.network[2].weight, before + (1.0 - kept))
