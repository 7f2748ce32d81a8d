"""Makers of data for tests. They write below data/ of the working directory."""

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ttfs.config import read_yaml
from ttfs.data import Split, load
from ttfs.data.places import DATA
from ttfs.errors import UserError

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "configs"


def config(source: dict, **changes) -> dict:
    """Return the config of a data set called made."""
    return {
        "id": "made",
        "source": source,
        "shape": [1, 6, 6],
        "classes": 3,
        "validation": 0.25,
    } | changes


def fault(source: dict, **changes) -> str:
    """Return what loading the data set complains of."""
    with pytest.raises(UserError) as caught:
        load(config(source, **changes), "made.yaml")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def write_npz(rng, name: str = "made.npz", size: tuple = (40, 6, 6), **changes) -> dict:
    arrays = {}
    for half in ("train", "test"):
        arrays[f"x_{half}"] = rng.integers(0, 256, size, dtype=np.uint8)
        arrays[f"y_{half}"] = np.arange(size[0]) % 3
    np.savez(DATA / name, **(arrays | changes))
    return arrays | changes


def write_images(
    rng, folder: Path, count: int = 8, size: tuple = (6, 6, 3), suffix: str = ".png"
) -> None:
    for label in ("cat", "dog", "eel"):
        (folder / label).mkdir(parents=True)
        for number in range(count):
            image = Image.fromarray(rng.integers(0, 256, size, dtype=np.uint8))
            image.save(folder / label / f"{number}{suffix}")


def everything(split: Split, **how) -> tuple[torch.Tensor, torch.Tensor]:
    """Return all images and labels of one pass."""
    images, labels = zip(*split.batches(7, **how), strict=True)
    return torch.cat(images), torch.cat(labels)


def write_mnist(rng, root: Path, kind: str = "MNIST", count: int = 30) -> np.ndarray:
    raw = root / kind / "raw"
    raw.mkdir(parents=True)
    for half in ("train", "t10k"):
        images = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        head = struct.pack(">IIII", 0x803, count, 28, 28)
        (raw / f"{half}-images-idx3-ubyte").write_bytes(head + images.tobytes())
        labels = (np.arange(count) % 10).astype(np.uint8)
        (raw / f"{half}-labels-idx1-ubyte").write_bytes(
            struct.pack(">II", 0x801, count) + labels.tobytes()
        )
    return images


def shipped(name: str, **changes) -> dict:
    """Return a shipped config with changes."""
    return read_yaml(CONFIGS / f"datasets/{name}.yaml", "dataset") | changes
