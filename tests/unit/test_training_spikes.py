"""Training in the spike-time domain: B1 learns as its ReLU network, bit for bit, and windows keep
up with it.
"""

import copy

import pytest
import torch
from kit.learning import CONFIG, by_hand, close, make_data, network, train
from torch import Tensor, nn

from ttfs.data import DataSet
from ttfs.hardware import Hardware, deploy, quantized_relu
from ttfs.snn import Alpha1Synapses, SpikingNetwork, WindowGrowth, convert, reference_network
from ttfs.training import GrowingWindows
from ttfs.training.activity import neurons

pytestmark = pytest.mark.xdist_group("training")  # one import of Lightning and one store


@pytest.fixture
def data(tmp_path, monkeypatch) -> DataSet:
    return make_data(tmp_path, monkeypatch, augment={"shift": 1})


def convolutional() -> nn.Sequential:
    torch.manual_seed(2)
    first, second = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 6, 2, bias=False)
    return nn.Sequential(
        first, nn.ReLU(), nn.MaxPool2d(2), second, nn.ReLU(), nn.Flatten(), nn.Linear(6, 3)
    )


def images_of(data: DataSet) -> Tensor:
    return next(iter(data.train.batches(1000)))[0]


def spiking(ann: nn.Module, data: DataSet, neuron: str = "b1") -> SpikingNetwork:
    """The TTFS network that the ReLU network is at the start, with windows as wide as growth makes
    them.
    """
    return convert(ann, images_of(data), neuron, headroom=CONFIG["window_growth"] - 1)


@pytest.mark.parametrize("make", [network, convolutional])
@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "adam", "schedule": "cosine"},
        {"optimizer": "sgd", "learning_rate": 0.1, "weight_decay": 0.01},
        {"optimizer": "adam", "activity_l1": 0.01, "select": "best"},
        {"optimizer": "adam", "activity_l0": 0.01},
    ],
    ids=["adam", "sgd", "small charges", "few spikes"],
)
def test_b1_learns_as_the_relu_network_bit_for_bit(data, make, changes: dict):
    ann = make()
    start = copy.deepcopy(ann)
    snn = spiking(ann, data)
    curve = train(data, ann, epochs=4, **changes)
    assert train(data, snn, epochs=4, **changes) == curve
    for trained, twin, before in zip(
        ann.parameters(), snn.parameters(), start.parameters(), strict=True
    ):
        assert torch.equal(trained, twin)
        assert not torch.equal(trained, before)


def test_windows_keep_growth_times_ahead_of_the_largest_potential(data):
    snn = spiking(network(), data)
    (layer,) = snn.layers.values()
    layer.width = 1e-3  # far too short to begin with
    seen: list[
        tuple[float, float]
    ] = []  # the window a training batch met, and its largest potential

    def look(layer: nn.Module, inputs: tuple[Tensor]) -> None:
        if layer.training:
            seen.append((layer.width, inputs[0].max().item()))

    mine = layer.register_forward_pre_hook(look)
    train(data, snn, window_growth=2.0, epochs=4, learning_rate=0.1)
    mine.remove()
    widths, largest = zip(*seen, strict=True)
    assert len(seen) == 4 * 4
    for now, potential, later in zip(widths, largest, widths[1:], strict=False):
        assert later == max(now, 2.0 * potential)
    assert len(set(widths)) > 3
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in snn.modules())


@pytest.mark.parametrize("penalty", ["activity_l1", "activity_l0"])
@pytest.mark.parametrize("bits", [3, None])
def test_the_control_of_a_chip_learns_to_be_sparse(data, bits: int | None, penalty: str):
    def control() -> nn.Module:
        return quantized_relu(spiking(network(), data), Hardware(time_bits=bits, weight_bits=6))

    def activity(net: nn.Module) -> float:
        seen: list[Tensor] = []
        hooks = [
            module.register_forward_hook(lambda *call: seen.append(call[2]))
            for module in neurons(net)
        ]
        net(images_of(data))
        for hook in hooks:
            hook.remove()
        assert [tuple(layer.shape[1:]) for layer in seen] == [(12,)]  # hidden neurons, not pixels
        return (seen[0].sum() if penalty == "activity_l1" else seen[0].count_nonzero()).item()

    free, sparse = control(), control()
    train(data, free, epochs=4)
    train(data, sparse, epochs=4, **{penalty: 0.3})
    assert activity(sparse) < 0.7 * activity(free)


