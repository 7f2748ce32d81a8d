"""What unit tests share."""

import os
import random
import shutil
from pathlib import Path

import pytest
import torch

from ttfs.config import SHIPPED

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
