"""The van Rossum distance, the target patterns, and a network that learns them."""

import numpy as np
import pytest
import torch

from ttfs.errors import UserError
from ttfs.timed.van_rossum import SpikePatterns, filtered, target_patterns, van_rossum


def train(*times: int, steps: int = 200) -> torch.Tensor:
    spikes = torch.zeros(steps, 1, dtype=torch.float64)
    spikes[list(times)] = 1
    return spikes


def test_the_filter_is_an_exponential():
    assert filtered(train(1, steps=4), 2.0)[:, 0].tolist() == pytest.approx(
        [0, 1, np.exp(-0.5), np.exp(-1)]
    )


@pytest.mark.parametrize("apart", [0, 1, 5, 20])
def test_two_spikes_have_the_closed_distance(apart):
    """D² = (2 / τ) (1 − exp(−Δ / τ)) Σ exp(−2t / τ), which tends to 1 − exp(−Δ / τ)."""
    tau = 5.0
    whole = 1 / (1 - np.exp(-2 / tau))
    expected = 2 / tau * (1 - np.exp(-apart / tau)) * whole
    assert van_rossum(train(3), train(3 + apart), tau).item() == pytest.approx(expected, abs=1e-6)


def test_the_distance_of_several_neurons_is_their_mean():
    first, second = torch.zeros(30, 3), torch.zeros(30, 3)
    first[2], second[[2, 5], [0, 1]] = 1.0, 1.0
    alone = [van_rossum(first[:, i : i + 1], second[:, i : i + 1], 4.0) for i in range(3)]
    assert alone[0] == 0 < min(alone[1:])
    assert van_rossum(first, second, 4.0) == pytest.approx(sum(alone).item() / 3)


def test_an_input_spikes_once_in_the_step_that_the_docstring_says():
    targets = target_patterns(2, 20, 8, 4.0, torch.Generator().manual_seed(0))
    network = SpikePatterns(7, 7, targets, 4.0, 0.9, 2.0)
    with torch.no_grad():
        network.hidden.weight.copy_(2 * torch.eye(7))  # a spike for a spike
        network.hidden.bias.zero_()
    hidden, _ = network.spikes(torch.tensor([[1.0, 0.8, 0.7, 0.4, 0.01, 1e-12, 0.0]]))
    steps = [column.nonzero().flatten().tolist() for column in hidden[:, 0].T]
    assert steps == [[0], [0], [1], [2], [3], [3], []]  # floor((1 - x) 4)


def test_inputs_of_another_range_spike_as_those_on_0_to_1():
    targets = target_patterns(2, 20, 8, 4.0, torch.Generator().manual_seed(0))
    here, there = (
        SpikePatterns(7, 7, targets, 4.0, 0.9, 2.0, r) for r in ((0.0, 1.0), (-2.0, 6.0))
    )
    there.hidden, there.output = here.hidden, here.output
    items = torch.randint(0, 9, (50, 7)) / 8
    for mine, its in zip(here.spikes(items), there.spikes(8 * items - 2), strict=True):
        assert torch.equal(mine, its)


