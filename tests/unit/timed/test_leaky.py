"""Leaky neurons: their equation, the surrogate gradient, batch norm over time, and the networks."""

import copy
import random
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from kit.exactness import IMAGE, Net, conv, draw, headed, norm, randomise
from kit.learning import make_data
from kit.random_networks import RandomNetwork
from torch import nn

import ttfs
from ttfs.errors import UserError
from ttfs.methods.lif import LIF
from ttfs.metrics import fan_out, synaptic_operations
from ttfs.models import build
from ttfs.timed import leaky, to_leaky
from ttfs.training.optimizers import schedule

pytestmark = pytest.mark.usefixtures("seed")


def by_hand(currents: list[float], beta: float) -> list[float]:
    """The definition, one neuron, number by number."""
    potential, spike, spikes = 0.0, 0.0, []
    for current in currents:
        potential = beta * potential * (1.0 - spike) + current
        spike = 1.0 if potential >= 1.0 else 0.0
        spikes.append(spike)
    return spikes


@pytest.mark.parametrize("beta", [0.0, 0.7, 1.0])
def test_spikes_follow_the_definition(beta):
    currents = torch.rand(20, 30, dtype=torch.float64)
    wanted = [by_hand(column.tolist(), beta) for column in currents.T]
    assert leaky(currents, beta, 2.0).T.tolist() == wanted


