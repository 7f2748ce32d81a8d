"""The memory that a network needs at the least, and the memory that there is."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from kit.stages import CELL, GRID
from torch import nn

import ttfs
from ttfs.__main__ import main
from ttfs.config import load_grid
from ttfs.models import build
from ttfs.stages import memory
from ttfs.timed import to_leaky

PACKAGE = str(Path(ttfs.__file__).parents[1])
ANN = CELL.format("ann")


@pytest.mark.parametrize(
    ("layers", "said"),
    [
        ("1000000000000", "needs at least 305,473.8 GiB"),
        ("4C3-P2-6-9000000000000000000", "is larger than any memory"),
        ("1" + "0" * 30, "is larger than any memory"),
    ],
)
def test_a_network_beyond_memory_is_refused_before_it_is_built(
    fresh: Path, capsys, layers: str, said: str
):
    Path("configs/models/little.yaml").write_text(f'title: L\nlayers: "{layers}"\n')
    assert main(["trial", GRID]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: made: model 'little'")
    assert said in line


def test_a_batch_beyond_memory_is_refused_before_the_training(fresh: Path, capfd, monkeypatch):
    size = memory.size_of(load_grid(GRID).models["little"].config, (1, 6, 6), 3)
    pixels, maps, pooled, hidden = 36, 4 * 16, 4 * 4, 6  # inputs of maps, and results of ReLUs
    assert size == memory.Size(weights=(9 + 1) * 4 + (16 + 1) * 6 + (6 + 1) * 3,
                               kept=pixels + maps + pooled + hidden, largest=maps,
                               neurons=maps + hidden)  # fmt: skip
    monkeypatch.setattr(memory, "memory", lambda: size.needed(8, True) - 1)
    assert main(["trial", GRID]) == 0
    assert main(["make", GRID, ANN]) == 2
    said = capfd.readouterr().err
    assert f"{ANN}: needs at least 0.0 GiB of memory" in said
    assert "of each of 8 inputs" in said
    assert "Traceback" not in said
    monkeypatch.setattr(memory, "memory", lambda: size.needed(8, True))
    assert main(["make", GRID, ANN]) == 0


NETWORKS = [
    {"layers": "4C3-P2-6"},
    {"layers": "4C3-A2-4C2-G-6", "batch_norm": "before", "dropout": 0.5},
    {"layers": "4C3-P2-6", "batch_norm": "after"},
    {"residual": {"width": 2, "block": "pre", "depth": 8}},
    {"residual": {"width": 2, "block": "post", "depth": 8}},
]
SHAPE = (1, 12, 12)


def completed(config: dict) -> dict:
    layers = {"padding": "valid", "batch_norm": "none", "dropout": 0.0}
    return {"id": "made", "initialization": "he-uniform", **layers, **config}


def bytes_kept(network: nn.Module, narrow: bool = False) -> int:
    """Of all that a real pass of 40 inputs keeps for the backward pass, without the weights."""
    there, kept = {value.data_ptr() for value in network.parameters()}, {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in there:
            kept[storage.data_ptr()] = storage
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with hooks, torch.autocast("cpu", torch.bfloat16, enabled=narrow):
        network(torch.rand(40, *SHAPE))
    return sum(storage.nbytes() for storage in kept.values())


@pytest.mark.parametrize("config", NETWORKS)
@pytest.mark.parametrize("narrow", [False, True], ids=["float32", "bfloat16"])
def test_a_training_keeps_no_less_than_is_counted(config: dict, narrow: bool):
    """No network is refused that would run: each tensor that a real training keeps is measured."""
    size = memory.size_of(completed(config), SHAPE, 3)
    assert size is not None
    measured = bytes_kept(build(completed(config), SHAPE, 3).train(), narrow)
    counted = size.needed(40, trained=True, narrow=narrow) - 2 * 4 * size.weights
    assert 0.5 * measured <= counted <= measured


@pytest.mark.parametrize("config", NETWORKS)
def test_a_training_through_time_keeps_no_less_than_is_counted(config: dict):
    size = memory.size_of(completed(config), SHAPE, 3)
    assert size is not None
    network = to_leaky(build(completed(config), SHAPE, 3), torch.rand(1, *SHAPE), steps=9)
    measured = bytes_kept(network)
    counted = size.needed(40, trained=True, steps=9) - 2 * 4 * size.weights
    assert 0.3 * measured <= counted <= measured


def test_the_steps_of_a_training_through_time_are_counted(fresh: Path, capfd, monkeypatch):
    Path(GRID).write_text(Path(GRID).read_text().replace("[ann, ", "[ann, lif, "))
    size = memory.size_of(load_grid(GRID).models["little"].config, (1, 6, 6), 3)
    monkeypatch.setattr(memory, "memory", lambda: size.needed(2, True, steps=10) - 1)
    assert main(["trial", GRID]) == 2
    [line] = capfd.readouterr().err.splitlines()
    assert line.startswith("error: made, model 'little', method 'lif': needs at least")
    assert "for 163 weights and 1,400 values of each of 2 inputs" in line


def test_a_limit_on_memory_counts():
    program = (
        "import resource; from ttfs.memory import memory; limit = memory() - 1; "
        "resource.setrlimit(resource.RLIMIT_AS, (limit, limit)); print(memory() - limit)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": PACKAGE},
    )  # fmt: skip
    assert done.stdout == "0\n", done.stderr


@pytest.mark.parametrize(("said", "counts"), [("1000\n", True), ("max\n", False)])
def test_a_limit_of_the_control_group_counts(tmp_path: Path, monkeypatch, said: str, counts: bool):
    monkeypatch.setattr("ttfs.memory.GROUP_LIMITS", ())
    without, limit = memory.memory(), tmp_path / "memory.max"
    limit.write_text(said)
    monkeypatch.setattr("ttfs.memory.GROUP_LIMITS", (tmp_path / "nothing", limit))
    assert memory.memory() == (1000 if counts else without)
