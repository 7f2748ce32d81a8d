"""A training that is killed goes on where it was, and ends in the same bits as one that was not."""

import os
import signal
import zipfile
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from kit.learning import AXES, CONFIG, equal, make_data, network
from torch import nn

import ttfs
from ttfs.data import DataSet
from ttfs.hardware import Hardware, deploy, streams
from ttfs.training import ChipStreams, GrowingWindows, fit

FIT = import_module("ttfs.training.fit")  # the package has a function of that name
pytestmark = pytest.mark.xdist_group("training")  # one import of Lightning


class Killed(BaseException):
    """Ends a training as a signal does: nothing of ours runs after it."""


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataSet:
    augment = {"shift": 1, "flip": "alternating", "cutmix": 0.5}
    return make_data(tmp_path, monkeypatch, augment=augment)


@pytest.fixture(autouse=True)
def save_always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FIT, "SAVE_EVERY", 0.0)
    monkeypatch.setattr(FIT, "SAVING_SHARE", 0.0)


def relu() -> nn.Module:
    return network(norm=True, dropout=0.3)


def spiking() -> nn.Module:
    """A TTFS network whose windows are too narrow, so that they grow as it learns."""
    images = torch.rand(8, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    snn = ttfs.convert(network().eval(), images)
    for layer in snn.layers.values():
        layer.width *= 0.05
    return snn.train()


def chip() -> nn.Module:
    """A TTFS network on a chip that leaves much to chance."""
    chance = {"jitter": 0.05, "lost_spikes": 0.05, "programming_noise": 0.05, "read_noise": 0.05}
    return deploy(spiking(), Hardware(**chance, time_bits=4, seed=7)).train()


def train(
    net: nn.Module,
    data: DataSet,
    config: dict[str, Any],
    checkpoint: Path | None = None,
    kill_at: int = 0,
) -> list[dict[str, float]]:
    """Train; with a number, die as the epoch of that number has been told and before it is
    saved.
    """
    callbacks: list[Any] = [ChipStreams(streams)]
    if isinstance(net, ttfs.SpikingNetwork) and net.ideal:
        callbacks.append(GrowingWindows(net, 2.0))

    def on_epoch(row: dict[str, float]) -> None:
        if row["epoch"] == kill_at:
            raise Killed

    return fit(net, data, CONFIG | config, AXES, "cpu", on_epoch, callbacks, checkpoint)


CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "dropout, augmentation, best": (relu, {"select": "best", "epochs": 6}),
    "last, sgd, cosine": (relu, {"optimizer": "sgd", "schedule": "cosine", "epochs": 6}),
    "exponential": (relu, {"schedule": "exponential", "epochs": 6}),
    "patience": (relu, {"select": "best", "patience": 3, "epochs": 30, "learning_rate": 0.3}),
    "growing windows": (spiking, {"select": "best", "epochs": 6, "learning_rate": 0.05}),
    "ema": (relu, {"averaging": "ema", "averaging_decay": 0.9, "epochs": 6}),
    "lookahead": (relu, {"averaging": "lookahead", "averaging_decay": 0.9, "epochs": 6}),
    "activity": (spiking, {"activity_l1": 1e-3, "epochs": 6}),
    "a chip": (chip, {"epochs": 6}),
    "ema of a chip": (chip, {"averaging": "ema", "averaging_decay": 0.9, "epochs": 6}),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kills", [(4,), (2, 3, 6)], ids=["once", "three times"])
def test_an_interrupted_training_ends_in_the_same_bits(
    data: DataSet, tmp_path: Path, case: str, kills: tuple
):
    make, config = CASES[case]
    whole, parts = make(), make()
    start = {name: value.clone() for name, value in whole.state_dict().items()}
    rows = train(whole, data, config)
    assert len(rows) >= 4
    assert any(not torch.equal(value, start[name]) for name, value in whole.state_dict().items())

    checkpoint = tmp_path / "training.ckpt"
    for kill_at in (kill for kill in kills if kill <= len(rows)):
        parts = make()  # a new process
        torch.rand(5)
        with pytest.raises(Killed):
            train(parts, data, config, checkpoint, kill_at)
        assert checkpoint.exists()
    parts = make()
    assert train(parts, data, config, checkpoint) == rows
    assert equal(parts, whole)


class DropoutElsewhere(nn.Module):
    """Dropout whose random stream is that of a device, not torch's."""

    def __init__(self, stream: torch.Generator):
        super().__init__()
        self.stream = stream

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return inputs
        return inputs * torch.randint(0, 2, inputs.shape, generator=self.stream)


def test_dropout_on_a_gpu_goes_on_in_its_own_stream(data: DataSet, tmp_path: Path, monkeypatch):
    """The GPU is a stand-in: a generator in the place of its stream, behind torch's functions."""
    gpu = torch.Generator()
    monkeypatch.setattr(torch.cuda, "manual_seed_all", gpu.manual_seed)
    monkeypatch.setattr(torch.cuda, "get_rng_state", gpu.get_state)
    monkeypatch.setattr(torch.cuda, "set_rng_state", gpu.set_state)
    epochs = FIT._Epochs
    monkeypatch.setattr(FIT, "_Epochs", lambda *words: epochs(*words[:-1], "cuda"))

    def dropping() -> nn.Module:
        net = network()
        net[3] = DropoutElsewhere(gpu)
        return net

    whole, parts, checkpoint = dropping(), dropping(), tmp_path / "training.ckpt"
    rows = train(whole, data, {"epochs": 6})
    with pytest.raises(Killed):
        train(parts, data, {"epochs": 6}, checkpoint, kill_at=4)
    parts = dropping()
    assert train(parts, data, {"epochs": 6}, checkpoint) == rows
    assert equal(parts, whole)


def test_a_checkpoint_without_a_gpu_holds_no_stream_of_one(data: DataSet, tmp_path: Path):
    checkpoint = tmp_path / "training.ckpt"
    with pytest.raises(Killed):
        train(relu(), data, {"epochs": 3}, checkpoint, kill_at=3)
    saved = torch.load(checkpoint, weights_only=False)["callbacks"]
    [state] = [state for state in saved.values() if "rows" in state]
    assert set(state) == {"rows", "chosen", "best", "order", "dropout"}


@pytest.mark.parametrize("case", ["patience", "last, sgd, cosine"])
def test_a_training_killed_after_its_last_checkpoint_is_at_its_end(
    data: DataSet, tmp_path: Path, case: str, monkeypatch: pytest.MonkeyPatch
):
    make, config = CASES[case]
    whole, parts = make(), make()
    rows = train(whole, data, config)
    checkpoint, save = tmp_path / "training.ckpt", FIT._Epochs._save

    def last(epochs: Any, *arguments: Any) -> None:
        save(epochs, *arguments)
        if len(epochs.rows) == len(rows):
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(FIT._Epochs, "_save", last)
        with pytest.raises(Killed):
            train(make(), data, config, checkpoint)
    assert train(parts, data, config, checkpoint) == rows
    assert equal(parts, whole)


def test_windows_grew_in_the_training_that_was_interrupted(data: DataSet):
    snn = spiking()
    before = [layer.width for layer in snn.layers.values()]
    train(snn, data, {"epochs": 2})
    assert all(
        layer.width > width for layer, width in zip(snn.layers.values(), before, strict=True)
    )


def test_patience_ended_the_training_that_was_interrupted(data: DataSet):
    make, config = CASES["patience"]
    assert len(train(make(), data, config)) < config["epochs"]


def test_a_checkpoint_is_whole_or_not_there(data: DataSet, tmp_path: Path, monkeypatch):
    """A kill while it is written leaves the last one."""
    checkpoint = tmp_path / "training.ckpt"
    with pytest.raises(Killed):
        train(relu(), data, {"epochs": 6}, checkpoint, kill_at=3)
    before = checkpoint.read_bytes()
    replace = Path.replace

    def killed(path: Path, target: Path) -> Path:
        if target == checkpoint:
            raise Killed
        return replace(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(Killed):
            train(relu(), data, {"epochs": 6}, checkpoint)
    assert checkpoint.read_bytes() == before
    whole, parts = relu(), relu()
    assert train(parts, data, {"epochs": 6}, checkpoint) == train(whole, data, {"epochs": 6})
    assert equal(parts, whole)


def test_a_training_that_was_at_its_end_tells_its_epochs(data: DataSet, tmp_path: Path):
    for _ in range(2):
        told: list[float] = []
        rows = fit(
            relu(), data, CONFIG | {"epochs": 2}, AXES, "cpu",
            lambda row, told=told: told.append(row["epoch"]), [], tmp_path / "training.ckpt",
        )  # fmt: skip
        assert [row["epoch"] for row in rows] == told == [1, 2]


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_damaged_checkpoint_is_told_and_is_none(data: DataSet, tmp_path: Path, share: float):
    checkpoint = tmp_path / "training.ckpt"
    with pytest.raises(Killed):
        train(relu(), data, {"epochs": 4}, checkpoint, kill_at=3)
    content = checkpoint.read_bytes()
    if share == 1:  # whole, but for one bit of the weights
        with zipfile.ZipFile(checkpoint) as archive:
            stored = archive.read("archive/data/0")
        place = content.index(stored) + len(stored) // 2
        checkpoint.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    else:
        checkpoint.write_bytes(content[: int(share * len(content))])
    whole, again = relu(), relu()
    rows = train(whole, data, {"epochs": 4})
    with pytest.warns(UserWarning, match=r"training.ckpt: cannot be read .*begins anew"):
        assert train(again, data, {"epochs": 4}, checkpoint) == rows
    assert equal(again, whole)


def test_a_full_disk_costs_the_checkpoint_alone(data: DataSet, tmp_path: Path, monkeypatch):
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pytorch_lightning.Trainer.save_checkpoint", full)
    whole, again = relu(), relu()
    rows = train(whole, data, {"epochs": 3})
    with pytest.warns(UserWarning, match=r"training.ckpt: cannot be written .*free some space"):
        assert train(again, data, {"epochs": 3}, tmp_path / "training.ckpt") == rows
    assert equal(again, whole)
    assert list(tmp_path.glob("*training*")) == []


@pytest.mark.parametrize("saved", [True, False], ids=["saved", "not saved"])
def test_a_training_asked_to_end_saves_its_last_epoch_first(
    data: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, saved: bool
):
    """As at the time limit of a cluster; where the last epoch is saved it does not wait."""
    monkeypatch.setattr(FIT, "SAVE_EVERY", 0.0 if saved else 1000.0)
    checkpoint, asked_at = tmp_path / "training.ckpt", 3
    child = os.fork()
    if child == 0:
        net, batches = relu(), 0

        def ask(*_: object) -> None:
            nonlocal batches
            batches += net.training
            if batches == asked_at * per_epoch - 1:  # in the middle of an epoch
                os.kill(os.getpid(), signal.SIGTERM)

        per_epoch = -(-len(data.train.labels) // CONFIG["batch_size"])
        net.register_forward_pre_hook(ask)
        try:
            train(net, data, {"epochs": 6}, checkpoint)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGTERM
    epochs = len(torch.load(checkpoint, weights_only=False)["callbacks"]["_Epochs"]["rows"])
    assert epochs == (asked_at - 1 if saved else asked_at)
    whole, parts = relu(), relu()
    assert train(parts, data, {"epochs": 6}, checkpoint) == train(whole, data, {"epochs": 6})
    assert equal(parts, whole)
