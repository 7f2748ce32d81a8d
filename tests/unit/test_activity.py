"""The penalty on activity while a network learns: what it is, per item, and what it does."""

from pathlib import Path

import pytest
import torch
from kit.learning import AXES, CONFIG, close, make_data, network, train
from torch import Tensor, nn

from ttfs.data import DataSet
from ttfs.errors import UserError
from ttfs.seeds import seed
from ttfs.training.activity import ActivityPenalty, smooth_count
from ttfs.training.classifier import Classifier

pytestmark = pytest.mark.xdist_group("training")  # one import of Lightning and one store


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataSet:
    return make_data(tmp_path, monkeypatch)


def test_validation_leaves_no_trace_in_the_penalty_on_activity(data):
    trained, reference = network(), network()
    plain = {"optimizer": "sgd", "momentum": 0.0, "learning_rate": 0.1, "batch_size": 4}
    train(data, trained, **plain, activity_l1=0.1)
    order = torch.Generator().manual_seed(seed(*AXES, "order"))
    batches = data.train.batches(4, generator=order, augment=True)  # eight are validated at once
    for images, labels in (batch for _ in range(2) for batch in batches):
        hidden = reference[:3](images)
        loss = nn.functional.cross_entropy(reference(images), labels)
        loss = loss + 0.1 * hidden.sum() / len(images)
        gradients = torch.autograd.grad(loss, list(reference.parameters()))
        with torch.no_grad():
            for p, g in zip(reference.parameters(), gradients, strict=True):
                p -= 0.1 * g
    close(trained, reference)


@pytest.mark.parametrize(
    ("strengths", "expected"),
    [
        ({"activity_l1": 0.5}, 0.5 * 14 / 2),
        # means of the active 5/3 and 3, so half a count at 1/3 and 0.6
        (
            {"activity_l0": 0.5},
            0.25 * (1 / (4 / 3) + 3 / (10 / 3) + 1 / (4 / 3) + 2 / 2.6 + 6 / 6.6 + 1 / 1.6),
        ),
    ],
    ids=["charge", "count"],
)  # fmt: skip
def test_the_activity_penalty_is_strength_times_activity_per_image(strengths, expected):
    net = nn.Sequential(
        nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 2, bias=False), nn.ReLU()
    )
    net[0].weight.data = torch.tensor([[1.0, 0.0], [0.0, -1.0]])
    net[2].weight.data = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    images, labels = torch.tensor([[1.0, 1.0], [3.0, -1.0]]), torch.tensor([0, 0])
    # hidden: (1, 0), (3, 1); then (2, 0), (6, 1): 14 over two images
    plain, penalised = Classifier(net, CONFIG), Classifier(net, CONFIG | strengths)
    for module in (plain, penalised):
        module._trainer = type(
            "Trainer", (), {"optimizers": [type("O", (), {"param_groups": [{"lr": 1.0}]})]}
        )()
    difference = penalised.training_step((images, labels), 0) - plain.training_step(
        (images, labels), 0
    )
    assert difference.item() == pytest.approx(expected)


class Patches(nn.Module):
    """Four patches of each item, side by side in the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.relu, self.last = nn.Linear(4, 5), nn.ReLU(), nn.Linear(20, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.relu(self.inner(x.reshape(-1, 4))).reshape(len(x), -1))


def test_the_activity_penalty_is_per_item_whatever_lies_in_the_batch():
    net, items = Patches(), torch.rand(6, 16)
    penalty = ActivityPenalty(net, 1.0, 0.0)
    net(items)
    activity = net.inner(items.reshape(-1, 4)).relu().sum() / 6
    assert penalty.take(6).item() == pytest.approx(activity.item(), rel=1e-6)


@pytest.mark.parametrize(
    ("penalty", "measure"), [("activity_l1", Tensor.mean), ("activity_l0", Tensor.count_nonzero)]
)
def test_the_activity_penalty_lowers_activity(data, penalty, measure):
    def activity(net: nn.Sequential) -> float:
        images, _ = next(iter(data.train.batches(100)))
        return measure(net.eval()[:3](images)).item()

    free, penalised = network(), network()
    train(data, free, epochs=5)
    rows = train(data, penalised, epochs=5, **{penalty: 0.1})
    assert activity(penalised) < 0.5 * activity(free)
    assert rows[-1]["train_loss"] < 2.0  # the curve shows the cross-entropy, without the penalty


def test_the_count_of_spikes_does_not_see_their_size_and_survives_silence():
    charges = (
        torch.rand(5, 7, generator=torch.Generator().manual_seed(0))
        .sub(0.5)
        .relu()
        .requires_grad_()
    )
    assert smooth_count(3.0 * charges).item() == pytest.approx(smooth_count(charges).item())
    assert 0.5 * charges.count_nonzero() < smooth_count(charges) < charges.count_nonzero()
    (along,) = torch.autograd.grad(smooth_count(charges), charges)
    assert (along * charges).sum().item() == pytest.approx(
        0.0, abs=1e-5
    )  # all together cannot pay less
    assert smooth_count(torch.zeros(2, 3)).item() == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("penalty", ["activity_l1", "activity_l0"])
def test_a_network_without_relu_modules_has_no_activity_to_penalise(data, penalty):
    with pytest.raises(UserError, match=rf"train\.{penalty} finds no nn\.ReLU"):
        train(data, nn.Sequential(nn.Flatten(), nn.Linear(16, 3)), **{penalty: 0.1})
