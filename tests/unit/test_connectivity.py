"""The synapses written out one by one are those that torch's convolutions and pools stand for."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from kit.exactness import Net, conv, draw, headed, norm, randomise
from scipy import sparse
from torch import Tensor, nn

from ttfs.snn import Population, connectivity, convert

pytestmark = pytest.mark.usefixtures("seed")
SMALL, SHORT = (4, 5, 6), (4, 7)


def populations(ann: nn.Module, shape: tuple[int, ...], **options) -> dict[str, Population]:
    snn = convert(ann.double().eval(), draw(shape).double(), **options)
    return {population.name: population for population in connectivity(snn)}


def jacobian(function: Callable[[Tensor], Tensor], shape: tuple[int, ...]) -> np.ndarray:
    point = torch.rand(shape).double()
    derivative = torch.autograd.functional.jacobian(
        lambda x: function(x.unsqueeze(0)).flatten(), point
    )
    return derivative.reshape(derivative.shape[0], -1).numpy()


def assert_same(matrix: sparse.csc_matrix, dense: np.ndarray) -> None:
    assert matrix.shape == dense.shape
    assert np.allclose(matrix.toarray(), dense, rtol=0, atol=1e-14)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 1}, {"kernel_size": (3, 2), "padding": (1, 2)},
        {"kernel_size": 3, "padding": "same"},
        {"kernel_size": 3, "padding": 2, "dilation": 2},
        {"kernel_size": (2, 3), "padding": "valid", "stride": (2, 1)},
        {"kernel_size": 3, "padding": 1, "stride": 2, "bias": False},
        {"kernel_size": (1, 5), "padding": "same"},
        {"kernel_size": (2, 4), "padding": "same"},
    ],
)  # fmt: skip
def test_convolution_2d(options: dict, groups: int, mode: str) -> None:
    layer = nn.Conv2d(4, 8, groups=groups, padding_mode=mode, **options)
    found = populations(headed(SMALL, layer, nn.ReLU()), SMALL)["_1"]
    assert_same(found.projection.matrices["input"], jacobian(layer.double(), SMALL))
    assert found.shape == layer(torch.rand(1, *SMALL).double()).shape[1:]
    bias = torch.zeros(8).double() if layer.bias is None else layer.bias.detach()
    assert np.array_equal(
        found.projection.constant, bias.repeat_interleave(found.shape[1] * found.shape[2])
    )


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
@pytest.mark.parametrize(
    "options", [{"padding": "same", "dilation": 2}, {"padding": 1, "stride": 2}, {"groups": 2}]
)
def test_convolution_1d(options: dict, mode: str) -> None:
    layer = nn.Conv1d(4, 6, 3, padding_mode=mode, **options)
    found = populations(headed(SHORT, layer, nn.ReLU()), SHORT)["_1"]
    assert_same(found.projection.matrices["input"], jacobian(layer.double(), SHORT))


@pytest.mark.parametrize(
    "pool",
    [
        nn.AvgPool2d(2), nn.AvgPool2d(3, 2, 1), nn.AvgPool2d(3, 2, 1, count_include_pad=False),
        nn.AvgPool2d((2, 3), 2, ceil_mode=True), nn.AdaptiveAvgPool2d((2, 4)),
        nn.AdaptiveAvgPool2d((9, 1)),
    ],
)  # fmt: skip
def test_mean_pools_join_the_synapses_that_follow(pool: nn.Module) -> None:
    second = conv(4, 3)
    found = populations(headed(SMALL, conv(4, 4), nn.ReLU(), pool, second, nn.ReLU()), SMALL)["_4"]
    assert_same(found.projection.matrices["_1"], jacobian(lambda x: second(pool(x)), SMALL))


def test_zero_padding_leaves_fewer_synapses_at_the_border() -> None:
    found = populations(headed((1, 4, 4), conv(1, 2), nn.ReLU()), (1, 4, 4))["_1"]
    rows = np.diff(found.projection.matrices["input"].tocsr().indptr)
    assert (
        rows.reshape(2, 4, 4).tolist()
        == [[[4, 6, 6, 4], [6, 9, 9, 6], [6, 9, 9, 6], [4, 6, 6, 4]]] * 2
    )


def test_a_border_that_repeats_the_image_joins_its_synapses() -> None:
    found = populations(
        headed((1, 3, 3), conv(1, 1, padding_mode="reflect"), nn.ReLU()), (1, 3, 3)
    )["_1"]
    assert np.diff(found.projection.matrices["input"].tocsr().indptr).tolist() == [
        4,
        6,
        4,
        6,
        9,
        6,
        4,
        6,
        4,
    ]


@torch.no_grad()
def test_zero_weights_are_no_synapses() -> None:
    ann = headed((1, 4, 4), conv(1, 2), nn.ReLU())
    ann[0].weight[0] = 0
    ann[0].weight[1, 0, 1] = 0
    ann[3].weight[:, :10] = 0
    found = populations(ann, (1, 4, 4))
    inside = np.diff(found["_1"].projection.matrices["input"].tocsr().indptr).reshape(2, 4, 4)[
        :, 1, 1
    ]
    assert inside.tolist() == [0, 6]
    assert found["output"].projection.matrices["_1"].nnz == 5 * 22


@torch.no_grad()
def test_constants_are_the_potentials_of_a_silent_network() -> None:
    ann = randomise(
        headed(
            SMALL, conv(4, 4), norm(), nn.ReLU(), norm(), conv(4, 4), nn.ReLU(), norm(), conv(4, 4)
        )
    )
    ann = ann.double()
    snn = convert(ann, draw(SMALL, -1, 2).double(), input_range=(-1, 2))
    found = {population.name: population for population in connectivity(snn)}
    dark = torch.full((1, *SMALL), -1.0).double()
    assert np.allclose(found["_2"].projection.constant, ann[1](ann[0](dark)).flatten().numpy())
    zeros = torch.zeros(1, 4, 5, 6).double()
    assert np.allclose(found["_5"].projection.constant, ann[4](ann[3](zeros)).flatten().numpy())


def test_a_residual_sum_is_one_more_synapse_of_weight_one() -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        x = F.relu(net.one(x))
        return net.head(F.relu(net.two(F.relu(net.one(x))) + x).flatten(1))

    net = Net(forward, one=conv(4), two=conv(4), head=nn.Linear(120, 5))
    matrices = populations(net, SMALL)["relu_2"].projection.matrices
    assert matrices.keys() == {"relu", "relu_1"}
    assert_same(matrices["relu"], np.eye(120))
    assert_same(matrices["relu_1"], jacobian(net.two, SMALL))


def test_a_value_added_to_itself_counts_twice() -> None:
    net = Net(lambda net, x: F.relu(net.one(x) + net.one(x)).flatten(1), one=conv(4))
    same = Net(lambda net, x: F.relu((y := net.one(x)) + y).flatten(1), one=net.one)
    for ann in (net, same):
        assert_same(
            populations(ann, SMALL)["relu"].projection.matrices["input"],
            2 * jacobian(net.one, SMALL),
        )


def test_spikes_that_travel_together_keep_their_sources() -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        both = torch.cat([(y := F.relu(net.one(x))), y, F.relu(net.two(x))], 1)
        return net.head(F.relu(net.three(F.max_pool2d(both, 2))).flatten(1))

    net = Net(forward, one=conv(4, 2), two=conv(4, 3), three=conv(7, 2), head=nn.Linear(12, 5))
    found = populations(net, SMALL)
    kinds = [(population.kind, population.shape) for population in found.values()]
    assert kinds == [
        ("input", SMALL), ("fire", (2, 5, 6)), ("fire", (3, 5, 6)), ("concatenation", (7, 5, 6)),
        ("pool", (7, 2, 3)), ("fire", (2, 2, 3)), ("output", (5,)),
    ]  # fmt: skip
    assert found["cat"].sources == ("relu", "relu", "relu_1")
    assert found["max_pool2d"].sources == ("cat",)
    assert_same(found["relu_2"].projection.matrices["max_pool2d"], jacobian(net.three, (7, 2, 3)))
    assert_same(found["output"].projection.matrices["relu_2"], net.head.weight.detach().numpy())


def test_potentials_of_several_maps_can_be_joined() -> None:
    net = Net(
        lambda net, x: F.relu(torch.cat([net.one(x), net.two(x)], 1)).flatten(1),
        one=conv(4, 2),
        two=conv(4, 3),
    )
    matrix = populations(net, SMALL)["relu"].projection.matrices["input"]
    assert_same(matrix, np.concatenate([jacobian(net.one, SMALL), jacobian(net.two, SMALL)]))
