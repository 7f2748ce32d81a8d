"""Distillation: a share of the loss is about a teacher's answers."""

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from kit.learning import AXES, CONFIG, close, equal, make_data, network, train
from kit.stages import GRID, cell, record, run_due
from torch import Tensor, nn

import ttfs
from ttfs.data import DataSet
from ttfs.data.augment import Augment
from ttfs.errors import UserError
from ttfs.seeds import seed
from ttfs.training import fit

pytestmark = pytest.mark.xdist_group("training")  # one import of Lightning


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataSet:
    return make_data(tmp_path, monkeypatch)


@pytest.fixture
def teacher() -> nn.Module:
    """A network of other weights, in evaluation, as a source is."""
    other = network(norm=True, dropout=0.3)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.copy_(torch.randn_like(parameter))
    return other.eval()


def taught(data: DataSet, net: nn.Module, teacher: nn.Module, **changes) -> list[dict[str, float]]:
    return fit(net, data, CONFIG | changes, AXES, teacher=teacher)


def divergence(logits: Tensor, answers: Tensor) -> Tensor:
    """Kullback-Leibler divergence [nats] of softmax(logits) from softmax(answers), a mean."""
    p, q = answers.double().softmax(1), logits.double().softmax(1)
    return (p * (p.log() - q.log())).sum(1).mean()


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_loss_is_a_mean_of_labels_and_answers_by_their_share(data, teacher, share: float):
    """H(p, q) = H(p) + KL(p || q), computed in float64."""
    net = network()
    images, labels = next(iter(data.train.batches(1000)))
    logits, answers = net(images).detach(), teacher(images).detach()
    p = answers.double().softmax(1)
    soft = divergence(logits, answers) - (p * p.log()).sum(1).mean()
    hard = -logits.double().log_softmax(1)[torch.arange(len(labels)), labels].mean()
    [row] = taught(data, net, teacher, distillation=share, learning_rate=1e-12, epochs=1)
    assert row["train_loss"] == pytest.approx(((1 - share) * hard + share * soft).item(), rel=1e-5)
    validation, labels = next(iter(data.validation.batches(1000)))
    assert row["validation_loss"] == pytest.approx(
        F.cross_entropy(net.eval()(validation), labels).item(), rel=1e-5
    )


def test_a_network_comes_to_answer_as_its_teacher_without_a_label(data, teacher):
    net = network()
    images, _ = next(iter(data.train.batches(1000)))
    false = replace(data, train=replace(data.train, labels=data.train.labels.flip(0)))
    before = divergence(net(images), teacher(images))
    taught(false, net, teacher, distillation=1.0, epochs=30)
    other = network()
    taught(data, other, teacher, distillation=1.0, epochs=30)
    assert equal(net, other)  # labels do not matter
    assert divergence(net.eval()(images), teacher(images)) < 0.5 * before


def test_a_network_that_answers_as_its_teacher_has_nothing_to_learn(data):
    net = network()
    start, copied = copy.deepcopy(net), copy.deepcopy(net).eval()
    sgd = {"optimizer": "sgd", "learning_rate": 0.1, "momentum": 0.0, "epochs": 1}
    taught(data, net, copied, distillation=1.0, **sgd)
    close(net, start)


def test_the_teacher_sees_the_augmented_items_and_stays_as_it_is(data, teacher):
    mixed = replace(data, train=replace(data.train, augment=Augment(cutmix=1.0)))
    order = torch.Generator().manual_seed(seed(*AXES, "order"))
    seen: list[Tensor] = []
    teacher.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    before = copy.deepcopy(teacher.state_dict())
    taught(mixed, network(), teacher, distillation=0.5, epochs=1, batch_size=8)
    for mine, (images, _) in zip(seen, mixed.train.batches(8, order, augment=True), strict=True):
        assert torch.equal(mine, images)
    assert not teacher.training
    assert all(torch.equal(before[name], now) for name, now in teacher.state_dict().items())
    assert all(parameter.grad is None for parameter in teacher.parameters())


class Headed(nn.Module):
    """A network with another head while it trains."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(*list(network())[:-1])
        self.head, self.other = nn.Linear(12, 3), nn.Linear(12, 3)

    def forward(self, items: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        hidden = self.trunk(items)
        return (self.head(hidden), self.other(hidden)) if self.training else self.head(hidden)


def test_auxiliary_heads_learn_from_the_teacher_too(data, teacher):
    net = Headed()
    other, start = copy.deepcopy(net), net.other.weight.detach().clone()
    false = replace(data, train=replace(data.train, labels=data.train.labels.flip(0)))
    taught(data, net, teacher, distillation=1.0)
    taught(false, other, teacher, distillation=1.0)
    assert equal(net, other)
    assert not torch.equal(net.other.weight, start)


def test_without_a_share_a_teacher_is_not_asked(data, teacher):
    teacher.register_forward_hook(lambda *_: pytest.fail("asked"))
    alone, beside, free = network(), network(), network()
    rows = train(data, alone)
    assert taught(data, beside, teacher) == rows
    assert taught(data, free, teacher, distillation=0.0) == rows
    assert equal(alone, beside)
    assert equal(alone, free)


def test_in_bfloat16_the_teacher_is_laid_out_as_it_was(data):
    layers = nn.Conv2d(1, 4, 2), nn.ReLU(), nn.Conv2d(4, 4, 2), nn.Flatten(), nn.Linear(16, 3)
    net, teacher = nn.Sequential(*layers), copy.deepcopy(nn.Sequential(*layers)).eval()
    seen: list[bool] = []
    teacher.register_forward_hook(lambda *_: seen.append(teacher[2].weight.is_contiguous()))
    taught(data, net, teacher, distillation=1.0, precision="bfloat16", epochs=1)
    assert seen == [False] * 4  # the channels last
    assert teacher[2].weight.is_contiguous()
    assert net[2].weight.is_contiguous()


def test_distillation_needs_cross_entropy(data, teacher):
    net = network()
    net.loss = F.nll_loss  # type: ignore[assignment]
    with pytest.raises(UserError, match=r"tuning\.distillation is for cross-entropy alone"):
        taught(data, net, teacher, distillation=0.1)


def test_on_a_chip_the_ideal_network_teaches_both_networks(little: Path, monkeypatch):
    path = Path(GRID)
    budgets = "[{epochs: 1}, {epochs: 1, distillation: 1.0}]"
    chip = f"hardware: [{{over: {{time_bits: 2, tuning: {budgets}}}}}]\n"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(chip if "hardware:" in line else line for line in lines))
    teachers: list[nn.Module] = []

    def watched(*arguments, teacher: nn.Module | None = None, **named):
        if teacher is not None:
            teachers.append(copy.deepcopy(teacher))
        return fit(*arguments, teacher=teacher, **named)

    monkeypatch.setattr("ttfs.training.fit", watched)
    assert set(run_due().values()) == {0}
    loaded = ttfs.load(cell("b1-converted"))
    items, _ = next(iter(loaded.data.test.batches(1000)))
    assert len(teachers) == 4  # of two chips, each with its control
    for teacher in teachers:
        assert torch.equal(teacher(items), loaded.network(items))
    plain = record("b1-converted", "time_bits=2+tuning.epochs=1")
    taught = record("b1-converted", "time_bits=2+tuning.distillation=1+tuning.epochs=1")
    assert "distillation" not in plain.config["train"]  # records of before stay what they are
    assert taught.config["train"]["distillation"] == 1.0
