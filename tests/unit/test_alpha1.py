"""α1 neurons: the reparametrisation, its gradient, the exact mapping, and neurons that stall, which
it knows how to.
"""

import copy
import io

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from kit.exactness import IMAGE, LINE, Net, assert_exact, assert_simulated, conv, draw, headed, norm
from torch import Tensor, nn

from ttfs.metrics import fan_out, spikes_per_neuron, synaptic_operations
from ttfs.snn import (
    Alpha1Synapses,
    ConversionError,
    SpikingNetwork,
    Synapses,
    calibrate_,
    convert,
    reference_network,
    stalled_neurons,
    to_alpha1_,
)
from ttfs.snn.alpha1 import Slope

pytestmark = pytest.mark.usefixtures("seed")
SHAPES = [(5, 7), (4, 3, 5), (6, 2, 3, 3)]


def sums(weights: Tensor) -> Tensor:
    return weights.flatten(1).sum(1)


def hidden(snn: SpikingNetwork) -> list[Alpha1Synapses]:
    return [module for module in snn.modules() if isinstance(module, Alpha1Synapses)]


def drawn(ann: nn.Module, images: Tensor) -> SpikingNetwork:
    """The α1 network whose currents are the weights of the ReLU network as they are."""
    snn = convert(ann, images)
    to_alpha1_(snn, drawn=True)
    calibrate_(snn, [images], 0.5)
    return snn


def unbalanced(shape: tuple[int, ...], *modules: nn.Module) -> nn.Module:
    """A network whose neurons have sums of weights on both sides of [-10, 0.99], far out."""
    network = headed(shape, *modules)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear):
                push = torch.linspace(-60, 60, len(module.weight)) / module.weight[0].numel()
                module.weight += push.reshape(-1, *[1] * (module.weight.dim() - 1))
    return network


