"""Several processes that train one network take the steps that one process takes."""

import os
import signal
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from kit.exactness import IMAGE, Net, conv, draw, randomise
from kit.learning import AXES, CONFIG, make_data, network
from torch import Tensor, nn

import ttfs
from ttfs.data import DataSet
from ttfs.errors import UserError
from ttfs.stages.process import die_with
from ttfs.stages.ranks import together
from ttfs.timed import to_leaky
from ttfs.training import GrowingWindows, fit, ranks

pytestmark = pytest.mark.xdist_group("training")  # one import of Lightning

Rows = list[dict[str, float]]


class Double(nn.Module):
    """A network in float64, whose sums hardly depend on their order."""

    def __init__(self, inner: nn.Module):
        super().__init__()
        self.inner = inner.double()

    def forward(self, images: Tensor) -> Tensor:
        return self.inner(images.double())


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataSet:
    """33 training images: a batch of 8 is even, the last one of 9 is not."""
    moves = {"shift": 1, "flip": "alternating", "cutout": 2}
    return make_data(tmp_path, monkeypatch, images=41, augment=moves)


def spiking() -> ttfs.SpikingNetwork:
    """A TTFS network whose windows are too narrow, so that they grow as it learns."""
    images = torch.rand(8, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    snn = ttfs.convert(network().eval(), images)
    for layer in snn.layers.values():
        layer.width *= 0.05
    return snn.train()


def normed(**options: Any) -> nn.Module:
    net = network(norm=True)
    net[2] = nn.BatchNorm1d(12, **options)
    return net


def learn(net: nn.Module, data: DataSet, **options: Any) -> tuple[dict[str, Tensor], Rows]:
    """Train, and return what the network is then and the curve."""
    config = {key: options.pop(key) for key in list(options) if key in CONFIG}
    inner = getattr(net, "inner", net)
    growth = [GrowingWindows(inner, 2.0)] if isinstance(inner, ttfs.SpikingNetwork) else []
    rows = fit(net, data, CONFIG | config, AXES, callbacks=growth, **options)
    return net.state_dict(), rows


def differences(one: dict[str, Tensor], other: dict[str, Tensor]) -> list[float]:
    assert one.keys() == other.keys()
    return [float((one[name].double() - other[name].double()).abs().max()) for name in one]


SGD = {"optimizer": "sgd", "momentum": 0.8, "learning_rate": 0.1}
CASES: dict[str, tuple[Callable[[], nn.Module], dict[str, Any]]] = {
    "adam": (network, {}),
    "weight decay, smoothing": (network, SGD | {"weight_decay": 0.05, "label_smoothing": 0.1}),
    "batch norm": (lambda: network(norm=True), SGD),
    "batch norm, mean of all batches": (lambda: normed(momentum=None), SGD),
    "batch norm, no running mean": (lambda: normed(track_running_stats=False, affine=False), SGD),
    "l1": (network, {"activity_l1": 1e-2, "batch_size": 7}),
    "l0": (network, {"activity_l0": 1e-2, "batch_size": 5}),
    "windows": (spiking, {"epochs": 4, "learning_rate": 0.05}),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("count", [2, 3])
def test_ranks_take_the_steps_of_one_process(data: DataSet, case: str, count: int):
    make, config = CASES[case]
    many = together(count, "gloo", lambda rank: learn(Double(make()), data, **config))
    start = Double(make()).state_dict()
    weights, rows = learn(Double(make()), data, **config)
    assert min(max(differences(weights, start)), len(rows)) > 1e-3  # it learned
    for own, curve in many:
        assert max(differences(own, weights)) < 1e-12
        assert max(differences(own, many[0][0])) == 0.0  # the ranks agree to the last bit
        assert curve == many[0][1]
        for row, alone in zip(curve, rows, strict=True):
            assert row == pytest.approx(alone, rel=1e-12)


def test_windows_grew_on_two_ranks(data: DataSet):
    make, config = CASES["windows"]
    [(own, _), _] = together(2, "gloo", lambda rank: learn(Double(make()), data, **config))
    start = Double(make()).state_dict()
    widths = [name for name in start if name.endswith("window_width")]
    assert widths
    assert all(own[name] > start[name] for name in widths)


@pytest.mark.parametrize("averaging", ["ema", "lookahead"])
def test_averages_are_those_of_one_process(data: DataSet, averaging: str):
    """In float32, which averages are kept in: up to rounding."""
    config = SGD | {"averaging": averaging, "averaging_decay": 0.9}
    [(own, _), (other, _)] = together(2, "gloo", lambda rank: learn(network(), data, **config))
    weights, _ = learn(network(), data, **config)
    assert max(differences(own, weights)) < 1e-6
    assert max(differences(own, other)) == 0.0


def test_a_network_with_weights_that_it_does_not_use(data: DataSet):
    def make() -> nn.Module:
        net = Double(network())
        net.unused = nn.Linear(3, 3).double()
        return net

    [(own, _), _] = together(2, "gloo", lambda rank: learn(make(), data))
    weights, _ = learn(make(), data)
    used = [name for name in weights if name.startswith("inner")]
    assert max(differences({k: own[k] for k in used}, {k: weights[k] for k in used})) < 1e-12


def test_each_rank_drops_other_neurons(data: DataSet):
    def work(rank: int) -> tuple[dict[str, Tensor], int]:
        return learn(network(dropout=0.3), data)[0], torch.initial_seed()

    (own, first), (other, second) = together(2, "gloo", work)
    (again, _), _ = together(2, "gloo", work)
    assert first != second
    assert max(differences(own, other)) == 0.0
    assert max(differences(own, again)) == 0.0
    learn(network(dropout=0.3), data)
    assert torch.initial_seed() == first  # one process draws as it always did


@pytest.fixture
def save_always(monkeypatch: pytest.MonkeyPatch) -> None:
    module = import_module("ttfs.training.fit")
    monkeypatch.setattr(module, "SAVE_EVERY", 0.0)
    monkeypatch.setattr(module, "SAVING_SHARE", 0.0)


def in_a_child(work: Callable[[], Any]) -> int:
    """Do the work in a child process, and return the signal that ended it; 0 for none."""
    parent, child = os.getpid(), os.fork()
    if child == 0:
        die_with(parent)
        try:
            work()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


RESUMED: dict[str, tuple[Callable[[], nn.Module], dict[str, Any]]] = {
    "dropout, batch norm, best": (lambda: network(norm=True, dropout=0.3), {"select": "best"}),
    "windows, activity": (spiking, {"learning_rate": 0.05, "activity_l0": 1e-3}),
    "lookahead": (
        lambda: network(dropout=0.3), {"averaging": "lookahead", "averaging_decay": 0.9},
    ),
}  # fmt: skip


@pytest.mark.usefixtures("save_always")
@pytest.mark.parametrize("case", RESUMED)
@pytest.mark.parametrize("killed", [0, 1])
def test_killed_ranks_go_on_and_end_in_the_same_bits(
    data: DataSet, tmp_path: Path, case: str, killed: int
):
    make, config = RESUMED[case]
    options = config | {"epochs": 5}
    whole = together(2, "gloo", lambda rank: learn(make(), data, **options))
    options["checkpoint"] = tmp_path / "training.ckpt"

    def work(rank: int) -> None:
        def on_epoch(row: dict[str, float]) -> None:
            if rank == killed and row["epoch"] == 4:
                os.kill(os.getpid(), signal.SIGKILL)

        learn(make(), data, on_epoch=on_epoch, **options)

    assert in_a_child(lambda: together(2, "gloo", work)) == signal.SIGKILL
    saved = torch.load(options["checkpoint"], weights_only=False)["callbacks"]["_Epochs"]
    assert len(saved["rows"]) == 3
    parts = together(2, "gloo", lambda rank: learn(make(), data, **options))
    for (own, rows), (weights, curve) in zip(parts, whole, strict=True):
        assert max(differences(own, weights)) == 0.0
        assert rows == curve


def test_ranks_asked_to_end_save_their_epoch_first(data: DataSet, tmp_path: Path):
    """As at the time limit of a cluster, whose SIGTERM all processes of a job get."""
    checkpoint = tmp_path / "training.ckpt"
    whole = together(2, "gloo", lambda rank: learn(network(), data, epochs=6))
    options = {"epochs": 6, "checkpoint": checkpoint}

    def ask() -> None:
        parent = os.getpid()

        def work(rank: int) -> None:
            net, batches = network(), 0

            def count(*_: object) -> None:
                nonlocal batches
                batches += net.training
                if batches == 6:  # in the second epoch, of four batches
                    for process in (os.getpid(), *([parent] if rank == 1 else [])):
                        os.kill(process, signal.SIGTERM)

            net.register_forward_pre_hook(count)
            learn(net, data, **options)

        together(2, "gloo", work)

    assert in_a_child(ask) == signal.SIGTERM
    saved = torch.load(checkpoint, weights_only=False)["callbacks"]["_Epochs"]
    assert len(saved["rows"]) == 2
    parts = together(2, "gloo", lambda rank: learn(network(), data, **options))
    assert max(differences(parts[0][0], whole[0][0])) == 0.0


def children() -> list[str]:
    return Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()


@pytest.mark.parametrize("failing", [0, 1])
def test_an_error_of_one_rank_ends_all(failing: int):
    before = children()

    def correctable(rank: int) -> None:
        if rank == failing:
            time.sleep(0.2)  # the other waits by now
            raise UserError("file x: key 'y': fix it")
        ranks.total(torch.zeros(1))

    def other(rank: int) -> None:
        if rank == failing:
            raise LookupError("nothing there")
        ranks.total(torch.zeros(1))

    with pytest.raises(UserError, match=r"^file x: key 'y': fix it$"):
        together(2, "gloo", correctable)
    with pytest.raises(RuntimeError) as caught:
        together(2, "gloo", other)
    assert str(caught.value) == f"device {failing}: LookupError: nothing there"
    assert "raise LookupError" in caught.value.__notes__[0]
    assert children() == before


def test_the_end_of_a_rank_counts_before_the_error_that_it_makes_of_another():
    """On a busy machine the other's error is told before the rank has ended for good."""

    def work(rank: int) -> None:
        if rank == 0:
            raise RuntimeError("connection closed by peer")
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGKILL)

    assert in_a_child(lambda: together(2, "gloo", work)) == signal.SIGKILL


def test_a_loss_without_end_is_one_error(data: DataSet):
    with pytest.raises(UserError, match=r"loss became .* in epoch 1; lower train.learning_rate"):
        together(2, "gloo", lambda rank: learn(network(), data, **SGD | {"learning_rate": 1e30}))


def test_ranks_without_an_item_are_refused(data: DataSet):
    fault = "^key 'devices': 5 devices share each batch, and one has 3 items; lower"
    with pytest.raises(UserError, match=fault):
        together(5, "gloo", lambda rank: learn(network(), data, batch_size=6))


@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_of_a_maximum_of_branches_is_that_of_one_process(training: bool):
    """Branches side by side are values of one dimension more than images have."""
    larger = Net(
        lambda n, x: n.out(torch.maximum(n.a(x), n.b(x)).flatten(1)),
        a=conv(), b=conv(), out=nn.Linear(4 * 9 * 8, 5),
    )  # fmt: skip
    network = to_leaky(randomise(larger), draw(IMAGE)[:1], steps=3).train(training)
    images = draw(IMAGE, n=6)
    wanted = network(images)
    ranks.WholeBatchNorm().apply(network)
    torch.testing.assert_close(network(images), wanted)
