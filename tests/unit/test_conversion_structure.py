"""The graph of a conversion follows from the network's graph, never from its weights; and what
learns in it is what learned in the network.
"""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import ttfs
from ttfs.snn import Synapses

pytestmark = pytest.mark.usefixtures("seed")
MOVES = {
    "permute": lambda net, v: v.permute(0, 2, 3, 1),
    "view": lambda net, v: v.view(-1, 8, 4, 8),
    "flatten": lambda net, v: v.flatten(1),
    "pad": lambda net, v: F.pad(v, (1, 0, 1, 0))[:, :, :8, :8],
    "flip": lambda net, v: v.flip(1),
    "map": lambda net, v: v + net.map,
    "cap": lambda net, v: torch.minimum(v, net.gains),
    "shuffle": lambda net, v: v.view(-1, 2, 2, 8, 8).transpose(1, 2).reshape(-1, 4, 8, 8),
    "buffer": lambda net, v: v * net.gains,
    "pool, then map": lambda net, v: F.max_pool2d(v, 3, 1, 1) + net.map,
}


class Moved(nn.Module):
    """A batch norm, something else, and a ReLU; new, its maps and statistics are alike all over."""

    def __init__(self, move: str):
        super().__init__()
        self.move = MOVES[move]
        self.conv, self.norm = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.map = nn.Parameter(torch.zeros(4, 8, 8))
        self.register_buffer("gains", torch.ones(4, 8, 8))
        self.last = nn.Linear(256, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(F.relu(self.move(self, self.norm(self.conv(x)))).flatten(1))


@pytest.mark.parametrize("move", MOVES)
def test_a_new_network_has_the_graph_of_a_trained_one(move: str):
    images, new = torch.rand(6, 1, 8, 8), Moved(move)
    trained = copy.deepcopy(new).train()
    with torch.no_grad():
        for value in (*trained.parameters(), trained.gains):
            value += 0.1 * torch.randn_like(value)
    trained(images)  # statistics of the batch norm
    snn = ttfs.convert(trained.eval(), images)
    assert torch.allclose(snn(images), trained(images), atol=1e-5)
    loaded = ttfs.convert(new.eval(), images)
    loaded.load_state_dict(snn.state_dict())
    assert torch.equal(loaded(images), snn(images))
    learned, known = (sum(p.numel() for p in n.parameters()) for n in (loaded, snn))
    assert learned == known


def test_moves_there_and_back_leave_one_value_a_channel():
    """As channels are shuffled: a batch norm is folded, and the max pool needs no more neurons."""

    def shuffled(v: Tensor) -> Tensor:
        return MOVES["shuffle"](None, v)

    class Net(Moved):
        def forward(self, x: Tensor) -> Tensor:
            v = F.max_pool2d(shuffled(self.norm(F.relu(self.conv(x)))), 3, 1, 1)
            return self.last(F.relu(v).flatten(1))

    images, net = torch.rand(6, 1, 8, 8), Net("shuffle").train()
    net(images)
    snn = ttfs.convert(net.eval(), images)
    assert torch.allclose(snn(images), net(images), atol=1e-5)
    assert len(snn.layers) == 2
    shapes = {tuple(p.shape) for n, p in snn.named_parameters() if "scale" in n}
    assert all(math.prod(shape[1:]) == 1 for shape in shapes)


def test_a_map_that_is_added_scales_nothing():
    images = torch.rand(6, 1, 8, 8)
    snn = ttfs.convert(Moved("map").eval(), images)
    parameters = dict(snn.named_parameters())
    assert parameters["body.relu_scale.weight"].shape == (4, 1, 1)
    assert parameters["body.relu_scale.bias"].shape == (4, 8, 8)


class Kin(nn.Module):
    def __init__(self, last: nn.Module):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 8), last, nn.Linear(8, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def unlearned(snn: nn.Module) -> dict[str, Tensor]:
    return {n: p.detach().clone() for n, p in snn.named_parameters() if not p.requires_grad}


@pytest.mark.parametrize("kin", [nn.LeakyReLU(0.1), nn.LeakyReLU(-0.4)])
def test_constants_of_an_operation_do_not_learn(kin: nn.Module):
    ann, inputs = Kin(kin).train(), torch.rand(32, 6)
    snn = ttfs.convert(ann, inputs, headroom=20.0)
    assert unlearned(snn)
    for network in (ann, snn):
        optimizer = torch.optim.SGD(network.parameters(), 0.05)
        for _ in range(10):
            optimizer.zero_grad()
            F.cross_entropy(network(inputs), torch.arange(32) % 3).backward()
            optimizer.step()
    assert torch.allclose(snn(inputs), ann(inputs), atol=1e-5)  # the same steps


def test_the_slope_of_a_prelu_learns():
    snn = ttfs.convert(Kin(nn.PReLU(8)).eval(), torch.rand(32, 6))
    slopes = [p for name, p in snn.named_parameters() if "scale.weight" in name]
    assert [p.numel() for p in slopes if p.requires_grad] == [8]


def frozen(*names: str, norm: bool = False, padding: int = 0) -> nn.Sequential:
    """A network of which the named parameters of the first layers do not learn."""
    layers = [
        nn.Conv2d(1, 4, 3, padding=padding),
        *([nn.BatchNorm2d(4)] if norm else []),
        nn.ReLU(),
    ]
    ann = nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(5)).eval()
    ann(torch.rand(2, 1, 8, 8))
    for name in names:
        ann.get_parameter(name).requires_grad_(False)
    return ann


OF_NORM = ("1.weight", "1.bias")


@pytest.mark.parametrize(
    ("ann", "learns"),
    [
        (frozen(), True),
        (frozen("0.weight"), True),
        (frozen("0.bias"), False),
        (frozen("0.weight", "0.bias"), False),
        (frozen("0.weight", "0.bias", padding=1), False),
        (frozen("0.weight", padding=1), True),
        (frozen("0.weight", norm=True), True),
        (frozen("0.weight", "0.bias", norm=True), True),
        (frozen("0.weight", "0.bias", *OF_NORM, norm=True), False),
        (frozen("0.bias", *OF_NORM, norm=True), False),
    ],
)
@pytest.mark.parametrize("span", [(0.0, 1.0), (-1.0, 2.0)])
def test_a_bias_learns_as_what_it_is_made_of(ann: nn.Module, learns: bool, span):
    images = torch.rand(8, 1, 8, 8)
    snn = ttfs.convert(ann, images, input_range=span)
    first = next(module for module in snn.modules() if isinstance(module, Synapses))
    assert first.weights.weight.requires_grad == ann[0].weight.requires_grad
    bias = first.weights.bias if first.bias_map is None else first.bias_map
    assert bias.requires_grad == learns
    assert torch.allclose(snn(images), ann(images), atol=1e-5)