def test_a_network_is_its_equations_step_by_step():
    """V <- beta V (1 - z) + W s + b, z = [V >= 1], and the distance as a sum over the steps."""
    torch.manual_seed(3)
    targets = target_patterns(3, 20, 10, 4.0, torch.Generator().manual_seed(0)).double()
    network = SpikePatterns(12, 15, targets, 3.0, 0.8, 2.0).double()
    items = torch.rand(6, 12, dtype=torch.float64) * (torch.rand(6, 12) > 0.2)
    with torch.no_grad():
        for layer in (network.hidden, network.output):
            layer.weight.mul_(4)
            layer.bias.uniform_(0.0, 0.4)
        hidden, output = network.spikes(items)
        logits = network(items)
    layers = [(x.weight.detach(), x.bias.detach()) for x in (network.hidden, network.output)]
    potentials = [torch.zeros(6, 15).double(), torch.zeros(6, 20).double()]
    trace, distances = torch.zeros(6, 3, 20), torch.zeros(6, 3)
    for t in range(10):
        spikes = ((items > 0) & (((1 - items) * 5).floor() == t)).double()
        for place, (weight, bias) in enumerate(layers):
            potentials[place] = 0.8 * potentials[place] + spikes @ weight.T + bias
            spikes = (potentials[place] >= 1).double()
            assert torch.equal(spikes, (hidden, output)[place][t])
            potentials[place] *= 1 - spikes
        trace = trace * np.exp(-1 / 3) + spikes[:, None] - targets[t]
        distances = distances + trace.square().mean(2) / 3
    assert hidden[5:].any()
    assert output.any()
    assert torch.allclose(logits, -distances, atol=1e-6)


def test_targets_spike_once_and_lie_apart():
    targets = target_patterns(10, 50, 16, 4.0, torch.Generator().manual_seed(0))
    assert targets.shape == (16, 10, 50)
    assert (targets.sum(0) == 1).all()
    assert targets[:8].sum() == 0
    distances = van_rossum(targets[:, :, None], targets[:, None], 4.0)
    others = distances[~torch.eye(10, dtype=torch.bool)]
    assert others.min() > 0.7 * others.mean()


@pytest.mark.parametrize("seed", [0, 2])
def test_targets_are_drawn_until_they_lie_apart(seed):
    """Ten patterns of eight neurons: 84 and 444 draws."""
    first = torch.randint(8, 16, (10, 8), generator=torch.Generator().manual_seed(seed))
    drawn = torch.nn.functional.one_hot(first, 16).permute(2, 0, 1).float()
    targets = target_patterns(10, 8, 16, 4.0, torch.Generator().manual_seed(seed))
    others = ~torch.eye(10, dtype=torch.bool)
    found, mean = (van_rossum(p[:, :, None], p[:, None], 4.0)[others] for p in (targets, drawn))
    assert found.min() >= 0.75 * mean.mean() - 1e-6
    assert mean.min() < 0.75 * mean.mean()


def test_two_classes_have_two_targets():
    """The mean distance of one random pair may be none."""
    for seed in range(100):
        targets = target_patterns(2, 1, 4, 4.0, torch.Generator().manual_seed(seed))
        assert not torch.equal(targets[:, 0], targets[:, 1])


def test_too_few_neurons_are_refused():
    with pytest.raises(UserError, match="key 'outputs': no 20 patterns of 1 neurons lie apart"):
        target_patterns(20, 1, 4, 4.0, torch.Generator().manual_seed(0))


def test_silent_inputs_leave_no_current():
    torch.manual_seed(0)
    targets = target_patterns(3, 20, 8, 4.0, torch.Generator().manual_seed(0))
    network = SpikePatterns(5, 7, targets, 4.0, 0.9, 2.0)
    items = torch.rand(4, 5)
    items[:, 2] = 0
    before = network(items)
    with torch.no_grad():
        network.hidden.weight[:, 2] = 100.0
    assert torch.equal(network(items), before)


def test_it_learns_targets():
    torch.manual_seed(0)
    targets = target_patterns(3, 20, 12, 4.0, torch.Generator().manual_seed(0))
    network = SpikePatterns(30, 40, targets, 4.0, 0.9, 2.0)
    labels = torch.arange(60) % 3
    items = (torch.rand(3, 30)[labels] + 0.05 * torch.rand(60, 30)).clamp(0, 1)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    for _ in range(80):
        optimizer.zero_grad()
        network.loss(network(items), labels).backward()
        optimizer.step()
    logits = network(items).detach()
    assert (logits.argmax(1) == labels).double().mean() > 0.9
    assert network.loss(logits, labels) == pytest.approx(-logits[range(60), labels].mean().item())
