"""`rate` beside SpikingJelly's ann2snn, and `lif` beside snnTorch; docs/methods.md says where they
differ.

Opt-in, for both libraries are large: `make test-peers`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from kit.data import shipped
from torch import Tensor, nn

from ttfs.config import read_named
from ttfs.data import DataSet, load
from ttfs.metrics import accuracy
from ttfs.models import build
from ttfs.studies.networks import Learner, accuracy_on, shuffled
from ttfs.timed import LeakyNetwork, RateNetwork, convert_to_rate, to_leaky

STEPS = (8, 32)
T, BETA, ALPHA = 10, 0.9, 2.0


def optional(name: str) -> Any:
    """Return the library, or skip and say how to have it."""
    return pytest.importorskip(name, reason=f"{name} is not installed; see `make test-peers`")


@pytest.fixture(params=["digits", "mnist"])
def data(request: pytest.FixtureRequest, data_at_hand: Callable[[str], Path]) -> DataSet:
    if request.param == "mnist":
        data_at_hand("MNIST")
    return load(shipped(request.param))


def trained(data: DataSet) -> nn.Module:
    """Return fc2, trained on 400 batches."""
    torch.manual_seed(0)
    ann = build(read_named("model", "fc2", "here"), data.shape, data.classes)
    learner, learned = Learner(ann, torch.optim.Adam(ann.parameters(), 1e-3), growth=1.0), 0
    while learned < 400:
        for batch in shuffled(data, 128, ("peers", learned)):
            learner.learn(*batch)
            learned += 1
    return ann.eval()


@torch.no_grad()
def spikes_and_logits(
    network: nn.Module, neurons: type, images: Tensor, steps: int
) -> tuple[Tensor, Tensor]:
    """Return the spikes of each hidden neuron [N, neurons] of a network of SpikingJelly, and its
    mean logits [N, classes].
    """
    from spikingjelly.activation_based import functional

    spikes: list[Tensor] = []
    (layer,) = (module for module in network.modules() if isinstance(module, neurons))
    hook = layer.register_forward_hook(lambda module, inputs, output: spikes.append(output))
    functional.reset_net(network)
    logits = torch.stack([network(images) for _ in range(steps)]).mean(0)
    hook.remove()
    return torch.stack(spikes).sum(0), logits


@pytest.mark.parametrize(("threshold", "mode"), [("max", "max"), ("quantile", "99.9%")])
def test_a_rate_network_is_that_of_spikingjelly(data: DataSet, threshold: str, mode: str) -> None:
    """Its HalfThresholdIFNode is our neuron. Its default, IFNode, starts at V = 0: it rounds down
    where ours rounds, so that each neuron spikes as often or once less.

    Its quantile is over all activations, ours over those above 0: at a lower threshold it spikes
    more.
    """
    optional("spikingjelly")
    from spikingjelly.activation_based import ann2snn, neuron

    ann = trained(data)
    calibration, _ = next(iter(data.train.batches(1000)))
    rate = convert_to_rate(ann, calibration, threshold, STEPS)
    parts = list(data.test.batches(1000))
    images, labels = (torch.cat(part) for part in zip(*parts, strict=True))
    halves = {True: neuron.HalfThresholdIFNode, False: lambda: neuron.IFNode(v_reset=None)}
    for half, new in halves.items():
        recipe = ann2snn.RateCodingRecipe([calibration], mode, neuron_factory=lambda _, n=new: n())
        peer = ann2snn.Converter(recipe).convert(ann).eval()
        for steps in STEPS:
            theirs, logits = spikes_and_logits(peer, neuron.BaseNode, images, steps)
            ours, own = observed(rate, images, steps)
            off = accuracy(logits, labels) - accuracy(own, labels)
            assert abs(off) <= 0.5, (steps, half, off)
            if half and threshold == "max":
                assert (theirs != ours).double().mean() < 1e-4  # rounding of sums
            elif half:
                assert 1.0 <= theirs.sum() / ours.sum() <= 1.1
            elif threshold == "max":
                fewer = ours - theirs
                assert ((fewer != 0) & (fewer != 1)).double().mean() < 1e-4
                wanted = ann[:-1](images)
                assert error(ours, steps, rate, wanted) < error(theirs, steps, rate, wanted)


def observed(rate: RateNetwork, images: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Return the spikes of each hidden neuron [N, neurons] of ours, and the logits."""
    (layer,) = rate.layers
    seen = [rate.observe(part, steps) for part in images.split(1000)]
    return (
        torch.cat([part.spikes[layer].sum(0) for part in seen]),
        torch.cat([part.logits[-1] for part in seen]),
    )


