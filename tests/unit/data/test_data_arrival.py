"""How new data arrive: whole, once, and in data/ alone."""

import threading
from pathlib import Path

import numpy as np
import pytest
from kit.data import config, fault
from torchvision.datasets import VisionDataset

from ttfs.data import load
from ttfs.data.arrival import staged
from ttfs.data.places import DATA


class Fetched(VisionDataset):
    """A torchvision class that takes an existing folder for a complete one, as several do."""

    downloads = 0
    fails = False

    def __init__(self, root, train=True, download=False):
        folder = Path(root) / "fetched"
        if download and not folder.exists():
            folder.mkdir()
            if Fetched.fails:
                raise ConnectionError("cable pulled")
            Fetched.downloads += 1
            (folder / "whole").touch()
        if not folder.exists():
            raise RuntimeError("Dataset not found. You can use download=True to download it")
        self.data = np.zeros((12, 6, 6), np.uint8)
        self.targets = [0, 1, 2] * (4 if (folder / "whole").exists() else 0)


@pytest.fixture
def fetched(monkeypatch):
    from torchvision import datasets

    monkeypatch.setattr(datasets, "Fetched", Fetched, raising=False)
    monkeypatch.setattr(Fetched, "downloads", 0)
    monkeypatch.setattr(Fetched, "fails", False)
    return config(
        {"torchvision": {"name": "Fetched", "train": {"train": True}, "test": {"train": False}}}
    )


def test_broken_download_does_not_pass_for_a_whole_one(fetched, monkeypatch):
    monkeypatch.setattr(Fetched, "fails", True)
    assert "cable pulled" in fault(fetched["source"])
    monkeypatch.setattr(Fetched, "fails", False)
    assert len(load(fetched).test) == 12


def test_killed_download_does_not_pass_for_a_whole_one(fetched):
    (DATA / ".Fetched.partial/fetched").mkdir(parents=True)
    assert len(load(fetched).test) == 12


def test_jobs_at_once_download_once(fetched):
    jobs = [threading.Thread(target=load, args=(fetched,)) for _ in range(4)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert Fetched.downloads == 1


def test_nothing_is_downloaded_into_data_at_hand(fetched, tmp_path, monkeypatch):
    at_hand = tmp_path / "at-hand"
    at_hand.mkdir()
    monkeypatch.setenv("TTFS_DATA", str(at_hand))
    load(fetched)
    assert not list(at_hand.iterdir())
    assert (DATA / "fetched/whole").exists()


def test_staged_replaces_what_it_brings():
    (DATA / "thing").mkdir()
    (DATA / "thing/old").touch()
    with staged("thing") as staging:
        (staging / "thing").mkdir()
        (staging / "thing/new").touch()
    assert [path.name for path in (DATA / "thing").iterdir()] == ["new"]
    assert [path.name for path in DATA.iterdir()] == ["thing"]
