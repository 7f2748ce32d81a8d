"""What each fault of data or configuration is called."""

import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from kit.data import config, everything, fault, write_images, write_mnist, write_npz
from torchvision.datasets import VisionDataset

from ttfs.config import read_yaml
from ttfs.data import dataset, load
from ttfs.data.places import DATA
from ttfs.errors import UserError


def test_missing_data_say_what_to_put_where(tmp_path, monkeypatch):
    at_hand = tmp_path / "at-hand"
    at_hand.mkdir()
    monkeypatch.setenv("TTFS_DATA", str(at_hand))
    for source in ({"npz": "made.npz"}, {"folder": "made"}):
        message = fault(source)
        assert "made.yaml" in message
        assert str(at_hand) in message
        assert str(tmp_path / "data") in message
    assert "made.tar.xz" in fault({"folder": "made"})


def test_missing_folder_of_data_at_hand(monkeypatch):
    monkeypatch.setenv("TTFS_DATA", "/no/such/folder")
    assert "TTFS_DATA=/no/such/folder" in fault({"npz": "made.npz"})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"x_train": np.zeros((40, 6, 5), np.uint8)}, "40 × 6 × 5"),
        ({"x_train": np.zeros((40, 2, 6, 6), np.uint8)}, "2 channels"),
        ({"x_train": np.full((40, 6, 6), np.nan)}, "NaN"),
        ({"x_train": np.full((40, 6, 6), 2.0)}, "run from 2 to 2"),
        ({"x_train": np.zeros((40, 6, 6), np.int64)}, "values are int64"),
        ({"y_train": np.arange(40) % 3 + 1}, "labels run from 1 to 3"),
        ({"y_train": np.arange(40) % 3 - 1}, "labels run from -1 to 1"),
        ({"y_train": np.arange(39) % 3}, "(39,)"),
        ({"y_train": np.ones(40)}, "float64"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_wrong_arrays(rng, change, said):
    write_npz(rng, **change)
    message = fault({"npz": "made.npz"})
    assert said in message
    assert "made.npz" in message


def test_damaged_or_strange_npz(rng):
    (DATA / "made.npz").write_bytes(b"not an archive")
    assert "cannot be read as arrays" in fault({"npz": "made.npz"})
    write_npz(rng)
    whole = (DATA / "made.npz").read_bytes()
    (DATA / "made.npz").write_bytes(whole[: len(whole) // 2])
    assert "cannot be read as arrays" in fault({"npz": "made.npz"})
    np.savez(DATA / "made.npz", x=np.array([None]), y=np.zeros(1))
    assert "cannot be read as arrays" in fault({"npz": "made.npz"})
    np.save(DATA / "single.npy", np.zeros(3))
    assert "cannot be read as arrays" in fault({"npz": "single.npy"})
    np.savez(DATA / "made.npz", images=np.zeros(3))
    assert "x_train" in fault({"npz": "made.npz"})


@pytest.mark.parametrize("streamed", [False, True], ids=["in-memory", "streamed"])
def test_truncated_image_is_named(rng, streamed, monkeypatch):
    write_images(rng, DATA / "made", size=(40, 40, 3), suffix=".jpg")
    broken = DATA / "made/dog/3.jpg"
    broken.write_bytes(broken.read_bytes()[:600])
    if streamed:
        monkeypatch.setattr(dataset, "IN_MEMORY", 0)
        data = load(config({"folder": "made"}, test=0.25))
        with pytest.raises(UserError) as caught:
            [everything(split) for split in (data.train, data.validation, data.test)]
        message = str(caught.value)
    else:
        message = fault({"folder": "made"}, test=0.25)
    assert "dog/3.jpg: cannot be read as an image: " in message
    assert "\n" not in message


def test_folders_that_do_not_fit(rng):
    write_images(rng, DATA / "made/train")
    assert "has train/ alone" in fault({"folder": "made"})
    write_images(rng, DATA / "made/test")
    assert "'classes: 4'" in fault({"folder": "made"}, classes=4)
    (DATA / "made/test/cat").rename(DATA / "made/test/cow")
    assert "['cat', 'cow']" in fault({"folder": "made"})
    (DATA / "made/test/cow").rename(DATA / "made/test/cat")
    for image in (DATA / "made/test/cat").iterdir():
        image.unlink()
    assert "made/test/cat: holds no image" in fault({"folder": "made"})


def test_damaged_archive_leaves_nothing(rng):
    (DATA / "made.tar.xz").write_bytes(b"\xfd7zXZ\x00 and no more")
    assert "cannot be unpacked" in fault({"folder": "made"})
    assert not (DATA / "made").exists()


def test_sizes_that_do_not_fit(rng):
    write_npz(rng)
    source = {"npz": "made.npz"}
    assert "cannot take 40 out of 40" in fault(source, validation=40)
    assert "cannot take 1.5 out of 40" in fault(source, validation=1.5)
    assert "cannot take 0.001 out of 40" in fault(source, validation=0.001)
    assert "has a test set already" in fault(source, test=0.2)
    assert "2 values for 1 channels" in fault(source, normalize={"mean": [0, 0], "std": [1]})
    assert "key 'augment'" in fault(source, augment={"shift": 6})
    np.savez(DATA / "one.npz", x=np.zeros((9, 6, 6)), y=np.arange(9) % 3)
    assert "missing key 'test'" in fault({"npz": "one.npz"})


class Unlabeled(VisionDataset):
    """Videos, say."""

    def __init__(self, root, train=True, download=False):
        self.data = np.zeros((12, 6, 6), np.uint8)


def test_torchvision_faults(rng, monkeypatch):
    def source(**changes):
        return {
            "torchvision": {"name": "MNIST", "train": {"train": True}, "test": {"train": False}}
            | changes
        }

    assert "no data set 'MNITS'; did you mean 'MNIST'?" in fault(source(name="MNITS"))
    assert "MNIST does not take {'trian': True}" in fault(source(train={"trian": True}))
    assert "'tets'" in fault(source(name="SVHN", train={"split": "train"}, test={"split": "tets"}))
    assert "neither arrays nor image files" in fault(source(name="FakeData", train={}, test={}))
    own = fault(source(train={"train": True, "download": True}))
    assert "'download' is none of a file" in own
    with monkeypatch.context() as patch:
        patch.setattr("torchvision.datasets.MNIST", Unlabeled)
        assert "neither arrays nor image files" in fault(source())
    monkeypatch.setattr("torchvision.datasets.mnist.MNIST.download", _no_network)
    message = fault(source())
    fix = message.index("or set TTFS_DATA to the folder that holds it")
    assert message.index("MNIST is not at hand and cannot be downloaded") < fix < 300
    assert "no route to host" in message[fix:]
    write_mnist(rng, DATA)
    image = DATA / "MNIST/raw/train-images-idx3-ubyte"
    image.write_bytes(image.read_bytes()[:100])
    assert "MNIST is not at hand and cannot be downloaded" in fault(source())
    assert image.exists()


def _no_network(self):
    raise OSError("no route to host")


@pytest.mark.parametrize("source", ["{bundled: digits}", "{npz: a.npz}", "{folder: a}"])
def test_the_schema_asks_for_validation_where_the_source_has_none(source):
    lines = (
        f"title: M\nsource: {source}\nshape: [1, 6, 6]\nclasses: 3\nepochs: 2\nbatch_size: 8\n"
        "citation: me\n"
    )
    Path("made.yaml").write_text(lines)
    with pytest.raises(UserError, match="missing key 'validation'"):
        read_yaml("made.yaml", "dataset")
    Path("made.yaml").write_text(lines.replace(source, "{generated: yin-yang}"))
    assert "validation" not in read_yaml("made.yaml", "dataset")


@pytest.mark.parametrize("half", ["train", "test"])
def test_an_empty_half(rng, half):
    write_npz(
        rng, **{f"x_{half}": np.zeros((0, 6, 6), np.uint8), f"y_{half}": np.zeros(0, np.int64)}
    )
    said = (
        "the test set of this source is empty"
        if half == "test"
        else "cannot take 0.25 out of 0 inputs"
    )
    assert said in fault({"npz": "made.npz"})


def test_a_header_that_promises_more_than_memory(rng):
    write_npz(rng)
    header = np.lib.format.magic(1, 0)
    text = str({"descr": "|u1", "fortran_order": False, "shape": (10**12, 6, 6)}).ljust(117) + "\n"
    huge = header + struct.pack("<H", len(text)) + text.encode() + bytes(36)
    with zipfile.ZipFile(DATA / "made.npz", "a") as archive:
        archive.writestr("x.npy", huge)
    message = fault({"npz": "made.npz"})
    assert "made.npz: cannot be read as arrays: Unable to allocate" in message


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("mnist", "; did you mean 'MNIST'?"),
        ("fashion-mnist", "; did you mean 'FashionMNIST'?"),
        ("__doc__", ""),
        ("mnist.MNIST", "; did you mean 'MNIST'?"),
        ("os", ""),
        ("wrap_dataset_for_transforms_v2", ""),
    ],
)
def test_names_in_torchvision_that_are_no_data_set(name, near):
    source = {"torchvision": {"name": name, "train": {}}}
    assert f"torchvision.datasets has no data set {name!r}{near}" in fault(source)
