"""Several devices that train the network of one cell."""

import os
from pathlib import Path

import pytest
import torch
from kit.stages import CELL, GRID, cell, edit, record, run_stages, weights

from ttfs.results import tracking
from ttfs.results.record import read_made

pytestmark = pytest.mark.xdist_group("training")  # one import of Lightning

ANN = CELL.format("ann")
DEVICES = "made/little/ann+devices=2/seed0"


@pytest.fixture
def two_devices(fresh: Path) -> Path:
    """The little grid with a ReLU network that two devices train."""
    edit(GRID, "[ann,", "[ann, {method: ann, over: {devices: 2}},")
    return fresh


def test_two_devices_make_the_network_of_one(two_devices: Path, capfd: pytest.CaptureFixture):
    stages = [f"{stage} {name}" for name in (ANN, DEVICES) for stage in ("make", "evaluate")]
    assert set(run_stages(stages).values()) == {0}
    one, two = weights("ann"), weights("ann+devices=2")
    assert all(torch.allclose(two[name], one[name], rtol=0, atol=1e-6) for name in one)
    assert record("ann+devices=2").metrics["accuracy"] == record("ann").metrics["accuracy"]
    assert set(read_made(cell("ann+devices=2")).files) == {"weights.pt", "curve.csv"}
    assert read_made(cell("ann+devices=2")).provenance.precision == "float32"
    told = [line for line in capfd.readouterr().err.splitlines() if f"[{DEVICES}] epoch" in line]
    assert len(told) == 6  # the first rank alone speaks


def test_one_of_two_devices_logs_to_mlflow(two_devices: Path, monkeypatch: pytest.MonkeyPatch):
    def attempt(run: tracking.LiveRun, step: object) -> None:
        if run._works:
            Path(f"logged-{os.getpid()}").touch()

    monkeypatch.setattr(tracking.LiveRun, "_attempt", attempt)
    assert run_stages([f"make {DEVICES}"]) == {f"make {DEVICES}": 0}
    assert len(list(two_devices.glob("logged-*"))) == 1


def test_more_devices_than_gpus_are_refused_before_a_training(
    two_devices: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    edit("configs/methods/ann.yaml", "kind: relu", "kind: relu\ndevice: cuda")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert run_stages([f"make {DEVICES}"]) == {f"make {DEVICES}": 2}
    fault = "key 'devices' is 2, more than this machine's GPUs (1); lower it"
    assert f"error: method ann+devices=2: {fault}" in capsys.readouterr().err
    assert not (cell("ann+devices=2") / "weights.pt").exists()


def test_ranks_that_would_have_no_item_are_one_error(
    two_devices: Path, capfd: pytest.CaptureFixture
):
    edit("configs/datasets/made.yaml", "batch_size: 8", "batch_size: 46")
    edit(GRID, "devices: 2", "devices: 3")
    name = DEVICES.replace("2", "3")
    assert run_stages([f"make {name}"]) == {f"make {name}": 2}
    said = [line for line in capfd.readouterr().err.splitlines() if "error" in line]
    assert len(said) == 1
    assert "key 'devices': 3 devices share each batch, and one has" in said[0]