def test_windows_of_neurons_that_clip_do_not_grow():
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU6(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    snn = convert(net.eval(), torch.rand(8, 3)).train()
    clips, grows = snn.layers.values()
    growth, before = WindowGrowth(snn, 1e3), grows.width
    with torch.no_grad():
        for synapses in (snn.body.get_submodule("_0"), snn.body.get_submodule("_2")):
            synapses.weights.bias.fill_(1.0)
    growth.start()
    snn(torch.rand(8, 3))
    growth.grow()
    growth.stop()
    assert clips.width == 6.0
    assert grows.width > before


def test_neurons_are_what_a_network_says_or_its_relus(data):
    snn = spiking(convolutional(), data)
    assert neurons(snn) == list(snn.layers.values())
    assert neurons(nn.Sequential(nn.Identity(), snn)) == list(snn.layers.values())
    twin = reference_network(snn)
    assert neurons(twin) == [module for module in twin.modules() if isinstance(module, nn.ReLU)]
    relu = nn.ReLU()
    assert neurons(nn.Sequential(relu, nn.Linear(2, 2), relu)) == [relu]
    named = nn.Module()
    named.neurons = nn.ReLU()  # a name, not an answer
    assert neurons(named) == [named.neurons]


def test_nothing_listens_before_training_starts(data):
    snn = spiking(network(), data)
    GrowingWindows(snn, 10.0)
    assert not any(module._forward_pre_hooks for module in snn.modules())


@torch.no_grad()
@pytest.mark.parametrize("neuron", ["b1", "alpha1"])
def test_windows_end_as_those_of_the_kept_weights_over_the_training_images(data, neuron: str):
    snn = spiking(convolutional(), data, neuron)
    with torch.enable_grad():
        train(data, snn, headroom=0.25, select="best", epochs=3)
    largest: list[float] = []
    twin = reference_network(snn)
    for module in twin.modules():
        if isinstance(module, nn.ReLU):
            module.register_forward_hook(
                lambda module, inputs, output: largest.append(output.max().item())
            )
    logits = twin(images_of(data))  # as they are: not augmented
    assert [layer.width for layer in snn.layers.values()] == pytest.approx(
        [1.25 * value for value in largest]
    )
    assert torch.equal(snn(images_of(data)), logits)
    fresh = spiking(convolutional(), data, neuron)
    assert fresh.windows != snn.windows
    fresh.load_state_dict(snn.state_dict())
    assert fresh.windows == snn.windows
    assert torch.equal(fresh(images_of(data)), logits)


class ByHand(nn.Module):
    """An α1 network written out: W = J / (1 + Σ J)."""

    def __init__(self, snn: SpikingNetwork):
        super().__init__()
        self.currents, self.bias, self.weight, self.offset = (
            nn.Parameter(snn.state_dict()[name].clone())
            for name in ("body._1.weights.parametrizations.weight.original", "body._1.weights.bias",
                         "body._4.weights.weight", "body._4.weights.bias")
        )  # fmt: skip

    def forward(self, images: Tensor) -> Tensor:
        potential = (
            images.flatten(1) @ (self.currents / (1 + self.currents.sum(1, keepdim=True))).T
            + self.bias
        )
        return potential.clamp(min=0) @ self.weight.T + self.offset


def test_alpha1_learns_its_currents(tmp_path, monkeypatch):
    data = make_data(tmp_path, monkeypatch)
    snn = spiking(network(), data, "alpha1")
    reference = ByHand(snn)
    train(data, snn, optimizer="sgd", learning_rate=0.05, momentum=0.0)

    def step(parameters, gradients, states):
        for p, g in zip(parameters, gradients, strict=True):
            p -= 0.05 * g

    by_hand(reference, data, step)
    trained = ByHand(snn)
    assert not torch.equal(trained.currents, ByHand(spiking(network(), data, "alpha1")).currents)
    close(trained, reference)


def test_alpha1_learns_from_smart_initialisation(tmp_path, monkeypatch):
    ann, data = network(), make_data(tmp_path, monkeypatch)
    snn = spiking(ann, data, "alpha1")
    assert torch.allclose(snn(images_of(data)), ann(images_of(data)), atol=1e-4)
    losses = [row["train_loss"] for row in train(data, snn, epochs=20)]
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("neuron", ["relu", "b1", "alpha1"])
def test_bfloat16_is_for_the_passes_alone(data, neuron: str):
    ann = convolutional()
    net = ann if neuron == "relu" else spiking(ann, data, neuron)
    dtypes = set()
    neurons = (
        [m for m in net.modules() if isinstance(m, nn.ReLU)]
        if neuron == "relu"
        else net.layers.values()
    )
    hooks = [
        m.register_forward_pre_hook(lambda module, inputs: dtypes.add(inputs[0].dtype))
        for m in neurons
    ]
    losses = [row["train_loss"] for row in train(data, net, precision="bfloat16", epochs=12)]
    assert torch.bfloat16 in dtypes
    for hook in hooks:
        hook.remove()
    assert losses[-1] < losses[0]
    for parameter in net.parameters():
        assert parameter.dtype == torch.float32
        assert parameter.is_contiguous()
    assert net(images_of(data)).dtype == torch.float32
    if neuron == "alpha1":
        assert sum(isinstance(module, Alpha1Synapses) for module in net.modules()) == 2


def test_a_chip_keeps_its_windows_while_its_network_is_fine_tuned_on_it(data):
    chip = deploy(
        spiking(network(), data), Hardware(window_quantile=0.8, time_bits=3), images_of(data)
    )
    windows, before = chip.windows, {name: value.clone() for name, value in chip.named_parameters()}
    train(data, chip)
    assert chip.windows == windows
    assert all(not torch.equal(value, before[name]) for name, value in chip.named_parameters())
