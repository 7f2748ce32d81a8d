"""`python -m ttfs`: what it prints, what it leaves behind, and with which status it ends."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from ttfs import config
from ttfs.__main__ import main
from ttfs.stages import train as train_stage

pytestmark = pytest.mark.xdist_group("training")  # one import of Lightning and one store

DATASET = """
title: Made up
source: {npz: made.npz}
shape: [3, 32, 32]
classes: 3
validation: 8
epochs: 2
batch_size: 8
citation: nobody
"""
GRID = "datasets: [made]\nmodels: [little]\nmethods: [ann, b1-converted]\nseeds: [0]\n"
CELL = "made/little/seed0"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The working directory, with a grid of one little network that is trained, converted and verified."""
    folder = tmp_path_factory.mktemp("house")
    shutil.copytree(config.CONFIGS, folder / "configs")
    (folder / "configs" / "tiny.yaml").write_text(GRID)
    (folder / "configs" / "datasets" / "made.yaml").write_text(DATASET)
    (folder / "configs" / "models" / "little.yaml").write_text("title: T\nlayers: 4C3s2-P2-6\nbatch_norm: after\n")
    (folder / "data").mkdir()
    write_data(folder / "data" / "made.npz")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(config, "CONFIGS", folder / "configs")
        patch.delenv("TTFS_DATA", raising=False)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.chdir(folder)
        for verb, method in (("train", "ann"), ("convert", "b1-converted"), ("verify", "b1-converted")):
            assert main([verb, "configs/tiny.yaml", f"{CELL}/{method}"]) == 0
        yield folder


@pytest.fixture
def spoiled(house: Path) -> Iterator[Path]:
    """The same, put back in order afterwards, but for the store, which MLflow holds open."""
    kept = house.with_name("kept")
    shutil.copytree(house, kept)
    yield house
    for place in ("configs", "data", "results/tiny"):
        shutil.rmtree(house / place, ignore_errors=True)
        (house / place).unlink(missing_ok=True)
        shutil.copytree(kept / place, house / place)
    shutil.rmtree(kept)


@pytest.fixture
def fails(capsys: pytest.CaptureFixture) -> Callable[..., str]:
    """Run a command that must end with status 2; return its one line of error."""

    def fails(*arguments: str) -> str:
        capsys.readouterr()
        assert main(arguments) == 2
        lines = [line for line in capsys.readouterr().err.splitlines() if "error: " in line]
        assert len(lines) == 1
        return lines[0]

    return fails


def write_data(path: Path) -> None:
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (40, 32, 32, 3), dtype=np.uint8), np.arange(40) % 3
    np.savez(path, x_train=images[:32], y_train=labels[:32], x_test=images[32:], y_test=labels[32:])


def folder(method: str) -> Path:
    return Path("results/tiny", CELL, method)


def failure(method: str) -> dict:
    return json.loads((folder(method) / "failure.json").read_text())


def test_check_lists_the_cells(house, capsys):
    assert main(["check", "configs/tiny.yaml"]) == 0
    assert capsys.readouterr().out.split() == [f"{CELL}/ann", f"{CELL}/b1-converted"]


def test_usage(capsys):
    for arguments in ([], ["fly", "configs/tiny.yaml"], ["train", "configs/tiny.yaml"]):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == 2
        assert "usage: python -m ttfs" in capsys.readouterr().err


def test_each_stage_leaves_its_files_and_a_record(house):
    assert {"weights.pt", "curve.csv", "record.json"} <= {path.name for path in folder("ann").iterdir()}
    assert {"weights.pt", "record.json"} <= {path.name for path in folder("b1-converted").iterdir()}
    trained, verified = (json.loads((folder(m) / "record.json").read_text()) for m in ("ann", "b1-converted"))
    assert trained["status"] == verified["status"] == "ok"
    assert trained["metrics"]["accuracy"] == verified["metrics"]["accuracy"]
    assert verified["metrics"]["agreement"] == 100.0
    assert verified["metrics"]["logit_difference"] < 1e-5
    assert 0 < verified["metrics"]["spikes_per_neuron"] < 1
    assert trained["data_digest"] == verified["data_digest"] != ""
    assert trained["code_digest"] != verified["code_digest"]
    rows = (folder("ann") / "curve.csv").read_text().splitlines()
    assert rows[0].startswith("epoch,train_loss")
    assert len(rows) == 3


