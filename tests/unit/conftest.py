"""What unit tests share."""

import os
import random
import shutil
from pathlib import Path

import pytest
import torch
from kit.grids import GRID
from torch import nn

from ttfs.config import SHIPPED, Grid, load_grid, read_yaml
from ttfs.models import build

torch.set_num_threads(1)  # tensors here are small: threads would only wait for one another


@pytest.fixture
def seed() -> int:
    """Seed torch and Python with a fresh number, shown if the test fails; TTFS_TEST_SEED=<number>
    repeats it.
    """
    number = int(os.environ.get("TTFS_TEST_SEED") or random.SystemRandom().randrange(2**31))
    print(f"TTFS_TEST_SEED={number}")
    torch.manual_seed(number)
    random.seed(number)
    return number


@pytest.fixture
def configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of configs/ in a fresh working directory, to add to and to spoil."""
    folder = tmp_path / "configs"
    shutil.copytree(SHIPPED / "configs", folder)
    monkeypatch.delenv("TTFS_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def plan(configs: Path):
    """Return a function that reads the grid with changes {old: new}."""

    def read(changes: dict[str, str] | None = None) -> Grid:
        text = GRID
        for old, new in (changes or {}).items():
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        (configs / "mine.yaml").write_text(text)
        return load_grid("configs/mine.yaml")

    return read


@pytest.fixture
def model(tmp_path: Path):
    """Return a function that builds a network from the lines of a YAML file, through its schema."""

    def make(lines: str, shape: tuple[int, ...] = (1, 28, 28), classes: int = 10) -> nn.Module:
        path = tmp_path / "mine.yaml"
        path.write_text(f"title: Mine\n{lines}\n")
        return build(read_yaml(path, "model"), shape, classes)

    return make