def error(spikes: Tensor, steps: int, rate: RateNetwork, wanted: Tensor) -> float:
    """Return the mean distance of rates to activations of the ReLU network."""
    (layer,) = rate.layers.values()
    return (layer.threshold * spikes / steps - wanted).abs().mean().item()


class SnnTorch(nn.Module):
    """Layers of `snntorch.Leaky` in its loop over time, on the weights of a network of ours."""

    def __init__(self, network: LeakyNetwork):
        super().__init__()
        import snntorch

        modules = list(network.body.modules())
        self.linear = nn.ModuleList(m for m in modules if isinstance(m, nn.Linear))
        self.norm = nn.ModuleList(m for m in modules if isinstance(m, nn.BatchNorm1d))
        surrogate = snntorch.surrogate.fast_sigmoid(slope=ALPHA)
        beta = torch.tensor(BETA, dtype=torch.float64)
        self.neurons = nn.ModuleList(
            snntorch.Leaky(beta, spike_grad=surrogate, reset_mechanism="zero") for _ in self.norm
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits [N, classes] of images [N, ...]."""
        held = self.norm[0](self.linear[0](images.flatten(1)))
        spikes = self.over_time(0, held.expand(T, *held.shape))
        for place in range(1, len(self.norm)):
            currents = self.linear[place](spikes).flatten(0, 1)
            spikes = self.over_time(place, self.norm[place](currents).unflatten(0, (T, -1)))
        return self.linear[-1](spikes).mean(0)

    def over_time(self, place: int, currents: Tensor) -> Tensor:
        """Return the spikes [T, N, neurons] of currents; `Leaky` makes them float32."""
        potential, spikes = torch.zeros_like(currents[0]), []
        for current in currents:
            spike, potential = self.neurons[place](current, potential)
            spikes.append(spike.to(currents.dtype))
        return torch.stack(spikes)


def losses(network: nn.Module, data: DataSet, epochs: int) -> list[float]:
    """Return the loss of each batch while a network learns, as snnTorch's tutorials train."""
    optimizer = torch.optim.AdamW(network.parameters(), 2e-3, weight_decay=1e-2)
    found = []
    for epoch in range(epochs):
        for images, labels in shuffled(data, 32, ("peers", epoch)):
            loss = F.cross_entropy(network(images.double()), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            found.append(loss.item())
    return found


def test_a_leaky_network_learns_as_one_of_snntorch_does() -> None:
    """In float64 rounding does not tip a spike over, so all losses agree, batch by batch."""
    optional("snntorch")
    data = load(shipped("digits"))
    model = {"id": "made", "layers": "64-64", "initialization": "he-uniform", "batch_norm": "none"}
    networks = []
    for _ in range(2):
        torch.manual_seed(0)
        ann = build({**model, "dropout": 0.0}, data.shape, data.classes).double()
        networks.append(to_leaky(ann, torch.zeros(1, *data.shape).double(), T, BETA, ALPHA))
    ours, peer = networks[0], SnnTorch(networks[1])
    own, theirs = losses(ours, data, 2), losses(peer, data, 2)
    assert own[-1] < own[0] / 2
    assert own == pytest.approx(theirs, rel=1e-9)
    assert accuracy_on(data.test, ours) == accuracy_on(data.test, peer) > 85
