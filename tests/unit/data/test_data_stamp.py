"""A stamp changes when the files behind a data set do, and only then."""

import os
import pickle
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from kit.data import ROOT, config, shipped, write_images, write_mnist, write_npz

from ttfs.data import load
from ttfs.data.places import DATA
from ttfs.data.stamp import data_stamp
from ttfs.errors import UserError

FOLDER, NPZ = config({"folder": "made"}), config({"npz": "made.npz"})


def touch(path: Path, nanoseconds: int = 1) -> None:
    """Move the time of change of a file, and nothing else."""
    info = path.stat()
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns + nanoseconds))


def pack(folder: Path, archive: Path) -> None:
    with tarfile.open(archive, "w:xz") as tar:
        for entry in folder.iterdir():
            tar.add(entry, arcname=entry.name)


def test_it_needs_the_standard_library_alone():
    code = (
        "import sys; import ttfs.data.stamp; import ttfs.models.stamp;"
        "print(sorted({name.split('.')[0] for name in sys.modules} - sys.stdlib_module_names))"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True,
        cwd=ROOT, env={"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert set(eval(done.stdout)) <= {"__main__", "ttfs"}


@pytest.mark.parametrize("settings", [FOLDER, NPZ, shipped("mnist"), shipped("svhn")], ids=str)
def test_there_is_none_where_there_are_no_data(settings):
    assert data_stamp(settings) is None
    shutil.rmtree(DATA)
    assert data_stamp(settings) is None


@pytest.mark.parametrize("name", ["digits", "yin-yang"])
def test_sets_that_are_always_there(name, monkeypatch):
    stamp = data_stamp(shipped(name))
    assert stamp is not None
    assert len(stamp) == 16
    assert stamp == data_stamp(shipped(name))


def test_a_replaced_array_file_is_seen(rng):
    write_npz(rng)
    first = data_stamp(NPZ)
    assert first == data_stamp(NPZ | {"title": "another", "epochs": 3})
    touch(DATA / "made.npz")
    second = data_stamp(NPZ)
    touch(DATA / "made.npz", -1)
    assert data_stamp(NPZ) == first != second
    write_npz(rng, size=(41, 6, 6))
    assert data_stamp(NPZ) not in (first, second, None)


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: touch(folder / "cat/3.png"),
        lambda folder: (folder / "cat/3.png").unlink(),
        lambda folder: (folder / "cat/3.png").rename(folder / "cat/33.png"),
        lambda folder: (folder / "cat/3.png").rename(folder / "dog/33.png"),
        lambda folder: shutil.copy2(folder / "cat/3.png", folder / "cat/33.png"),
    ],
    ids=["changed", "deleted", "renamed", "moved", "added"],
)
def test_a_changed_folder_is_seen(rng, change):
    write_images(rng, DATA / "made")
    first = data_stamp(FOLDER)
    assert data_stamp(FOLDER) == first
    change(DATA / "made")
    assert data_stamp(FOLDER) != first


def test_links_are_followed_but_not_in_circles(rng, tmp_path):
    write_images(rng, tmp_path / "elsewhere")
    (DATA / "made").mkdir()
    for label in ("cat", "dog", "eel"):
        (DATA / "made" / label).symlink_to(tmp_path / "elsewhere" / label)
    (tmp_path / "elsewhere/cat/round").symlink_to(tmp_path / "elsewhere/cat")
    (tmp_path / "elsewhere/cat/nowhere").symlink_to(tmp_path / "no such file")
    first = data_stamp(FOLDER)
    touch(tmp_path / "elsewhere/cat/3.png")
    assert data_stamp(FOLDER) != first


def test_an_archive_and_what_it_was_unpacked_to_have_one_stamp(rng, tmp_path):
    write_images(rng, tmp_path / "source", count=20)
    pack(tmp_path / "source", DATA / "made.tar.xz")
    packed = data_stamp(FOLDER)
    load(FOLDER | {"test": 0.25})
    assert (DATA / "made").is_dir()
    assert data_stamp(FOLDER) == packed
    (DATA / "made.tar.xz").unlink()
    assert data_stamp(FOLDER) == packed
    touch(DATA / "made/cat/3.png")
    assert data_stamp(FOLDER) != packed


