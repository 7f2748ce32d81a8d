"""How new data arrive: whole, once, and in data/ alone."""

import shutil
import tarfile
import threading
from pathlib import Path

import numpy as np
import pytest
from kit.data import config, fault
from PIL import Image
from torchvision.datasets import VisionDataset

from ttfs.data import load
from ttfs.data.arrival import staged
from ttfs.data.places import DATA
from ttfs.errors import UserError


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


def packed(place: Path, value: int, count: int = 10) -> None:
    """A .tar of gray pictures of one value, in two classes."""
    images = DATA / "packing"
    for label in ("a", "b"):
        (images / label).mkdir(parents=True)
        for number in range(count):
            Image.new("L", (6, 6), value).save(images / label / f"{number}.png")
    place.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(place, "w") as tar:
        for label in ("a", "b"):
            tar.add(images / label, label)
    shutil.rmtree(images)


def pictures(name: str) -> dict:
    return config({"folder": name}, shape=[1, 6, 6], classes=2, validation=4, test=4)


def test_folders_of_one_last_name_are_several(tmp_path):
    places = {"x/images": 10, "y/images": 200, str(tmp_path / "elsewhere/images"): 90}
    for name, value in places.items():
        packed(Path(f"{name}.tar") if Path(name).is_absolute() else DATA / f"{name}.tar", value)
    for _ in range(2):  # and when they are there
        for name, value in places.items():
            seen = {round(255 * x.max().item()) for x, _ in load(pictures(name)).test.batches(9)}
            assert seen == {value}
    assert (DATA / "x/images/a").is_dir()
    packed(DATA / "x/images.tar", 11, 30)
    with pytest.raises(UserError, match=r"unpacked from another images.tar than there is now"):
        load(pictures("x/images"))


@pytest.mark.parametrize("cut", [None, 0, 100, "bit"])
def test_an_archive_that_lost_its_end_is_damaged(cut):
    """`tarfile` takes a damaged or missing header for the end."""
    packed(DATA / "whole.tar", 10)
    with tarfile.open(DATA / "whole.tar") as tar:
        middle = tar.getmembers()[13].offset
    content = bytearray((DATA / "whole.tar").read_bytes())
    if cut == "bit":
        content[middle + 3] ^= 1
    elif cut is not None:
        del content[middle + cut :]
    (DATA / "images.tar").write_bytes(content)
    if cut is None:
        assert len(load(pictures("images")).test) == 4
        return
    with pytest.raises(UserError, match=r"images.tar: cannot be unpacked: it ends early, or is"):
        load(pictures("images"))
    assert not (DATA / "images").exists()


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
