"""What each kind of source gives."""

import pickle
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from kit.data import ROOT, config, everything, shipped, write_images, write_mnist, write_npz
from PIL import Image

from ttfs.data import dataset, load
from ttfs.data.image_files import decode
from ttfs.data.inputs import Format, InMemory
from ttfs.data.places import DATA
from ttfs.data.sources import read
from ttfs.errors import UserError


def test_digits_are_those_of_scikit_learn():
    from sklearn.datasets import load_digits

    data = load(shipped("digits"))
    assert (len(data.train), len(data.validation), len(data.test)) == (1294, 144, 359)
    mine = torch.cat([everything(split)[0] for split in (data.train, data.validation, data.test)])
    theirs = torch.tensor(load_digits().images, dtype=torch.float32) / 16
    assert torch.equal(mine.flatten(1).sort(0).values, theirs.flatten(1).sort(0).values)
    assert data.test.labels.bincount().tolist() == pytest.approx(
        np.bincount(load_digits().target) / 5, abs=1
    )


def test_digits_and_arrays_need_no_torchvision():
    code = (
        "import sys; from ttfs.config import read_yaml; from ttfs.data import load;"
        "load(read_yaml('configs/datasets/digits.yaml', 'dataset'));"
        "assert not {'torchvision', 'sklearn', 'lightning'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_npz_keeps_order_and_values_of_the_test_set(rng):
    arrays = write_npz(rng)
    images, labels = everything(load(config({"npz": "made.npz"})).test)
    assert torch.equal(images, torch.tensor(arrays["x_test"])[:, None].float() / 255)
    assert labels.tolist() == arrays["y_test"].tolist()


def test_npz_with_one_set_is_split_three_ways(rng):
    np.savez(DATA / "one.npz", x=rng.random((90, 6, 6)), y=np.arange(90) % 3)
    data = load(config({"npz": "one.npz"}, test=30, validation=15))
    assert (len(data.train), len(data.validation), len(data.test)) == (45, 15, 30)
    assert data.test.labels.bincount().tolist() == [10, 10, 10]
    assert data.train.inputs.values.dtype == torch.float32


@pytest.mark.parametrize(
    "size", [(40, 6, 6, 3), (40, 3, 6, 6)], ids=["channels-last", "channels-first"]
)
def test_colors_become_grey_as_pillow_makes_them(rng, size):
    arrays = write_npz(rng, size=size)
    images, _ = everything(load(config({"npz": "made.npz"})).test)
    stored = arrays["x_test"] if size[-1] == 3 else arrays["x_test"].transpose(0, 2, 3, 1)
    gray = np.stack([np.array(Image.fromarray(image).convert("L")) for image in stored])
    assert (images[:, 0] * 255 - torch.tensor(gray)).abs().max() <= 1


def test_grey_becomes_color_by_repetition(rng):
    write_npz(rng)
    images, _ = everything(load(config({"npz": "made.npz"}, shape=[3, 6, 6])).test)
    assert images.shape == (40, 3, 6, 6)
    assert torch.equal(images[:, 0], images[:, 2])


@pytest.mark.parametrize("streamed", [False, True], ids=["in-memory", "streamed"])
def test_folder_with_train_and_test(rng, streamed, monkeypatch):
    if streamed:
        monkeypatch.setattr(dataset, "IN_MEMORY", 0)
    write_images(rng, DATA / "made/train")
    write_images(rng, DATA / "made/test", count=3)
    (DATA / "made/test/cat/notes.txt").write_text("no image")
    data = load(config({"folder": "made"}, shape=[3, 6, 6]))
    assert isinstance(data.test.inputs, InMemory) != streamed
    images, labels = everything(data.test)
    assert labels.tolist() == [0] * 3 + [1] * 3 + [2] * 3
    stored = np.array(Image.open(DATA / "made/test/dog/1.png")).transpose(2, 0, 1)
    assert torch.equal(images[4], torch.tensor(stored).float() / 255)


def test_files_are_in_the_order_of_the_parts_of_their_paths(rng):
    write_images(rng, DATA / "made", count=1)
    names = ["a-b.PNG", "a/c.png", "a/b/c.png", "a.png", "ü.png"]
    for name in names:
        (DATA / "made/cat" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(DATA / "made/cat/0.png", DATA / "made/cat" / name)
    for hidden in (".png", ".b.png", ".copies/0.png"):
        (DATA / "made/cat" / hidden).parent.mkdir(exist_ok=True)
        (DATA / "made/cat" / hidden).write_text("a hidden file, and no image")
    [part, *_] = read({"folder": "made"}, Format((1, 6, 6), 3), "made.yaml")
    there = sorted(DATA.glob("made/cat/**/[!.]*.[pP][nN][gG]"))
    expected = [path.relative_to(DATA) for path in there if ".copies" not in path.parts]
    assert [Path("made", name) for name in part.inputs.names[: len(expected)]] == expected
    assert len(expected) == len(names) + 1


def test_single_folder_is_split_by_class(rng):
    write_images(rng, DATA / "made", count=20)
    data = load(config({"folder": "made"}, test=0.25))
    assert data.test.labels.bincount().tolist() == [5, 5, 5]


def test_image_files_are_resized_by_their_shorter_side_and_cut_in_the_middle():
    wide = np.zeros((20, 60, 3), dtype=np.uint8)
    wide[:, 20:40] = 255
    Image.fromarray(wide).save("wide.png")
    assert (decode(Path("wide.png"), (1, 10, 10)) == 255).float().mean() > 0.75


def test_archive_is_unpacked_into_data_and_never_beside_it(rng, tmp_path, monkeypatch, capsys):
    write_images(rng, tmp_path / "source/train")
    write_images(rng, tmp_path / "source/test")
    at_hand = tmp_path / "at-hand"
    at_hand.mkdir()
    with tarfile.open(at_hand / "made.tar.xz", "w:xz") as tar:
        for half in ("train", "test"):
            tar.add(tmp_path / "source" / half, arcname=half)
    monkeypatch.setenv("TTFS_DATA", str(at_hand))
    first = load(config({"folder": "made"}))
    assert "unpacking" in capsys.readouterr().err
    assert load(config({"folder": "made"})).digest == first.digest
    assert "unpacking" not in capsys.readouterr().err
    assert [path.name for path in at_hand.iterdir()] == ["made.tar.xz"]


def test_torchvision_grey_arrays(rng):
    images = write_mnist(rng, DATA)
    data = load(shipped("mnist", validation=10))
    assert torch.equal(everything(data.test)[0], torch.tensor(images)[:, None].float() / 255)


def test_torchvision_color_arrays_channels_last(rng, monkeypatch):
    monkeypatch.setattr(
        "torchvision.datasets.cifar.check_integrity", lambda path, md5=None: Path(path).exists()
    )
    folder = DATA / "cifar-10-batches-py"
    folder.mkdir()
    rows = rng.integers(0, 256, (20, 3072), dtype=np.uint8)
    for name in [f"data_batch_{k}" for k in range(1, 6)] + ["test_batch"]:
        (folder / name).write_bytes(
            pickle.dumps({"data": rows, "labels": [k % 10 for k in range(20)]})
        )
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list("abcdefghij")}))
    data = load(shipped("cifar10", validation=20))
    pixels = torch.tensor(rows).view(20, 3, 32, 32).float() / 255
    assert torch.allclose(everything(data.test)[0], (pixels - 0.4734) / 0.2516, atol=1e-6)
    assert (len(data.train), len(data.validation)) == (80, 20)