def test_the_gradient_of_one_step_is_the_surrogate():
    currents = torch.randn(1, 50, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(leaky(currents, 0.9, 3.0).sum(), currents)
    wanted = 1 / (1 + 3.0 * (currents.detach() - 1).abs()) ** 2
    assert torch.allclose(gradient, wanted, rtol=1e-12)


def test_the_gradient_flows_back_through_the_leak_but_not_through_the_reset():
    """dz[1]/dI[0] = s(V[1]) β (1 - z[0]), s the surrogate, V[1] = β V[0] (1 - z[0]) + I[1]."""
    currents = torch.tensor([[0.4, 1.3], [0.5, 0.5]], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(leaky(currents, 0.8, 2.0)[1].sum(), currents)
    silent = 0.8 / (1 + 2.0 * abs(0.8 * 0.4 + 0.5 - 1)) ** 2
    assert gradient[0].tolist() == pytest.approx([silent, 0.0])


class Spike(torch.autograd.Function):
    """A step function, and in its place a surrogate for the gradient."""

    @staticmethod
    def forward(context, distance, alpha):
        context.save_for_backward(distance)
        context.alpha = alpha
        return (distance >= 0).to(distance.dtype)

    @staticmethod
    def backward(context, by_spike):
        (distance,) = context.saved_tensors
        return by_spike / (1 + context.alpha * distance.abs()) ** 2, None


def by_autograd(currents: torch.Tensor, beta: float, alpha: float) -> torch.Tensor:
    """The definition, step by step, where autograd finds the gradient."""
    potential, spikes = torch.zeros_like(currents[0]), []
    for current in currents:
        potential = beta * potential + current
        spikes.append(Spike.apply(potential - 1.0, alpha))
        potential = potential * (1.0 - spikes[-1].detach())
    return torch.stack(spikes)


@pytest.mark.parametrize("shape", [(1, 7), (12, 5, 6), (9, 4, 3, 5, 5)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_spikes_and_gradients_are_those_of_autograd_bit_for_bit(shape, dtype):
    beta, alpha = torch.rand(2).mul(4).add(0.1).tolist()
    beta = min(beta, 1.0)
    currents = torch.randn(shape, dtype=dtype, requires_grad=True)
    by_spikes = torch.randn(shape, dtype=dtype)
    spikes, wanted = leaky(currents, beta, alpha), by_autograd(currents, beta, alpha)
    assert torch.equal(spikes, wanted)
    ours, theirs = (torch.autograd.grad(x, currents, by_spikes)[0] for x in (spikes, wanted))
    assert torch.equal(ours, theirs)


def test_potentials_of_half_precision_are_summed_in_float32():
    currents = torch.full((1000, 1), 0.0019, dtype=torch.bfloat16, requires_grad=True)
    spikes, wanted = leaky(currents, 1.0, 2.0), leaky(currents.float(), 1.0, 2.0)
    assert wanted.sum() == 1  # steps of 0.0019 vanish beside 1 in bfloat16
    assert spikes.dtype == torch.bfloat16
    assert torch.equal(spikes.float(), wanted)
    ours, theirs = (torch.autograd.grad(x.sum(), currents)[0].float() for x in (spikes, wanted))
    torch.testing.assert_close(ours, theirs, rtol=0.02, atol=0)


def test_batch_norm_has_one_statistic_for_all_steps():
    ann = headed(IMAGE, conv(), norm(), nn.ReLU(), conv(4, 6), nn.ReLU())
    network = to_leaky(ann, draw(IMAGE)[:1], steps=5)
    images, seen = draw(IMAGE), []
    *_, last = [m for name, m in network.named_modules() if name.endswith("_norm")]
    last.register_forward_hook(lambda module, inputs, output: seen.append((inputs[0], output)))
    network(images)
    (currents, normalized), *_ = seen
    assert currents.shape[0] == 5 * len(images)
    assert torch.allclose(last.running_mean, 0.1 * currents.mean((0, 2, 3)), atol=1e-6)
    assert normalized.mean((0, 2, 3)).abs().max() < 1e-5


class Loop(nn.Module):
    """A layer of leaky neurons by its equations: batch norm over all steps, then step by step."""

    def __init__(self, channels: int, steps: int, beta: float, alpha: float):
        super().__init__()
        self.norm = nn.BatchNorm1d(channels)
        self.steps, self.beta, self.alpha = steps, beta, alpha

    def forward(self, currents):
        channels_last = currents.movedim(1, -1)  # [T N, ..., C]
        normal = self.norm(channels_last.flatten(0, -2)).reshape(channels_last.shape)
        potential, spikes = torch.zeros(()), []
        for current in normal.movedim(-1, 1).unflatten(0, (self.steps, -1)):
            potential = potential + current
            off = potential - 1
            soft = off / (1 + self.alpha * off.abs())  # its slope is the surrogate
            spikes.append((off >= 0) + (soft - soft.detach()))
            potential = self.beta * potential * (off < 0)
        return torch.cat(spikes)


@pytest.mark.parametrize("flat", [True, False], ids=["vectors", "maps"])
def test_a_network_is_that_of_a_loop_over_time(flat):
    if flat:
        layers = [nn.Flatten(), nn.Linear(216, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU()]
        last = nn.Linear(5, 4)
    else:
        layers = [conv(3, 6), nn.ReLU(), nn.MaxPool2d(2), conv(6, 5), nn.ReLU(), nn.Flatten()]
        last = nn.Linear(5 * 4 * 4, 4)
    ann = nn.Sequential(*layers, last).double()
    images, labels = draw(IMAGE, -1.0, 1.0, n=7).double(), torch.randint(0, 4, (7,))
    network = to_leaky(ann, images, 5, 0.8, 3.0, (-1.0, 1.0))
    assert network.training
    neurons = iter([Loop(6, 5, 0.8, 3.0).double(), Loop(5, 5, 0.8, 3.0).double()])
    loop = nn.Sequential(*(next(neurons) if type(m) is nn.ReLU else m for m in ann))

    def logits() -> torch.Tensor:
        return loop(images.repeat(5, 1, 1, 1)).unflatten(0, (5, -1)).mean(0)

    found, wanted = network(images), logits()
    assert torch.allclose(found, wanted, atol=1e-12)
    F.cross_entropy(found, labels).backward()
    F.cross_entropy(wanted, labels).backward()
    norms = [network.body.get_submodule(f"{name}_norm") for name in network.layers]
    loops = [module.norm for module in loop if isinstance(module, Loop)]
    for one, other in zip(norms, loops, strict=True):
        assert torch.allclose(one.weight.grad, other.weight.grad, atol=1e-12)
        assert torch.allclose(one.bias.grad, other.bias.grad, atol=1e-12)
        assert torch.allclose(one.running_mean, other.running_mean, atol=1e-12)
    head = [m for m in network.modules() if isinstance(m, nn.Linear)][-1]
    assert torch.allclose(head.weight.grad, last.weight.grad, atol=1e-12)
    assert torch.allclose(norms[-1].running_var, loops[-1].running_var, atol=1e-12)
    for one, other in zip(norms, loops, strict=True):  # the first has N values of its currents
        other.running_var = one.running_var
    network.eval(), loop.eval()
    assert torch.allclose(network(images), logits(), atol=1e-12)


class Twice(nn.Module):
    """A residual block whose one ReLU is called twice, as torchvision's is."""

    def __init__(self):
        super().__init__()
        self.relu, self.first, self.norm = nn.ReLU(), conv(3, 3), norm(3)
        self.head = nn.Linear(3 * 9 * 8, 5)

    def forward(self, x):
        y = F.max_pool2d(self.relu(self.norm(self.first(x))), 3, 1, 1)
        return self.head(self.relu(self.first(y) + y).flatten(1))


def networks() -> list[nn.Module]:
    chain = headed(IMAGE, conv(), norm(), nn.ReLU(), nn.MaxPool2d(2), conv(4, 6), nn.ReLU())
    joined = Net(
        lambda n, x: n.out(
            torch.cat([F.relu(n.a(x)), F.avg_pool2d(F.relu(n.b(x)), 3, 1, 1)], 1).flatten(1)
        ),
        a=conv(), b=conv(), out=nn.Linear(8 * 9 * 8, 5),
    )  # fmt: skip
    preactivated = Net(  # the sum is not fired: the next sum reads it too
        lambda n, x: n.out(((h := n.a(x)) + n.b(n.relu(h))).flatten(1)),
        a=conv(), relu=nn.ReLU(), b=conv(4, 4), out=nn.Linear(4 * 9 * 8, 5),
    )  # fmt: skip
    larger = Net(  # of two potentials: pairs of neurons, and the branches side by side
        lambda n, x: n.out(torch.maximum(n.a(x), n.b(x)).flatten(1)),
        a=conv(), b=conv(), out=nn.Linear(4 * 9 * 8, 5),
    )  # fmt: skip
    return [chain, Twice(), joined, preactivated, larger]


@pytest.mark.parametrize("which", range(5))
def test_networks_learn_and_their_spikes_meet_their_synapses(which):
    network = to_leaky(randomise(networks()[which]), draw(IMAGE)[:1], steps=4)
    images, labels = draw(IMAGE, n=16), torch.randint(0, 5, (16,))
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    losses = []
    for _ in range(40):
        loss = F.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    learned = [p.grad for p in network.parameters() if p.requires_grad]
    assert all(grad is not None and grad.isfinite().all() for grad in learned)
    network.eval()
    seen = network.observe(images)
    counts = fan_out(ttfs.convert(networks()[which], images))
    fired = seen.fired(4)
    assert counts.keys() == fired.keys()
    assert all(counts[name].shape == fired[name].shape[1:] for name in counts)
    assert synaptic_operations(fired, counts).min() > 0
    assert torch.allclose(seen.logits[-1], network(images), atol=1e-5)
    again = copy.deepcopy(network)
    assert torch.equal(again(images, 3), network(images, 3))
    assert torch.equal(again.observe(images, 2).logits, network.observe(images, 2).logits)


@pytest.mark.parametrize("number", range(6))
def test_a_network_is_observed_as_it_runs_whatever_its_graph(number):
    ann = RandomNetwork(steps=random.randint(3, 12))
    network, images = to_leaky(ann, draw(IMAGE, n=4), steps=3).eval(), draw(IMAGE, n=4)
    seen = network.observe(images)
    assert torch.allclose(seen.logits[-1], network(images), atol=1e-5)
    assert set(network.layers) <= set(seen.fired(3))


def test_synapses_are_counted_as_trained_not_as_drawn(tmp_path, monkeypatch):
    """The last convolution of a `pre` block is drawn as 0, which is no synapse."""
    config = {"id": "pre", "residual": {"width": 2, "block": "pre", "depth": 8}}
    data = make_data(tmp_path, monkeypatch)
    job = SimpleNamespace(
        build=lambda: build(config, data.shape, data.classes), data=data, device="cpu",
        options={"steps": 3, "beta": 0.9, "alpha": 2.0, "train": {"select": "last"}},
        curve=lambda: [{"epoch": 1.0, "validation_accuracy": 50.0}],
    )  # fmt: skip
    ann = job.build()
    for name, weight in ann.named_parameters():
        if name.endswith("conv2.weight"):
            nn.init.normal_(weight)
    network = to_leaky(ann, draw((1, 4, 4))[:1], steps=3).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.bias)  # enough to spike
    monkeypatch.setattr(LIF, "load", lambda kind, job: network)
    rows = LIF("lif").evaluate(job)
    [found] = [r["value"] for r in rows if r["metric"] == "synaptic_operations" and len(r) == 2]
    items, _ = next(iter(data.test.batches(100)))
    fired = network.observe(items, 3).fired(3)
    wanted = synaptic_operations(fired, fan_out(ttfs.convert(ann, items)))
    assert fired["block1_1_relu2"].sum() > 0
    assert found == pytest.approx(wanted.mean().item())


def test_each_call_of_a_shared_relu_is_a_layer():
    network = to_leaky(Twice(), draw(IMAGE)[:1])
    assert list(network.layers) == ["relu", "relu_1"]


def test_the_relu_network_is_left_as_it_is():
    ann = headed(IMAGE, conv(), nn.ReLU()).train()
    before = copy.deepcopy(ann.state_dict())
    network = to_leaky(ann, draw(IMAGE)[:1])
    network(draw(IMAGE)).sum().backward()
    assert all(torch.equal(before[key], value) for key, value in ann.state_dict().items())
    assert all(p.grad is None for p in ann.parameters())
    assert ann.training


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"steps": 0}, "steps is 0"),
        ({"alpha": 0.0}, "alpha is 0.0; the steepness of the surrogate is above 0"),
        ({"alpha": -2.0}, "alpha is -2.0"),
        ({"alpha": float("inf")}, "alpha is inf"),
        ({"beta": -0.1}, "beta is -0.1"),
        ({"beta": 1.5}, "beta is 1.5; the share that stays from step to step is 0 to 1"),
    ],
)
def test_values_out_of_range_are_refused(options, said):
    with pytest.raises(UserError, match=said):
        to_leaky(headed(IMAGE, conv(), nn.ReLU()), draw(IMAGE)[:1], **options)


def test_what_has_no_ttfs_form_is_refused_by_name():
    with pytest.raises(ttfs.ConversionError, match=r"1 \(Sigmoid\) cannot be mapped"):
        to_leaky(headed(IMAGE, conv(), nn.Sigmoid()), draw(IMAGE)[:1])


def test_one_cycle_is_that_of_torch():
    factor = schedule({"schedule": "one-cycle", "warmup": None}, steps=10**6, epochs=1)

    def rate(share: float) -> float:
        return factor(round(share * 10**6))

    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], 0.5)
    wanted = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 0.5, total_steps=101, cycle_momentum=False
    )
    for step in range(101):
        # torch turns at step 0.3 * 101 - 1, and ends at 1e-4 of the start
        share = step / 29.3 * 0.3 if step <= 29.3 else 0.3 + 0.7 * (step - 29.3) / (100 - 29.3)
        assert 0.5 * rate(share) == pytest.approx(wanted.get_last_lr()[0], abs=5e-6)
        optimizer.step()
        if step < 100:
            wanted.step()