def test_the_same_command_gives_the_same_bytes(spoiled):
    files = [
        folder(m) / name for m, name in (("ann", "weights.pt"), ("ann", "curve.csv"), ("b1-converted", "weights.pt"))
    ]
    before = [path.read_bytes() for path in files]
    shutil.rmtree("results/tiny")
    torch.rand(5)
    for verb, method in (("train", "ann"), ("convert", "b1-converted")):
        assert main([verb, "configs/tiny.yaml", f"{CELL}/{method}"]) == 0
    assert [path.read_bytes() for path in files] == before


def test_tables_figures_and_publish(spoiled, capsys):
    for verb in ("tables", "figures", "publish", "publish"):
        assert main([verb, "configs/tiny.yaml"]) == 0
    assert "2 runs, 0 written, 0 deleted" in capsys.readouterr().out
    assert "100.00" in Path("results/tiny/tables/summary.md").read_text()
    assert Path("results/tiny/figures/training-curves.svg").stat().st_size > 1000
    with sqlite3.connect("results/mlflow.db") as store:
        assert store.execute("SELECT count(*) FROM runs WHERE lifecycle_stage = 'active'").fetchone() == (2,)
    store.close()


def test_what_names_nothing(house, fails):
    assert "grid tiny has no cell 'made/little/seed1/ann'" in fails(
        "train", "configs/tiny.yaml", "made/little/seed1/ann"
    )
    assert "configs/tinny.yaml: no such file" in fails("tables", "configs/tinny.yaml")


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what is said where there is no GPU")
def test_a_gpu_that_is_not_there(spoiled, fails):
    Path("configs/tiny.yaml").write_text(GRID + "device: cuda\n")
    assert "key 'device' is 'cuda', but there is no GPU" in fails("train", "configs/tiny.yaml", f"{CELL}/ann")


def test_missing_data_are_a_failure_until_they_are_there(spoiled, fails):
    Path("data/made.npz").unlink()
    assert "configs/datasets/made.yaml: key 'source.npz': no file 'made.npz'; put it into" in fails(
        "train", "configs/tiny.yaml", f"{CELL}/ann"
    )
    assert failure("ann")["status"] == "failed"
    assert failure("ann")["error"].startswith("train: configs/datasets/made.yaml")
    assert not (folder("ann") / "record.json").exists()
    write_data(Path("data/made.npz"))
    assert main(["train", "configs/tiny.yaml", f"{CELL}/ann"]) == 0
    assert not (folder("ann") / "failure.json").exists()
    assert (folder("ann") / "record.json").exists()


@pytest.mark.parametrize("content", [b"", b"no checkpoint", None], ids=["empty", "text", "truncated"])
def test_a_corrupt_checkpoint_is_named(spoiled, fails, content: bytes | None):
    path = folder("ann") / "weights.pt"
    path.write_bytes(path.read_bytes()[:900] if content is None else content)
    said = fails("convert", "configs/tiny.yaml", f"{CELL}/b1-converted")
    assert f"{path}: not a checkpoint of this network" in said
    assert "delete it and run the workflow again" in said
    assert failure("b1-converted")["error"].startswith(f"convert: {path}")
    assert not (folder("b1-converted") / "record.json").exists()


def test_a_checkpoint_of_another_network_is_named(spoiled, fails):
    Path("configs/models/little.yaml").write_text("title: T\nlayers: 4C3s2-P2-7\nbatch_norm: after\n")
    assert "not a checkpoint of this network" in fails("convert", "configs/tiny.yaml", f"{CELL}/b1-converted")


def test_a_missing_checkpoint_is_named(spoiled, fails):
    (folder("b1-converted") / "weights.pt").unlink()
    said = fails("verify", "configs/tiny.yaml", f"{CELL}/b1-converted")
    assert f"{folder('b1-converted')}/weights.pt: no such file; run the stage that makes it" in said


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("logit_difference: 1.0e-30", "tolerance 1e-30), agreement is 100.00 %; first off is layer"),
        ("spike_time_error: 1.0e-30", "closed form and event-driven simulator differ by"),
    ],
)
def test_a_conversion_outside_its_tolerance_fails_with_the_layer(spoiled, fails, setting: str, said: str):
    Path("configs/tiny.yaml").write_text(GRID + f"verify: {{{setting}}}\n")
    assert said in fails("verify", "configs/tiny.yaml", f"{CELL}/b1-converted")
    assert "layer" in failure("b1-converted")["error"]


