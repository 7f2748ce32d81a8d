"""Each metric against a count done another way: by hand, or by brute force on a network with all
connections.
"""

import math

import pytest
import torch
from torch import Tensor, nn

import ttfs
from ttfs.errors import UserError
from ttfs.metrics import (
    METRICS,
    Seen,
    Subject,
    accuracy,
    agreement,
    fan_out,
    measure,
    spikes_per_neuron,
    synaptic_operations,
)
from ttfs.metrics.balanced import balanced_accuracy, macro_f1
from ttfs.metrics.selection import kept_epoch
from ttfs.snn import INPUT, OUTPUT, EarliestSpike, Fire, SpikingNetwork


class Everything(nn.Module):
    """Padding, stride, groups, max pool, residual sum, concatenation, average pool, batch norm on
    both sides.
    """

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)
        )
        self.left = nn.Sequential(
            nn.Conv2d(4, 4, 3, padding=1, groups=2), nn.ReLU(), nn.BatchNorm2d(4)
        )
        self.right = nn.Sequential(nn.Conv2d(4, 2, 2, stride=2), nn.ReLU())
        self.joined = nn.Sequential(nn.Flatten(), nn.Linear(6 * 4, 7), nn.ReLU(), nn.Linear(7, 3))
        self.pool, self.relu = nn.AvgPool2d(2), nn.ReLU()

    def forward(self, images: Tensor) -> Tensor:
        first = self.first(images)
        summed = self.relu(self.left(first) + first)
        return self.joined(torch.cat([self.pool(summed), self.right(first)], 1))


@pytest.fixture(scope="module")
def ann() -> nn.Module:
    torch.manual_seed(3)
    net = Everything().double().eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            module.weight.data.normal_()
    net.first[0].weight.data[0, 0] = 0.0  # synapses that are not there
    net.joined[1].weight.data[2, ::3] = 0.0
    return net