def test_torchvision_color_arrays_channels_first(rng, monkeypatch):
    from scipy.io import savemat

    monkeypatch.setattr(
        "torchvision.datasets.svhn.check_integrity", lambda path, md5=None: Path(path).exists()
    )
    images = rng.integers(0, 256, (32, 32, 3, 20), dtype=np.uint8)
    for half in ("train", "test"):
        savemat(DATA / f"{half}_32x32.mat", {"X": images, "y": np.arange(20)[:, None] % 10 + 1})
    stored = torch.tensor(images).permute(3, 2, 0, 1).float() / 255
    assert torch.equal(everything(load(shipped("svhn", validation=5)).test)[0], stored)


def test_a_set_that_holds_paths_is_refused_with_another_way(monkeypatch):
    """As LFWPeople of torchvision does, under the name of arrays."""
    paths = SimpleNamespace(data=["a/1.jpg", "b/2.jpg"], targets=[0, 1])
    monkeypatch.setattr("ttfs.data.sources.open_sets", lambda source, where: [(DATA, paths)])
    with pytest.raises(UserError, match="gives neither arrays nor image files; lay its images out"):
        load(shipped("cifar10", validation=5))


def test_torchvision_files(rng):
    for half in ("train", "val"):
        for wnid in [
            "n01440764", "n02102040", "n02979186", "n03000684", "n03028079",
            "n03394916", "n03417042", "n03425413", "n03445777", "n03888257",
        ]:  # fmt: skip
            folder = DATA / "imagenette2-160" / half / wnid
            folder.mkdir(parents=True)
            for k in range(4):
                Image.fromarray(rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(
                    folder / f"{k}.JPEG"
                )
    data = load(shipped("imagenette", shape=[3, 16, 16], augment={}))
    assert (len(data.train), len(data.validation), len(data.test)) == (36, 4, 40)
    assert next(iter(data.test.batches(8)))[0].shape == (8, 3, 16, 16)


def test_mnist_at_hand(data_at_hand, monkeypatch):
    monkeypatch.setenv("TTFS_DATA", str(data_at_hand("MNIST")))
    data = load(shipped("mnist"))
    assert (len(data.train), len(data.validation), len(data.test)) == (55000, 5000, 10000)
    assert data.test.labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert data.digest == "bfd3cd8c6d12e356"