def test_a_replaced_archive_is_seen_and_not_passed_over(rng, tmp_path):
    write_images(rng, tmp_path / "source", count=20)
    pack(tmp_path / "source", DATA / "made.tar.xz")
    settings = FOLDER | {"test": 0.25}
    first, old = data_stamp(settings), load(settings).digest
    write_images(rng, tmp_path / "other", count=24)
    pack(tmp_path / "other", DATA / "made.tar.xz")
    second = data_stamp(settings)
    assert second != first
    with pytest.raises(
        UserError, match=r"data/made: unpacked from another made\.tar\.xz .* delete"
    ):
        load(settings)
    shutil.rmtree(DATA / "made")
    assert data_stamp(settings) == second
    assert load(settings).digest != old
    assert data_stamp(settings) == second


def test_a_folder_without_a_note_is_its_own_beside_an_archive(rng):
    write_images(rng, DATA / "made", count=20)
    alone = data_stamp(FOLDER)
    (DATA / "made.tar.xz").write_bytes(b"of the same images, say")
    assert data_stamp(FOLDER) == alone
    assert len(load(FOLDER | {"test": 0.25}).test) == 15


def test_data_at_hand_come_first(rng, tmp_path, monkeypatch):
    write_npz(rng)
    mine = data_stamp(NPZ)
    (tmp_path / "at-hand").mkdir()
    monkeypatch.setenv("TTFS_DATA", str(tmp_path / "at-hand"))
    assert data_stamp(NPZ) == mine
    np.savez(tmp_path / "at-hand/made.npz", x=np.zeros(3))
    assert data_stamp(NPZ) != mine


def test_torchvision_sets_are_found_without_torchvision(rng):
    write_mnist(rng, DATA)
    write_mnist(rng, DATA, "FashionMNIST")
    mnist, fashion = (data_stamp(shipped(name)) for name in ("mnist", "fashion-mnist"))
    assert None not in (mnist, fashion)
    assert mnist != fashion
    touch(DATA / "FashionMNIST/raw/train-images-idx3-ubyte")
    assert data_stamp(shipped("mnist")) == mnist
    assert data_stamp(shipped("fashion-mnist")) != fashion


def test_what_the_first_place_lacks_of_a_torchvision_set_is_seen_too(rng, tmp_path, monkeypatch):
    """`load` takes the first place that has all parts."""
    write_mnist(rng, DATA)
    whole = data_stamp(shipped("mnist"))
    monkeypatch.setenv("TTFS_DATA", str(tmp_path / "at-hand"))
    shutil.copytree(DATA, tmp_path / "at-hand")
    assert data_stamp(shipped("mnist")) == whole, "the same files, twice"
    (tmp_path / "at-hand/MNIST/raw/t10k-labels-idx1-ubyte").unlink()
    both = data_stamp(shipped("mnist"))
    assert both != whole
    touch(DATA / "MNIST/raw/t10k-labels-idx1-ubyte")
    assert data_stamp(shipped("mnist")) != both


@pytest.mark.parametrize(
    ("name", "files", "others"),
    [
        ("cifar10", ["cifar-10-batches-py/a"], ["cifar-100-python/a", "cifar10-jpeg.tar.xz"]),
        ("cifar100", ["cifar-100-python/train"], ["cifar-10-batches-py/test_batch"]),
        ("svhn", ["train_32x32.mat", "test_32x32.mat"], ["train_64x64.mat"]),
        ("imagenette", ["imagenette2-160/train/n01440764/1.JPEG"], ["imagenet/1.JPEG"]),
        ("places365", ["data_256_standard/a.jpg", "val_256/b.jpg", "places365_a.txt"], ["data.a"]),
    ],
)  # fmt: skip
def test_files_of_torchvision_sets(name, files, others):
    for file in (*files, *others):
        path = DATA / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pickle.dumps(file))
    stamp = data_stamp(shipped(name))
    assert stamp is not None
    for file in others:
        touch(DATA / file)
    assert data_stamp(shipped(name)) == stamp
    for file in files:
        touch(DATA / file)
        assert data_stamp(shipped(name)) != stamp
        touch(DATA / file, -1)


def test_a_folder_that_cannot_be_listed_is_named(rng, monkeypatch):
    write_images(rng, DATA / "made")

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UserError, match=r"^data/made: cannot be read \(Permission denied\)"):
        data_stamp(FOLDER)
