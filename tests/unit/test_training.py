"""Training: the same axes give the same bits, and a step is the step that the formulas say."""

import copy
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from kit.learning import AXES, CONFIG, by_hand, close, equal, make_data, network, train
from torch import Tensor, nn

from ttfs.data import DataSet
from ttfs.data.augment import Augment
from ttfs.errors import UserError
from ttfs.seeds import seed
from ttfs.snn import OneToOne, convert
from ttfs.training import fit
from ttfs.training.classifier import Classifier
from ttfs.training.optimizers import optimizer
from ttfs.training.optimizers import schedule as factors

pytestmark = pytest.mark.xdist_group("training")  # one import of Lightning and one store


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataSet:
    return make_data(tmp_path, monkeypatch)


def test_the_same_axes_give_the_same_bits_and_others_do_not(tmp_path, monkeypatch):
    data = make_data(tmp_path, monkeypatch, augment={"shift": 1, "flip": True})
    nets = [network(norm=True, dropout=0.3) for _ in range(3)]
    curves = []
    for net, axes in zip(nets, [AXES, AXES, ("made", "tiny", 1)], strict=True):
        torch.rand(7)  # what was drawn before does not matter
        curves.append(train(data, net, axes))
    assert equal(nets[0], nets[1])
    assert curves[0] == curves[1]
    assert not equal(nets[0], nets[2])
    assert curves[0] != curves[2]


class Own(nn.Module):
    """A network of a user: `read` takes what its convolution gives, as rows."""

    def __init__(self, read, weights: nn.Module | None = None):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(1, 4, 3, padding=1) if weights is None else weights
        self.head, self.read = nn.Linear(64, 3), read

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.read(F.relu(self.conv(x))))


def test_a_network_that_views_what_a_convolution_gives_trains(data):
    viewing, flattening = Own(lambda x: x.view(x.size(0), -1)), Own(lambda x: x.flatten(1))
    curves = [train(data, net) for net in (viewing, flattening)]
    assert curves[0][0]["train_loss"] == pytest.approx(curves[1][0]["train_loss"], rel=1e-4)
    for net in (viewing, flattening):
        assert all(weight.is_contiguous() for weight in net.parameters())
        assert net.training
    close(viewing, flattening)


