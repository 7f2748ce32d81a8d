"""TTFS networks through the stages: trained from scratch, converted, fine-tuned, and held against their ReLU twins."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from ttfs import config
from ttfs.__main__ import main
from ttfs.config import load_grid
from ttfs.results.records import METRICS, Record, read

pytestmark = pytest.mark.xdist_group("training")  # one import of Lightning and one store

METHODS = ["ann", "b1-scratch", "b1-converted", "b1-finetuned", "alpha1-converted", "alpha1-finetuned"]
CELL = "digits/fc2/seed0"
TRAINED = {"accuracy", "best_validation_accuracy", "best_epoch", "parameters"}
VERIFIED = {
    "accuracy", "agreement", "logit_difference", "spikes_per_neuron", "latency", "synaptic_operations", "energy",
    "ann_energy", "parameters", "spike_time_error", "early_fire_rate",
}  # fmt: skip


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The working directory, with a grid of digits in which every method has run for one epoch."""
    folder = tmp_path_factory.mktemp("house")
    shutil.copytree(config.CONFIGS, folder / "configs")
    (folder / "configs" / "chain.yaml").write_text(
        f"datasets: [digits]\nmodels: [fc2]\nmethods: [{', '.join(METHODS)}]\nseeds: [0]\n"
    )
    for file, old in (("datasets/digits", "epochs: 40"), ("methods/b1-finetuned", "epochs: 3")):
        path = folder / "configs" / f"{file}.yaml"
        assert path.read_text().count(old) == 1
        path.write_text(path.read_text().replace(old, "epochs: 1"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(config, "CONFIGS", folder / "configs")
        patch.delenv("TTFS_DATA", raising=False)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.chdir(folder)
        grid = load_grid("configs/chain.yaml")
        for method in METHODS:
            for stage in grid.stages(method):
                assert main([stage, "configs/chain.yaml", f"{CELL}/{method}"]) == 0
        yield folder


def folder(method: str) -> Path:
    return Path("results/chain", CELL, method)


def record(method: str) -> Record:
    return read(folder(method) / "record.json")


def weights(method: str) -> dict[str, torch.Tensor]:
    state = torch.load(folder(method) / "weights.pt", weights_only=True)
    return {name: value for name, value in state.items() if value.dtype == torch.float32}


def test_records_hold_what_their_stages_measure(house):
    expected = {
        "ann": TRAINED,
        "b1-scratch": TRAINED | VERIFIED,
        "b1-converted": VERIFIED,
        "b1-finetuned": TRAINED | VERIFIED,
        "alpha1-converted": VERIFIED | {"stalled_neurons"},
        "alpha1-finetuned": TRAINED | VERIFIED | {"stalled_neurons"},
    }
    for method, metrics in expected.items():
        assert set(record(method).metrics) == metrics <= set(METRICS), method
        [block] = {"train", "convert"} & set(record(method).config)
        assert block == ("convert" if "converted" in method else "train")


def test_a_ttfs_network_answers_as_its_reference(house):
    metrics = {method: record(method).metrics for method in METHODS}
    for method in METHODS[1:]:
        assert metrics[method]["agreement"] == 100.0, method
        assert metrics[method]["logit_difference"] <= (0.0 if method.startswith("b1") else 1e-4)
        assert metrics[method]["spike_time_error"] <= 1e-9
    for method in ("b1-scratch", "b1-converted", "alpha1-converted"):
        assert metrics[method]["accuracy"] == metrics["ann"]["accuracy"]
    assert 0 < metrics["b1-finetuned"]["spikes_per_neuron"] < 1
    for method in ("alpha1-converted", "alpha1-finetuned"):
        assert (metrics[method]["spikes_per_neuron"], metrics[method]["stalled_neurons"]) == (1.0, 0.0)
        assert metrics[method]["synaptic_operations"] > metrics["b1-converted"]["synaptic_operations"]


def test_b1_from_scratch_is_the_relu_network_to_the_last_byte_of_the_curve(house):
    assert (folder("b1-scratch") / "curve.csv").read_bytes() == (folder("ann") / "curve.csv").read_bytes()
    for trained, twin in zip(weights("ann").values(), weights("b1-scratch").values(), strict=True):
        assert torch.equal(trained, twin)


@pytest.mark.parametrize("neuron", ["b1", "alpha1"])
def test_fine_tuning_starts_where_its_source_ended(house, neuron: str):
    epochs = {"b1": 1, "alpha1": 3}[neuron]
    source, tuned = weights(f"{neuron}-converted"), weights(f"{neuron}-finetuned")
    moved = max((tuned[name] - value).abs().max().item() for name, value in source.items())
    assert 0 < moved < 2 * 5e-5 * 41 * epochs  # 41 steps an epoch, of about the learning rate each
    assert len((folder(f"{neuron}-finetuned") / "curve.csv").read_text().splitlines()) == 1 + epochs
    assert record(f"{neuron}-finetuned").config["train"]["epochs"] == epochs


def test_a_stage_that_is_not_the_cell_s(house, capsys):
    for verb, method, own in (
        ("verify", "ann", "train"),
        ("convert", "b1-finetuned", "train and verify"),
        ("train", "alpha1-converted", "convert and verify"),
    ):
        assert main([verb, "configs/chain.yaml", f"{CELL}/{method}"]) == 2
        said = capsys.readouterr().err
        assert said == f"error: {verb}: the method of {CELL}/{method} has no such stage; its own are: {own}\n"


def test_a_source_that_has_not_run_is_named(house, capsys):
    kept = (folder("b1-converted") / "weights.pt").rename(house / "kept.pt")
    assert main(["train", "configs/chain.yaml", f"{CELL}/b1-finetuned"]) == 2
    assert f"{folder('b1-converted')}/weights.pt: no such file; run the stage that makes it" in capsys.readouterr().err
    kept.rename(folder("b1-converted") / "weights.pt")
    for verb in ("train", "verify"):
        assert main([verb, "configs/chain.yaml", f"{CELL}/b1-finetuned"]) == 0


def test_windows_that_clip_are_named_with_the_cure(house, capsys):
    path = folder("b1-finetuned") / "weights.pt"
    state = torch.load(path, weights_only=True)
    kept = path.read_bytes()
    for name, value in state.items():
        if name.endswith("window_width"):
            value *= 0.1
    torch.save(state, path)
    assert main(["verify", "configs/chain.yaml", f"{CELL}/b1-finetuned"]) == 2
    said = capsys.readouterr().err
    assert "error: not the ReLU network: logits differ by" in said
    assert said.endswith("if its window clips strong activations, raise train.headroom\n")
    path.write_bytes(kept)
    assert main(["verify", "configs/chain.yaml", f"{CELL}/b1-finetuned"]) == 0