@pytest.mark.parametrize(
    ("model", "said"),
    [("mobilenet_v3_small", "Hardswish"), ("efficientnet_b0", "SiLU")],
)
def test_an_unsupported_layer_is_refused_by_name(spoiled, fails, model: str, said: str):
    from ttfs.models import build

    Path("configs/models/little.yaml").write_text(f"title: T\ntorchvision: {model}\n")
    network = build(config.read_yaml("configs/models/little.yaml", "model"), (3, 32, 32), 3)
    torch.save(network.state_dict(), folder("ann") / "weights.pt")
    assert said in fails("convert", "configs/tiny.yaml", f"{CELL}/b1-converted")


def test_a_fault_of_the_program_is_a_failure_with_a_traceback(spoiled, capsys, monkeypatch):
    def broken(job: object) -> None:
        raise ZeroDivisionError("so\nit goes")

    monkeypatch.setattr(train_stage, "train", broken)
    assert main(["train", "configs/tiny.yaml", f"{CELL}/ann"]) == 1
    assert "Traceback" in capsys.readouterr().err
    assert failure("ann")["error"] == "train: ZeroDivisionError: so it goes"


def test_results_that_cannot_be_written_are_no_traceback(spoiled, capsys):
    shutil.rmtree("results/tiny")
    Path("results/tiny").write_text("in the way")
    assert main(["convert", "configs/tiny.yaml", f"{CELL}/b1-converted"]) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert "results/tiny" in said.splitlines()[-1]
    assert "cannot be written (Not a directory); make the folder writable" in said.splitlines()[-1]


def test_tables_of_a_grid_that_never_ran(spoiled, fails):
    shutil.rmtree("results/tiny")
    for verb in ("tables", "figures", "publish"):
        assert "results/tiny: no records" in fails(verb, "configs/tiny.yaml")


def test_evaluation_loads_no_trainer_no_store_and_no_torchvision(spoiled):
    program = f"""
import sys
from pathlib import Path
from ttfs import config
from ttfs.__main__ import main
config.CONFIGS = Path("configs").resolve()
for verb in ("convert", "verify"):
    assert main([verb, "configs/tiny.yaml", "{CELL}/b1-converted"]) == 0
print("HEAVY:", sorted({{"mlflow", "pytorch_lightning", "torchvision", "pandas", "matplotlib"}} & set(sys.modules)))
"""
    place = os.environ | {"PYTHONPATH": str(config.ROOT)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=place)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("HEAVY: []\n")


def test_data_that_changed_since_training_are_noticed(spoiled, fails):
    images, labels = np.zeros((40, 32, 32, 3), dtype=np.uint8), np.arange(40) % 3
    np.savez("data/made.npz", x_train=images[:32], y_train=labels[:32], x_test=images[32:], y_test=labels[32:])
    for verb in ("convert", "verify"):
        assert "trained on other data than there are now" in fails(verb, "configs/tiny.yaml", f"{CELL}/b1-converted")


def test_keep_copies_records_and_tables_for_git(spoiled, capsys):
    for verb in ("tables", "keep"):
        assert main([verb, "configs/tiny.yaml"]) == 0
    assert "results/published/tiny: 2 records, 9 tables" in capsys.readouterr().out
    for path in (f"{CELL}/ann/record.json", f"{CELL}/b1-converted/record.json", "tables/summary.md"):
        assert Path("results/published/tiny", path).read_bytes() == Path("results/tiny", path).read_bytes()
    shutil.rmtree("results/published")


def test_the_folder_of_kept_records_is_no_grid(house, fails):
    shutil.copy("configs/tiny.yaml", "configs/published.yaml")
    assert "give the grid another name" in fails("check", "configs/published.yaml")
    Path("configs/published.yaml").unlink()


def test_a_stage_that_is_not_the_cell_s(house, fails):
    said = fails("train", "configs/tiny.yaml", f"{CELL}/b1-converted")
    assert said.endswith("b1-converted has no such stage; its own are: convert and verify")
    for verb in ("convert", "verify"):
        assert fails(verb, "configs/tiny.yaml", f"{CELL}/ann").endswith("ann has no such stage; its own are: train")


def test_converting_what_is_not_trained_yet(spoiled, fails):
    (folder("ann") / "record.json").unlink()
    assert "no such file; train made/little/seed0/ann first" in fails(
        "convert", "configs/tiny.yaml", f"{CELL}/b1-converted"
    )


def test_keep_without_tables_keeps_nothing(spoiled, fails):
    shutil.rmtree("results/tiny/tables", ignore_errors=True)
    assert "no tables there" in fails("keep", "configs/tiny.yaml")
    assert not Path("results/published").exists()