class Deep(nn.Module):
    """A convolution whose weights have five dimensions."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv3d(1, 4, (1, 3, 3), padding=(0, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x.unsqueeze(2)).squeeze(2)


def test_weights_of_five_dimensions_train(data):
    net = Own(lambda x: x.flatten(1), Deep())
    before = net.conv.conv.weight.detach().clone()
    train(data, net)
    assert not torch.equal(net.conv.conv.weight, before)


def test_adam_is_the_published_rule(data):
    trained, reference = network(), network()
    train(data, trained)

    def step(parameters, gradients, states):
        for p, g, state in zip(parameters, gradients, states, strict=True):
            state["t"] = t = state.get("t", 0) + 1
            state["m"] = 0.9 * state.get("m", 0.0) + 0.1 * g
            state["v"] = 0.999 * state.get("v", 0.0) + 0.001 * g**2
            p -= 0.01 * (state["m"] / (1 - 0.9**t)) / ((state["v"] / (1 - 0.999**t)).sqrt() + 1e-8)

    by_hand(reference, data, step)
    close(trained, reference)


def test_sgd_with_momentum_decays_weights_and_leaves_biases(data):
    trained, reference = network(), network()
    train(data, trained, optimizer="sgd", learning_rate=0.1, momentum=0.8, weight_decay=0.05)

    def step(parameters, gradients, states):
        for p, g, state in zip(parameters, gradients, states, strict=True):
            g = g + 0.05 * p if p.dim() > 1 else g
            state["v"] = 0.8 * state.get("v", 0.0) + g
            p -= 0.1 * state["v"]

    by_hand(reference, data, step)
    close(trained, reference)


def test_weight_decay_spares_the_scales_of_batch_norm(data):
    decayed, free = network(norm=True), network(norm=True)
    train(data, decayed, optimizer="sgd", learning_rate=1e-6, momentum=0.0, weight_decay=1e5)
    train(data, free, optimizer="sgd", learning_rate=1e-6, momentum=0.0, weight_decay=0.0)
    assert decayed[1].weight.norm() < 0.6 * free[1].weight.norm()  # 0.9 at each of 8 steps
    torch.testing.assert_close(decayed[2].weight, free[2].weight, rtol=0, atol=1e-4)


@pytest.mark.parametrize("after", ["convolution", "linear map"])
def test_weight_decay_spares_the_scales_that_batch_norm_becomes(after):
    """Before a ReLU whose input has another reader, so that no weights can take the scales in."""

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            dim = after == "convolution"
            self.map = nn.Conv2d(1, 3, 3, padding=1) if dim else nn.Linear(16, 3)
            self.norm = nn.BatchNorm2d(3) if dim else nn.BatchNorm1d(3)
            self.out = nn.LazyLinear(2)

        def forward(self, x):
            x = self.map(x if after == "convolution" else x.flatten(1)).relu()
            return self.out((x + self.norm(x).relu()).flatten(1))

    images = torch.rand(8, 1, 4, 4)
    ann = Block()
    ann(images)
    torch.nn.init.uniform_(ann.norm.weight, 0.5, 1.5)
    snn = convert(ann.eval(), images)
    [scales] = [m.weight for m in snn.modules() if isinstance(m, OneToOne)]
    config = {"learning_rate": 0.1, "weight_decay": 0.1, "bias_rate": 1.0, "optimizer": "adam"}
    groups = optimizer(snn, config).param_groups
    decayed = {p: group["weight_decay"] for group in groups for p in group["params"]}
    assert decayed.pop(scales) == 0.0
    assert sorted(decayed.values()) == [0.0, 0.0, 0.0, 0.1, 0.1]  # biases and the scales' shifts


def test_the_curve_is_of_the_epoch(data):
    net = network()
    seen: list[dict[str, float]] = []
    rows = fit(net, data, CONFIG, AXES, on_epoch=seen.append)
    assert rows == seen
    assert [row["epoch"] for row in rows] == [1, 2]
    with torch.no_grad():
        images, labels = next(iter(data.validation.batches(100)))
        logits = net.eval()(images)
    assert rows[-1]["validation_loss"] == pytest.approx(F.cross_entropy(logits, labels).item())
    assert rows[-1]["validation_accuracy"] == 100.0 * (
        logits.argmax(1) == labels
    ).sum().item() / len(labels)


def test_the_training_loss_is_the_mean_over_images_not_over_batches(tmp_path, monkeypatch):
    data = make_data(tmp_path, monkeypatch, images=20)  # 12 to train on: batches of 8 and 4
    net, frozen = network(), network()
    rows = train(data, net, learning_rate=1e-12, epochs=1)
    images, labels = next(iter(data.train.batches(12)))
    logits = frozen(images)
    assert rows[0]["train_loss"] == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-5)
    assert rows[0]["train_accuracy"] == pytest.approx(
        100.0 * (logits.argmax(1) == labels).sum().item() / 12
    )


def test_labels_of_mixed_images_are_learned_by_their_shares(data):
    mixed = replace(data, train=replace(data.train, augment=Augment(cutmix=1.0)))
    order = torch.Generator().manual_seed(seed(*AXES, "order"))
    whole = mixed.train.batches(32, order, augment=True)
    images, shares = next(iter(whole))
    net = network()
    logits = net(images).detach()
    expected = -(shares * logits.log_softmax(1)).sum(1).mean().item()
    row = train(mixed, net, epochs=1, batch_size=32)[0]
    assert row["train_loss"] == pytest.approx(expected, rel=1e-5)
    hits = (logits.argmax(1) == shares.argmax(1)).float().mean().item()
    assert row["train_accuracy"] == pytest.approx(100 * hits)
    net.loss = F.nll_loss  # type: ignore[assignment]
    with pytest.raises(UserError, match=r"augment\.cutmix is for cross-entropy alone"):
        train(mixed, net, epochs=1)


@pytest.mark.parametrize(
    ("schedule", "factors"),
    [
        ("constant", [1.0, 1.0, 1.0]),
        ("exponential", [1.0, 0.5, 0.25]),
        ("cosine", [0.5 * (1 + math.cos(math.pi * step / 12)) for step in (3, 7, 11)]),
        ("triangular", [(12 - step) / 9.6 for step in (3, 7, 11)]),  # it rises for 2.4 steps
    ],
)
def test_schedules(data, schedule: str, factors: list[float]):
    rows = train(data, network(), schedule=schedule, epochs=3)  # 4 steps an epoch, 12 in all
    assert [row["learning_rate"] for row in rows] == pytest.approx(
        [0.01 * factor for factor in factors]
    )


def test_the_exponential_schedule_falls_as_an_epoch_begins():
    rate = factors({"schedule": "exponential", "warmup": None, "decay": 0.5}, steps=100, epochs=10)
    assert [rate(step) for step in (0, 9, 10, 19, 20, 99)] == [1, 1, 0.5, 0.5, 0.25, 0.5**9]


def test_best_keeps_the_epoch_that_validation_chooses_and_last_the_last(data, monkeypatch):
    accuracies = iter([50.0, 75.0, 75.0, 60.0] * 2)
    losses = iter([1.0, 0.9, 0.8, 0.7] * 2)
    true_row, states = Classifier.row, []

    def row(self: Classifier) -> dict[str, float]:
        states.append(copy.deepcopy(self.network.state_dict()))
        chosen = {"validation_accuracy": next(accuracies), "validation_loss": next(losses)}
        return true_row(self) | chosen

    monkeypatch.setattr(Classifier, "row", row)
    best, last = network(), network()
    train(data, best, select="best", epochs=4)
    train(data, last, select="last", epochs=4)
    assert all(
        torch.equal(value, states[2][name]) for name, value in best.state_dict().items()
    )  # the tie: lower loss
    assert all(torch.equal(value, states[7][name]) for name, value in last.state_dict().items())


@pytest.mark.parametrize(("patience", "epochs"), [(1, 3), (2, 4), (None, 6)])
def test_patience(data, monkeypatch, patience: int | None, epochs: int):
    accuracies = iter([50.0, 60.0, 60.0, 55.0, 50.0, 40.0])
    true_row = Classifier.row
    chosen = lambda: {"validation_accuracy": next(accuracies), "validation_loss": 1.0}  # noqa: E731
    monkeypatch.setattr(Classifier, "row", lambda self: true_row(self) | chosen())
    assert len(train(data, network(), patience=patience, epochs=6)) == epochs


def test_a_diverging_loss_is_one_line_with_advice(data):
    with pytest.raises(
        UserError, match=r"^the train loss became (nan|inf) in epoch 1; lower train\.learning_rate"
    ):
        train(data, network(), optimizer="sgd", learning_rate=1e30)


def test_a_last_batch_of_one_image_meets_batch_norm(tmp_path, monkeypatch):
    data = make_data(
        tmp_path, monkeypatch, images=25
    )  # 17 to train on: 8, and 9 in place of 8 and 1
    assert len(data.train) % CONFIG["batch_size"] == 1
    batches = data.train.batches(CONFIG["batch_size"], generator=torch.Generator())
    assert [len(labels) for _, labels in batches] == [8, 9]
    assert len(batches) == 2
    rows = train(data, network(norm=True))
    assert math.isfinite(rows[-1]["train_loss"])


def test_training_never_reads_the_test_split(data):
    blind = DataSet(
        data.train, data.validation, None, data.shape, data.classes, data.input_range, data.digest
    )  # type: ignore[arg-type]
    assert len(train(blind, network())) == 2


def test_training_leaves_nothing_behind_that_listens(data):
    net = network()
    train(data, net, activity_l1=0.1)
    assert not any(module._forward_hooks for module in net.modules())


def test_training_that_fails_leaves_nothing_behind_that_listens(data):
    items, _ = data.train.one_batch(20)
    for net in (network(), convert(network(), items)):
        next(net.parameters()).data.fill_(math.nan)
        with pytest.raises(UserError, match="loss became"):
            train(data, net, activity_l1=0.1)
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


def test_batch_norm_and_a_batch_of_one_input(tmp_path, monkeypatch):
    data = make_data(tmp_path, monkeypatch)
    with pytest.raises(
        UserError, match="key 'batch_size': batch norm cannot learn from a batch of one input"
    ):
        train(data, network(norm=True), batch_size=1)
    assert len(train(data, network(), batch_size=1, epochs=1)) == 1
    alone = make_data(tmp_path, monkeypatch, images=9)  # one is left to train on
    with pytest.raises(UserError, match="key 'batch_size'"):
        train(alone, network(norm=True))
    rest = make_data(
        tmp_path, monkeypatch, images=25
    )  # 17 are, and the last joins the second batch of 8
    assert len(train(rest, network(norm=True), epochs=1)) == 1


@pytest.mark.parametrize("schedule", ["constant", "cosine", "triangular", "one-cycle"])
def test_a_warm_up_rises_to_the_full_rate(schedule: str):
    rate = factors({"schedule": schedule, "warmup": 0.5, "decay": 0.9}, steps=100, epochs=1)
    rising = [rate(step) for step in range(51)]
    assert rising == sorted(rising)
    assert rising[0] == {"triangular": 0.2, "one-cycle": 0.04}.get(schedule, 0.0)
    assert rising[-1] == 1.0
    assert rate(100) == pytest.approx(1.0 if schedule == "constant" else 0.0, abs=1e-12)


def test_nesterov_momentum_looks_ahead(data):
    trained, reference = network(), network()
    train(data, trained, optimizer="sgd", learning_rate=0.1, momentum=0.8, nesterov=True)

    def step(parameters, gradients, states):
        for p, g, state in zip(parameters, gradients, states, strict=True):
            state["v"] = 0.8 * state.get("v", 0.0) + g
            p -= 0.1 * (g + 0.8 * state["v"])

    by_hand(reference, data, step)
    close(trained, reference)


def test_nesterov_without_momentum_is_refused(data):
    with pytest.raises(UserError, match=r"set train\.momentum above 0"):
        train(data, network(), optimizer="sgd", momentum=0.0, nesterov=True)


def test_biases_learn_at_a_rate_of_their_choice(data):
    """Of a network with batch norm, whose shifts are biases too and whose scales are not."""
    trained, reference = network(norm=True), network(norm=True)
    train(data, trained, optimizer="sgd", learning_rate=0.1, momentum=0.0, bias_rate=4.0)
    names = [name for name, _ in reference.named_parameters()]

    def step(parameters, gradients, states):
        for name, p, g in zip(names, parameters, gradients, strict=True):
            p -= (0.4 if "bias" in name else 0.1) * g

    by_hand(reference, data, step)
    close(trained, reference)


def test_what_does_not_learn_stays(data):
    net = network()
    net[1].weight.requires_grad_(False)
    before = net[1].weight.clone()
    train(data, net)
    assert net[1].weight.equal(before)


def test_label_smoothing_is_of_the_training_loss_alone(data):
    smooth = train(data, network(), label_smoothing=0.5, learning_rate=1e-12, epochs=1)[0]
    plain = train(data, network(), learning_rate=1e-12, epochs=1)[0]
    logits, labels = [], []
    for images, classes in data.train.batches(100):
        logits.append(network()(images))
        labels.append(classes)
    loss = F.cross_entropy(torch.cat(logits), torch.cat(labels), label_smoothing=0.5).item()
    assert smooth["train_loss"] == pytest.approx(loss, rel=1e-5)
    assert smooth["train_loss"] != pytest.approx(plain["train_loss"], rel=1e-3)
    assert smooth["validation_loss"] == pytest.approx(plain["validation_loss"], rel=1e-6)


def test_label_smoothing_needs_cross_entropy(data):
    net = network()
    net.loss = lambda logits, labels: logits.square().mean()
    with pytest.raises(UserError, match="label_smoothing is for cross-entropy alone"):
        train(data, net, label_smoothing=0.1)


class Headed(nn.Module):
    """Logits, and in training those of two more heads, one of them switched off."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk, self.head = nn.Linear(6, 3), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor, None]:
        return (self.trunk(x), self.head(x), None) if self.training else self.trunk(x)


def test_auxiliary_heads_learn_with_three_tenths_of_the_weight():
    network, inputs, labels = Headed(), torch.rand(4, 6), torch.tensor([0, 1, 2, 0])
    learner = Classifier(network.train(), CONFIG)
    loss = learner._step(network, (inputs, labels), "train")
    own, other = (F.cross_entropy(layer(inputs), labels) for layer in network.children())
    assert loss.item() == pytest.approx((own + 0.3 * other).item(), rel=1e-6)
    learner.network.eval()
    loss = learner._step(network, (inputs, labels), "validation")
    assert loss.item() == pytest.approx(own.item(), rel=1e-6)