@pytest.mark.parametrize("shape", SHAPES)
def test_slopes_invert_one_another(shape: tuple[int, ...]) -> None:
    weights = torch.randn(shape).double()
    weights += (
        (torch.rand(shape[0]).double() * 12 - 11 - sums(weights)) / weights[0].numel()
    ).reshape(-1, *[1] * (len(shape) - 1))
    currents = Slope().right_inverse(weights)
    for w, j in zip(weights.flatten(1).numpy(), currents.flatten(1).numpy(), strict=True):
        # W (1 + Σ J) = J is linear in J: (1 - W 1ᵀ) J = W
        assert np.allclose(
            j, np.linalg.solve(np.eye(w.size) - np.outer(w, np.ones(w.size)), w), rtol=1e-9
        )
    assert torch.allclose(Slope()(currents), weights, rtol=1e-12, atol=1e-13)
    free = currents * torch.rand(shape[0]).double().reshape(
        -1, *[1] * (len(shape) - 1)
    )  # any slope above 0
    assert torch.allclose(Slope().right_inverse(Slope()(free)), free, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("total", [1.0, 1.5, 40.0])
def test_a_sum_of_one_or_more_has_no_slope(total: float) -> None:
    weights = torch.tensor([[0.25, 0.25], [total - 0.25, 0.25]])
    with pytest.raises(ValueError, match=f"weights sum to {total:g}; α1 needs sums below 1"):
        Slope().right_inverse(weights)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_gradient_is_the_relu_network_s_rescaled_and_projected(shape: tuple[int, ...]) -> None:
    """dL/dJ_ik = (dL/dW_ik - Σ_j W_ij dL/dW_ij) / B_i (Stanojevic et al. 2024), for any loss."""
    currents = (torch.rand(shape) - 0.3).double()
    currents[0] -= (2 + sums(currents)[0]) / currents[0].numel()  # a slope of -1
    currents.requires_grad_()
    direction = torch.randn(shape).double()

    def loss(weights: Tensor) -> Tensor:
        return (direction * weights).sum().square() + weights.square().sum()

    loss(Slope()(currents)).backward()
    weights = Slope()(currents).detach().requires_grad_()
    loss(weights).backward()
    w, g, j = (value.detach().flatten(1).numpy() for value in (weights, weights.grad, currents))
    for i in range(shape[0]):
        b = 1 + j[i].sum()
        expected = [
            (g[i, k] - (w[i] * g[i]).sum()) / b if b > 0 else 0.0 for k in range(w.shape[1])
        ]
        assert np.allclose(currents.grad.flatten(1)[i], expected, rtol=1e-9, atol=1e-11)


def test_a_mapped_network_learns_by_that_gradient() -> None:
    ann, images = (
        headed(IMAGE, conv(), nn.ReLU(), conv(4, 6), nn.ReLU()).double(),
        draw(IMAGE).double(),
    )
    with torch.no_grad():
        for layer in ann[:4:2]:
            layer.weight.mul_(0.1)  # sums near 0: nothing is rescaled
    snn, labels = convert(ann, images, "alpha1"), torch.randint(0, 5, (12,))
    for network in (ann, snn):
        F.cross_entropy(network(images), labels).backward()
    for layer, synapses in zip(ann[:4:2], hidden(snn), strict=True):
        w, g = layer.weight.detach(), layer.weight.grad
        slope = (1 / (1 - sums(w))).reshape(-1, 1, 1, 1)  # of J = W / (1 - Σ W): 1 + Σ J
        expected = (g - sums(w * g).reshape(-1, 1, 1, 1)) / slope
        assert torch.allclose(synapses.currents.grad, expected, rtol=1e-9, atol=1e-14)
        assert torch.allclose(synapses.weights.bias.grad, layer.bias.grad, rtol=1e-9, atol=1e-14)


EXACT = {
    "dense": (LINE, [nn.Flatten(), nn.Linear(36, 20), nn.ReLU(), nn.Linear(20, 12), nn.ReLU()]),
    "batch norm of features": (
        LINE,
        [
            nn.Flatten(),
            nn.Linear(36, 9),
            nn.BatchNorm1d(9),
            nn.ReLU(),
            nn.BatchNorm1d(9),
            nn.Linear(9, 8),
            nn.ReLU(),
        ],
    ),
    "sequences": (
        LINE,
        [nn.Conv1d(3, 4, 3, padding=2), nn.ReLU(), nn.MaxPool1d(2), nn.Conv1d(4, 6, 2), nn.ReLU()],
    ),
    "stride and groups": (
        IMAGE,
        [conv(3, 6, groups=3, stride=2), nn.ReLU(), conv(6, 4, groups=2), nn.ReLU()],
    ),
    "border that repeats": (
        IMAGE,
        [conv(padding_mode="circular"), nn.ReLU(), conv(4, 4), nn.ReLU()],
    ),
    "batch norm before": (
        IMAGE,
        [conv(bias=False), norm(), nn.ReLU(), conv(4, 4), norm(), nn.ReLU()],
    ),
    "batch norm after": (
        IMAGE,
        [conv(), nn.ReLU(), norm(), conv(4, 4, padding="same"), nn.ReLU(), norm()],
    ),
    "max pools": (
        IMAGE,
        [conv(), nn.MaxPool2d(2), nn.ReLU(), conv(4, 4), nn.ReLU(), nn.MaxPool2d(3, 2, 1)],
    ),
    "latest spikes": (
        IMAGE,
        [conv(), nn.ReLU(), norm(), nn.MaxPool2d(2), norm(), conv(4, 6, groups=2), nn.ReLU()],
    ),
    "flattened before the neurons": (
        IMAGE,
        [conv(), nn.ReLU(), conv(4, 4), nn.Flatten(), nn.ReLU(), nn.Dropout()],
    ),
}


@pytest.mark.parametrize("span", [(0.0, 1.0), (-1.0, 2.0)])
@pytest.mark.parametrize(("shape", "modules"), EXACT.values(), ids=EXACT)
def test_the_mapping_is_exact_whatever_the_weights_sum_to(shape, modules, span) -> None:
    ann = unbalanced(shape, *copy.deepcopy(modules))
    snn = assert_exact(ann, shape, *span, neuron="alpha1")
    folded_network = convert(ann.double(), draw(shape, *span).double(), input_range=span)
    folded = [m for m in folded_network.modules() if isinstance(m, Synapses)]
    before = torch.cat([sums(synapses.weights.weight) for synapses in folded[:-1]])
    after = torch.cat([sums(synapses.weights.weight) for synapses in hidden(snn)])
    assert before.min() < -10 or before.max() > 1  # drawn scales of batch norm turn sides
    assert after.min() >= -10 - 1e-9
    assert after.max() <= 0.99 + 1e-9
    assert stalled_neurons(snn) == 0.0


REFUSED = {
    "residual sum": (lambda net, x: F.relu(net.b(y := F.relu(net.a(x))) + y), "relu"),
    "sum of potentials": (lambda net, x: F.relu(net.a(x) + net.a(x)), "x"),
    "value added to itself": (lambda net, x: F.relu((y := net.a(x)) + y), "add"),
    "mean pool": (lambda net, x: F.avg_pool2d(F.relu(net.a(x)), 3, 1, 1), "avg_pool2d"),
    "concatenation": (
        lambda net, x: F.relu(net.c(torch.cat([y := F.relu(net.a(x)), y], 1))),
        "cat",
    ),
    "batch norm without weights after it": (
        lambda net, x: F.relu(net.n(F.relu(net.a(x)))),
        "relu_1_scale",
    ),
    "neurons that clip": (lambda net, x: F.relu6(net.a(x)), "relu6"),
    "weights after weights": (lambda net, x: F.relu(net.b(net.a(x))), "b"),
}


@pytest.mark.parametrize(("function", "named"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_chain_is_refused_by_name(function, named: str) -> None:
    layers = {
        "a": conv(),
        "b": conv(4),
        "c": conv(8),
        "n": norm().eval(),
        "head": nn.Linear(288, 5),
    }
    net = Net(lambda net, x: net.head(function(net, x).flatten(1)), **layers)
    with pytest.raises(
        ConversionError, match=rf"^{named}: α1 neurons need a chain of weights and neurons in turn"
    ):
        convert(net, draw(IMAGE), "alpha1")
    assert convert(net, draw(IMAGE)).neuron == "b1"  # which has no such need


def test_neurons_in_the_place_of_the_output_are_refused() -> None:
    with pytest.raises(ConversionError, match=r"^_4: .* weights last; use neuron 'b1'$"):
        convert(nn.Sequential(*headed(IMAGE, conv(), nn.ReLU()), nn.ReLU()), draw(IMAGE), "alpha1")


@torch.no_grad()
@pytest.mark.parametrize(("shape", "modules"), EXACT.values(), ids=EXACT)
def test_a_drawn_network_is_simulated_with_its_stalled_neurons(shape, modules) -> None:
    images = draw(shape).double()
    images = images.where(images > 0.3, 0.0)  # dark pixels spike too
    snn = drawn(unbalanced(shape, *copy.deepcopy(modules)).double().eval(), images)
    assert 0 < stalled_neurons(snn) < 1
    assert_simulated(snn, images[:2])


@torch.no_grad()
def test_drawn_currents_are_the_weights_of_the_relu_network() -> None:
    """Whatever they sum to: nothing is scaled."""
    ann, images = unbalanced(IMAGE, conv(), nn.ReLU(), conv(4, 6), nn.ReLU()), draw(IMAGE)
    snn = drawn(ann, images)
    for layer, synapses in zip(ann[:4:2], hidden(snn), strict=True):
        assert torch.equal(synapses.currents, layer.weight)
        assert torch.equal(synapses.weights.bias, layer.bias)
    *_, output = (module for module in snn.modules() if isinstance(module, Synapses))
    assert torch.equal(output.weights.weight, ann[-1].weight)
    assert snn.neuron == "alpha1"


@torch.no_grad()
def test_every_neuron_spikes_once_and_who_has_nothing_to_say_does_so_last() -> None:
    ann, images = (
        unbalanced(IMAGE, conv(), nn.ReLU(), nn.MaxPool2d(2), conv(4, 6), nn.ReLU()).double(),
        draw(IMAGE),
    )
    images = images.double().where(images > 0.3, 0.0)
    for snn in (convert(ann, images, "alpha1"), drawn(ann, images)):
        times, (_, charges) = snn.spike_times(images), snn.charges(images, pooled=True)
        for name, (t_min, t_max) in snn.windows.items():
            assert ((times[name] >= t_min) & (times[name] <= t_max)).all()
            assert torch.equal(times[name] == t_max, charges[name] == 0)
            assert (charges[name] == 0).any()
        assert spikes_per_neuron(snn, images) == 1.0
        synapses = fan_out(snn)
        fired = {name: snn.fired(charge) for name, charge in charges.items()}
        everything = sum(count.sum().item() for count in synapses.values())
        assert synaptic_operations(fired, synapses).tolist() == [everything] * len(images)


def test_stalled_neurons_stay_at_rest_and_learn_nothing() -> None:
    images, labels = draw(IMAGE), torch.randint(0, 5, (12,))
    snn = drawn(headed(IMAGE, conv(), nn.ReLU(), conv(4, 6), nn.ReLU()), images)
    first, second = hidden(snn)
    with torch.no_grad():
        first.currents.abs_()
        first.currents[:] *= 0.1
        second.currents.abs_()
        second.currents[1] *= (
            -1 / second.currents[1].sum()
        )  # a slope of 0, up to rounding, or below
        second.currents[1, 0, 0, 0] -= 1e-3
        second.currents[4] *= -100 / second.currents[4].sum()
        second.weights.bias.fill_(0.5)
    for layer in snn.layers.values():
        layer.width = float("inf")
    stalled = torch.tensor([1, 4])
    loss = F.cross_entropy(snn(images), labels)
    loss.backward()
    assert loss.isfinite()
    assert stalled_neurons(snn) == 2 / 10
    assert (second(torch.rand(3, 4, 9, 8))[:, stalled] == 0).all()
    assert (second.weights.weight[stalled] == 0).all()
    for parameter in (second.currents, second.weights.bias):
        assert (parameter.grad[stalled] == 0).all()
        assert all(row.any() for i, row in enumerate(parameter.grad) if i not in stalled)
    assert all(parameter.grad.isfinite().all() for parameter in snn.parameters())
    assert stalled_neurons(convert(headed(IMAGE, conv(), nn.ReLU()), images)) == 0.0


def test_a_slope_of_exactly_zero_never_reaches_the_threshold_either() -> None:
    ann, inputs = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1)), torch.rand(4, 2)
    with torch.no_grad():
        ann[0].weight.copy_(torch.tensor([[-0.25, -0.75], [0.5, 0.25]]))  # 1 + Σ J is 0 and 1.75
        ann[0].bias.fill_(0.5)
    snn = drawn(ann, inputs)
    [synapses] = hidden(snn)
    assert stalled_neurons(snn) == 0.5
    assert synapses.weights.weight[0].tolist() == [0.0, 0.0]
    potential = synapses(inputs)
    assert (potential[:, 0] == 0).all()
    potential.sum().backward()
    assert synapses.currents.grad[0].tolist() == [0.0, 0.0]
    assert synapses.currents.grad[1].all()
    assert synapses.weights.bias.grad.tolist() == [0.0, 4.0]


def test_neurons_without_weights_are_mapped_too() -> None:
    """Their sum is 0, which no scale changes."""
    ann = unbalanced(IMAGE, conv(), nn.ReLU(), conv(4, 6), nn.ReLU())
    with torch.no_grad():
        ann[0].weight[2] = 0.0
        ann[2].weight[:3] = 0.0
    assert_exact(ann, IMAGE, neuron="alpha1")


@torch.no_grad()
def test_copies_and_checkpoints_keep_the_currents() -> None:
    images = draw(IMAGE)
    layers = [conv(), norm(), nn.ReLU(), norm(), nn.MaxPool2d(2), conv(4, 6), nn.ReLU()]
    snn = convert(unbalanced(IMAGE, *layers).eval(), images, "alpha1")
    logits, twin, file = snn(images), copy.deepcopy(snn), io.BytesIO()
    torch.save(snn.state_dict(), file)
    file.seek(0)
    other = convert(headed(IMAGE, *copy.deepcopy(layers)).eval(), images[:1] * 0, "alpha1")
    other.load_state_dict(torch.load(file, weights_only=True))
    for same in (twin, other):
        assert same.neuron == "alpha1"
        assert same.windows == snn.windows
        assert torch.equal(same(images), logits)
    for synapses in hidden(twin):
        synapses.currents.mul_(0.5)
    assert not torch.equal(twin(images), logits)
    assert torch.equal(snn(images), logits)


@torch.no_grad()
def test_the_reference_network_has_the_same_stalled_neurons() -> None:
    ann, images = unbalanced(IMAGE, conv(), nn.ReLU(), conv(4, 6), nn.ReLU()), draw(IMAGE)
    snn = drawn(ann, images)
    assert stalled_neurons(snn) > 0
    assert torch.equal(reference_network(snn)(images), snn(images))