@pytest.fixture(scope="module")
def images() -> Tensor:
    pixels = torch.rand(5, 2, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    return pixels.where(pixels > 0.3, 0.0)


@pytest.fixture(scope="module")
def snn(ann: nn.Module, images: Tensor) -> SpikingNetwork:
    return ttfs.convert(ann, images)


@pytest.fixture(scope="module")
def synapses(snn: SpikingNetwork) -> dict[tuple[str, str], Tensor]:
    """{(source, target): weights [targets, sources]}: the slope of each potential in each charge,
    by autograd.
    """
    charges: dict[str, Tensor] = {
        INPUT: torch.rand(1, 2, 8, 8, dtype=torch.float64, requires_grad=True)
    }
    potentials: dict[str, Tensor] = {}
    handles = []

    def cut(name: str):  # each population's charges become inputs of their own
        def hook(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
            if isinstance(module, Fire):
                potentials[name] = inputs[0]
            charges[name] = torch.rand_like(output).requires_grad_()
            return charges[name]

        return hook

    for name, module in snn.body.named_modules():
        if isinstance(module, Fire | EarliestSpike):
            handles.append(module.register_forward_hook(cut(name)))
    potentials[OUTPUT] = snn.body(charges[INPUT])
    for handle in handles:
        handle.remove()
    found = {}
    for target, potential in potentials.items():
        for source, charge in charges.items():
            rows = [
                torch.autograd.grad(p, charge, retain_graph=True, allow_unused=True)[0]
                for p in potential.flatten()
            ]
            if rows[0] is not None:
                found[source, target] = torch.stack([row.flatten() for row in rows])
    return found


def test_fan_out_counts_the_nonzero_slopes(snn: SpikingNetwork, synapses):
    counted = fan_out(snn)
    by_slope = {name: torch.zeros_like(count).flatten() for name, count in counted.items()}
    for (source, _), slopes in synapses.items():
        by_slope[source] += (slopes != 0).sum(0)
    assert len(counted) == 1 + 5 + 1  # the input, five layers of neurons, one max pool
    for name, count in counted.items():
        assert torch.equal(count.flatten(), by_slope[name]), name
    held_back = next(
        name for name, shape in ((n, c.shape) for n, c in counted.items()) if shape == (4, 8, 8)
    )
    assert (
        counted[held_back].sum() == 0
    )  # before the pool: only what the pool lets pass reaches synapses


def test_fan_out_of_a_padded_convolution_at_corner_edge_and_centre():
    net = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(50, 4))
    snn = ttfs.convert(net, torch.rand(2, 1, 5, 5))
    counted = fan_out(snn)
    assert [counted[INPUT][0, row, column].item() for row, column in ((0, 0), (0, 2), (2, 2))] == [
        8,
        12,
        18,
    ]
    [hidden] = snn.layers
    assert counted[hidden].unique().tolist() == [4]


def test_fan_out_of_a_concatenation_is_that_of_its_parts_in_order():
    class Joined(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.out = nn.Linear(2, 3), nn.Linear(2, 2), nn.Linear(5, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(torch.cat([self.a(x).relu(), self.b(x).relu()], 1))

    net = Joined()
    for column, count in enumerate((4, 3, 2, 1, 0)):
        net.out.weight.data[count:, column] = 0.0
    counted = fan_out(ttfs.convert(net, torch.rand(3, 2)))
    assert [count.tolist() for count in counted.values()] == [[5, 5], [4, 3, 2], [1, 0]]


def test_fan_out_counts_all_places_of_a_concatenation_and_what_is_read_past_it():
    class Joined(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.out = nn.Linear(2, 3), nn.Linear(3, 2), nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            a = self.a(x).relu()
            return self.out(torch.cat([a, self.b(a).relu(), a], 1))

    net = Joined()
    net.out.weight.data[:3, 5] = 0.0  # of the first neuron at its second place
    counted = fan_out(ttfs.convert(net, torch.rand(3, 2)))
    assert [count.tolist() for count in counted.values()] == [[3, 3], [2 + 4 + 1, 10, 10], [4, 4]]


def test_synaptic_operations_are_spikes_times_synapses(
    snn: SpikingNetwork, images: Tensor, synapses
):
    with torch.no_grad():
        _, charges = snn.charges(images, pooled=True)
    expected = [
        sum(
            int((slopes != 0)[:, charges[source][image].flatten() > 0].sum())
            for (source, _), slopes in synapses.items()
        )
        for image in range(len(images))
    ]
    assert synaptic_operations(fired(snn, images, pooled=True), fan_out(snn)).tolist() == expected
    assert min(expected) > 0


def test_no_spike_no_operation(snn: SpikingNetwork, images: Tensor):
    _, charges = snn.charges(images, pooled=True)
    silent = {name: torch.zeros_like(charge, dtype=torch.bool) for name, charge in charges.items()}
    assert synaptic_operations(silent, fan_out(snn)).tolist() == [0.0] * len(images)


def fired(snn: SpikingNetwork, images: Tensor, pooled: bool = False) -> dict[str, Tensor]:
    return {name: snn.fired(charge) for name, charge in snn.charges(images, pooled)[1].items()}


def test_a_spike_is_an_active_relu(ann: nn.Module, snn: SpikingNetwork, images: Tensor):
    active: list[Tensor] = []
    relus = [module for module in ann.modules() if isinstance(module, nn.ReLU)]
    handles = [
        relu.register_forward_hook(lambda module, inputs, output: active.append(output > 0))
        for relu in relus
    ]
    ann(images)
    for handle in handles:
        handle.remove()
    spikes, neurons = (
        sum(int(layer.sum()) for layer in active),
        sum(layer[0].numel() for layer in active),
    )
    assert spikes_per_neuron(snn, images) == spikes / (neurons * len(images))


def measured(snn: SpikingNetwork, images: Tensor, size: int, **subject) -> dict[tuple, float]:
    """{(metric, layer or class): value} of all meters, over batches of a size."""
    labels = torch.arange(len(images)) % 3

    def batches():
        for part, labels_ in zip(images.split(size), labels.split(size), strict=True):
            logits = snn(part)
            yield Seen(labels_, logits, logits, fired(snn, part, pooled=True))

    rows = measure(Subject(3, tuple(snn.layers), **subject), batches())
    return {(row["metric"], row.get("layer", row.get("class"))): row["value"] for row in rows}


def test_counting_in_batches_is_counting_at_once(snn: SpikingNetwork, images: Tensor):
    once = measured(snn, images, len(images), fan_out=fan_out(snn))
    assert measured(snn, images, 2, fan_out=fan_out(snn)) == pytest.approx(once)
    operations = synaptic_operations(fired(snn, images, pooled=True), fan_out(snn))
    assert once["synaptic_operations", None] == pytest.approx(operations.mean().item())
    assert once["energy", None] == pytest.approx(0.9e-3 * operations.mean().item())
    assert once["spikes_per_neuron", None] == spikes_per_neuron(snn, images)
    charges = snn.charges(images)[1]
    for name in snn.layers:
        assert once["neurons", name] == charges[name][0].numel()
        assert once["spikes_per_neuron", name] == (charges[name] > 0).double().mean().item()
    assert {metric for metric, _ in once} <= set(METRICS)


def test_the_logit_difference_is_the_largest_of_all_batches_over_the_largest_logit():
    label = torch.tensor([0])
    pairs = [([1.0, 0.0], [1.0, 2.0]), ([0.0, -5.0], [0.0, -4.0])]
    batches = [Seen(label, torch.tensor([one]), torch.tensor([other])) for one, other in pairs]
    values = {row["metric"]: row["value"] for row in measure(Subject(2), batches)}
    assert values["logit_difference"] == 2.0 / 4.0
    assert values["agreement"] == 50.0


def test_the_logit_difference_from_logits_of_zero_is_plain():
    seen = Seen(torch.tensor([0]), torch.tensor([[0.25, -0.5]]), torch.zeros(1, 2))
    values = {row["metric"]: row["value"] for row in measure(Subject(2), [seen])}
    assert values["logit_difference"] == 0.5


def test_a_network_without_hidden_neurons_spends_no_spike():
    snn = ttfs.convert(nn.Linear(3, 2), torch.rand(4, 3))
    assert spikes_per_neuron(snn, torch.rand(4, 3)) == 0.0
    assert measured(snn, torch.rand(4, 3), 2)["spikes_per_neuron", None] == 0.0


def test_spikes_of_another_network_are_refused_by_name():
    with pytest.raises(TypeError, match=r"takes a network of ttfs\.convert, not Linear"):
        spikes_per_neuron(nn.Linear(3, 2), torch.rand(4, 3))  # type: ignore[arg-type]


def test_meters_without_what_they_need_say_nothing(snn: SpikingNetwork, images: Tensor):
    logits = snn(images)
    rows = measure(Subject(3), [Seen(torch.zeros(len(images), dtype=torch.long), logits)])
    names = {row["metric"] for row in rows}
    assert names == {"accuracy", "confusion", "balanced_accuracy", "macro_f1"}


def test_accuracy_per_class_and_confusion_are_counts_of_pairs():
    labels, answers = torch.tensor([0, 0, 0, 2, 2]), torch.tensor([0, 1, 0, 2, 1])
    seen = Seen(labels, torch.eye(3)[answers])
    rows = list(measure(Subject(3), [seen]))
    of_class = {r["class"]: r["value"] for r in rows if r["metric"] == "accuracy" and "class" in r}
    assert of_class == pytest.approx({0: 200 / 3, 2: 50.0})  # class 1 has no test item
    pairs = {(r["class"], r["predicted"]): r["value"] for r in rows if r["metric"] == "confusion"}
    assert pairs == {(0, 0): 2, (0, 1): 1, (2, 1): 1, (2, 2): 1}


def test_spikes_per_neuron_weighs_layers_by_their_neurons():
    net = nn.Sequential(
        nn.Linear(1, 3, bias=False),
        nn.ReLU(),
        nn.Linear(3, 1, bias=False),
        nn.ReLU(),
        nn.Linear(1, 3),
    )
    net[0].weight.data = torch.tensor([[1.0], [1.0], [-1.0]])
    net[2].weight.data = torch.tensor([[-1.0, -1.0, 0.0]])
    snn = ttfs.convert(net, torch.ones(1, 1))
    found = measured(snn, torch.ones(1, 1), 1)
    first, second = snn.layers
    assert found["spikes_per_neuron", first] == 2 / 3
    assert found["spikes_per_neuron", second] == 0.0
    assert found["spikes_per_neuron", None] == 2 / 4


def test_shares_lie_in_their_range_and_reach_its_ends():
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        one, other = torch.randn(2, 9, 4, generator=generator)
        labels = torch.randint(4, (9,), generator=generator)
        right = sum(int(row.argmax()) == int(label) for row, label in zip(one, labels, strict=True))
        assert accuracy(one, labels) == pytest.approx(100 * right / 9)
        assert 0 <= agreement(one, other) == agreement(other, one) <= 100
    assert accuracy(torch.eye(4), torch.arange(4)) == agreement(one, 2 * one) == 100.0
    assert (
        accuracy(torch.eye(4), torch.tensor([1, 2, 3, 0]))
        == agreement(torch.eye(4), -torch.eye(4))
        == 0.0
    )


def test_classes_without_items_do_not_count():
    """A class that is neither asked for nor answered, and one that is answered alone."""
    confusion = torch.tensor([[3, 1, 0, 0], [0, 2, 0, 2], [0, 0, 0, 0], [0, 0, 0, 0]])
    assert balanced_accuracy(confusion) == pytest.approx(100 * (3 / 4 + 2 / 4) / 2)
    assert macro_f1(confusion) == pytest.approx(100 * (6 / 7 + 4 / 7 + 0) / 3)


def test_agreement_is_not_accuracy():
    labels = torch.tensor([0, 0])
    one, other = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    assert accuracy(one, labels) == accuracy(other, labels) == 50.0
    assert agreement(one, other) == 0.0


def test_the_kept_epoch_is_the_first_of_the_best():
    generator = torch.Generator().manual_seed(1)
    for _ in range(20):
        numbers = torch.randint(3, (12, 2), generator=generator).tolist()  # with many ties
        rows = [
            {"epoch": n + 1, "validation_accuracy": a, "validation_loss": b}
            for n, (a, b) in enumerate(numbers)
        ]
        highest = max(a for a, _ in numbers)
        lowest = min(b for a, b in numbers if a == highest)
        first = numbers.index([highest, lowest]) + 1
        assert kept_epoch(rows, "best") == {
            "best_validation_accuracy": highest,
            "best_epoch": first,
        }
        assert kept_epoch(rows, "last") == {
            "best_validation_accuracy": numbers[-1][0],
            "best_epoch": 12,
        }


def test_first_spike_latency_is_that_of_the_spikes(snn: SpikingNetwork, images: Tensor):
    logits = snn(images).detach()
    labels = torch.zeros(len(images), dtype=torch.long)
    batches = [Seen(labels[part], logits[part]) for part in (slice(0, 3), slice(3, None))]
    subject = Subject(logits.shape[1], facts={"latency": snn.latency})
    found = {row["metric"]: row["value"] for row in measure(subject, batches) if len(row) == 2}
    classes, times = snn.first_spike(images)
    assert torch.equal(classes, logits.argmax(1))
    assert found["first_spike_latency"] == pytest.approx(times.mean().item(), rel=1e-12)
    assert found["first_spike_latency"] >= found["latency"]
    steps = Subject(logits.shape[1], facts={"time_steps": 8})
    early = Subject(logits.shape[1], facts={"latency": snn.latency / 2}, early=True)
    for subject in (steps, early):
        assert "first_spike_latency" not in {row["metric"] for row in measure(subject, batches)}


def test_infinite_logits_are_like_no_others() -> None:
    labels, logits = torch.zeros(1, dtype=torch.int64), torch.tensor([[math.inf, 0.0]])
    Seen(labels, logits)  # an answer they are
    with pytest.raises(UserError, match="the logits of the network are infinite"):
        Seen(labels, logits, torch.tensor([[math.inf, 5.0]]))


@pytest.mark.parametrize("name", ["logits", "reference"])
def test_nan_is_no_answer(name: str) -> None:
    """The argmax of NaN is a class, and `max` passes over NaN: both would look exact."""
    given = {"logits": torch.zeros(4, 3), "reference": torch.zeros(4, 3)}
    given[name][2, 1] = float("nan")
    with pytest.raises(UserError, match=f"the {name} of the network are NaN"):
        Seen(torch.zeros(4, dtype=torch.int64), **given)
