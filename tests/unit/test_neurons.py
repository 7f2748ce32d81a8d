"""The modules a TTFS network is made of, by hand."""

import numpy as np
import pytest
import torch
from torch import nn

from ttfs.snn import EarliestSpike, Encode, Fire, OneToOne, Synapses


def test_encode_spikes_earlier_for_brighter_pixels() -> None:
    pixels = torch.tensor([[-3.0, 0.0, 1.5, 3.0, 7.0, -9.0]])
    assert Encode(-3, 3)(pixels).tolist() == [[0.0, 0.5, 0.75, 1.0, 1.0, 0.0]]
    assert Encode(0, 1)(torch.tensor([[0.0, 0.25, 1.0, 1.5]])).tolist() == [[0.0, 0.25, 1.0, 1.0]]


def test_fire_is_a_relu_that_ends_at_the_opening() -> None:
    potential = torch.tensor([-1.0, 0.0, 0.5, 2.0, 3.0], requires_grad=True)
    charge = Fire(2.0)(potential)
    assert charge.tolist() == [0.0, 0.0, 0.5, 2.0, 2.0]
    charge.sum().backward()
    assert potential.grad.tolist() == [
        0.0,
        0.0,
        1.0,
        0.0,
        0.0,
    ]  # at exactly 0 ReLU's subgradient, 0


def test_neurons_that_clip_have_no_wider_window_and_may_have_a_shorter_one() -> None:
    potential = torch.tensor([1.0, 3.0, 7.0])
    assert Fire(8.0, ceiling=6.0)(potential).tolist() == [1.0, 3.0, 6.0]
    assert Fire(2.0, ceiling=6.0)(potential).tolist() == [1.0, 2.0, 2.0]


def test_fire_with_an_open_window_is_relu() -> None:
    potential = torch.randn(100, requires_grad=True)
    assert torch.equal(Fire()(potential), potential.relu())


def test_fire_keeps_its_window_in_the_state() -> None:
    fire = Fire()
    fire.load_state_dict(Fire(2.5).state_dict())
    assert fire.width == 2.5
    assert repr(fire) == "Fire(width=2.5)"


def test_synapses_add_one_bias_a_neuron_or_a_map() -> None:
    conv = nn.Conv2d(1, 2, 3, padding=1, bias=False)
    charges, bias_map = torch.rand(3, 1, 4, 4), torch.randn(2, 4, 4)
    assert torch.equal(Synapses(conv)(charges), conv(charges))
    assert torch.equal(Synapses(conv, bias_map)(charges), conv(charges) + bias_map)
    assert len(list(Synapses(conv, bias_map).parameters())) == 2


def test_one_to_one_scales_and_shifts() -> None:
    synapses = OneToOne(torch.tensor([2.0, -1.0]), torch.tensor([0.5, 0.0]))
    assert synapses(torch.tensor([[1.0, 3.0]])).tolist() == [[2.5, -3.0]]


@pytest.mark.parametrize(
    ("sign", "passed"), [(None, [[4.0, 3.0]]), ([1, -1], [[4.0, 0.0]]), ([-1, -1], [[1.0, 0.0]])]
)
def test_the_earliest_spike_passes_or_where_the_sign_is_negative_the_latest(sign, passed) -> None:
    charges = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]], [[0.0, 1.0], [3.0, 2.0]]]])
    sign = None if sign is None else torch.tensor(sign).float().reshape(2, 1, 1)
    assert EarliestSpike(nn.MaxPool2d(2), sign)(charges).flatten(1).tolist() == passed


@pytest.mark.parametrize(
    "pool",
    [nn.MaxPool2d(kernel) for kernel in (1, 2, 3, (1, 2), [3, 2], 7, (2,), np.int64(2))]
    + [nn.MaxPool2d(2, stride=stride) for stride in (1, 2, 3, (2, 3), (2,), [])]
    + [nn.MaxPool2d(2, padding=1), nn.MaxPool2d(2, padding=(0,)), nn.MaxPool2d(2, dilation=2)]
    + [nn.MaxPool2d(4, ceil_mode=True), nn.AdaptiveMaxPool2d(2), nn.MaxPool2d(2, dilation=[1])],
    ids=str,
)
def test_max_pooling_outside_training_is_torchs(pool) -> None:
    charges = torch.randn(3, 2, 15, 14).relu()
    charges[0, 0, 4, 5], charges[0, 1, 0, 0] = torch.nan, -torch.inf
    found, expected = EarliestSpike(pool)(charges), pool(charges)
    assert torch.equal(found.nan_to_num(-9.0), expected.nan_to_num(-9.0))
    assert found.data_ptr() != charges.data_ptr()  # what changes it in place leaves the charges


def test_a_max_pool_of_another_class_does_as_it_says() -> None:
    class Doubled(nn.MaxPool2d):
        def forward(self, values: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(values)

    assert EarliestSpike(Doubled(2))(torch.ones(1, 1, 2, 2)).tolist() == [[[[2.0]]]]


def test_a_max_pool_refuses_what_torchs_refuses() -> None:
    with pytest.raises(RuntimeError, match="Output size is too small"):
        EarliestSpike(nn.MaxPool2d(5))(torch.rand(1, 1, 4, 8))
    with pytest.raises(RuntimeError, match="3D or 4D"):
        EarliestSpike(nn.MaxPool2d(2))(torch.rand(8, 8))


@pytest.mark.filterwarnings("ignore:`torch.jit.script:FutureWarning")  # torch.func loads it
def test_gradients_of_a_max_pool_go_to_one_of_the_neurons_that_tie() -> None:
    pool, charges = nn.MaxPool2d(2), torch.randint(0, 2, (2, 1, 4, 4)).float()
    learning = charges.clone().requires_grad_()
    EarliestSpike(pool)(learning).sum().backward()
    assert learning.grad.sum() == 8
    assert torch.equal(learning.grad, torch.func.grad(lambda x: pool(x).sum())(charges))
    for jacobian in (torch.func.jacfwd, torch.func.jacrev):
        found, expected = jacobian(EarliestSpike(pool))(charges), jacobian(pool)(charges)
        assert torch.equal(found, expected)


def test_padding_never_wins_a_race() -> None:
    pool = EarliestSpike(nn.MaxPool2d(2, 2, 1), -torch.ones(1, 1, 1))
    assert pool(torch.full((1, 1, 2, 2), 5.0)).tolist() == [[[[5.0, 5.0], [5.0, 5.0]]]]


def test_a_turned_pool_follows_the_product_of_signs() -> None:
    sign = torch.tensor([1.0, -1.0, -1.0]).reshape(3, 1, 1)
    pool = EarliestSpike(nn.MaxPool2d(2))
    assert torch.equal(pool.turned(sign).sign, sign)
    assert pool.turned(sign).turned(sign.flip(0)).sign.flatten().tolist() == [-1, 1, -1]


def test_images_inside_the_range_are_their_charges() -> None:
    """They are looked at once, not copied; others are clipped, and rescaled ones may be."""
    images = torch.rand(2, 3)
    assert Encode(0, 1)(images, inside=True) is images
    assert torch.equal(Encode(0, 1)(images), images)
    assert Encode(0, 1)(torch.tensor([[0, 1]]), inside=True).dtype == torch.float32
    assert Encode(0.0, 0.7)(torch.tensor([[0.7]]), inside=True).max() <= 1
