"""What image files of each kind are read as, and which are refused."""

import os
import re
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from kit.data import config, everything, fault, write_images
from PIL import Image

from ttfs.data import dataset, image_files, load
from ttfs.data.image_files import decode
from ttfs.data.places import DATA
from ttfs.errors import UserError

RAMP = np.arange(64).reshape(8, 8)


def gray(path: str) -> np.ndarray:
    return decode(Path(path), (1, 8, 8))[0].numpy()


def color(path: str) -> np.ndarray:
    return decode(Path(path), (3, 8, 8)).permute(1, 2, 0).numpy()


def refusal(path: str) -> str:
    with pytest.raises(UserError) as caught:
        decode(Path(path), (1, 8, 8))
    message = str(caught.value)
    assert message.startswith(f"{path}: cannot be read as an image: ")
    assert "\n" not in message
    return message


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_gray_of_16_bits_is_scaled(suffix):
    values = (RAMP * 1040).astype(np.uint16)
    values[0, 0], values[7, 7] = 0, 65535
    if suffix == "pgm":
        Path("deep.pgm").write_bytes(b"P5 8 8 65535\n" + values.astype(">u2").tobytes())
    else:
        Image.fromarray(values).save(f"deep.{suffix}")
    expected = np.round(values.astype(float) * 255 / 65535)
    assert np.array_equal(gray(f"deep.{suffix}"), expected)
    assert np.array_equal(color(f"deep.{suffix}"), np.repeat(expected[..., None], 3, 2))


def test_gray_of_10_bits_is_scaled_by_its_largest_value():
    values = (RAMP * 16).astype(np.uint16)
    Path("ten.pgm").write_bytes(b"P5 8 8 1023\n" + values.astype(">u2").tobytes())
    assert abs(gray("ten.pgm") - values * (255 / 1023)).max() <= 0.51


def test_floats_in_0_to_1_are_scaled_and_others_refused():
    values = (RAMP / 63).astype(np.float32)
    Image.fromarray(values).save("floats.tif")
    assert np.array_equal(gray("floats.tif"), np.rint(255 * values))
    Image.fromarray(values * 255).save("bright.tif")
    assert "it holds floats from 0 to 255; [0, 1] is wanted" in refusal("bright.tif")
    Image.fromarray(np.where(values > 0.5, np.float32("nan"), values)).save("nan.tif")
    assert "floats from nan to nan" in refusal("nan.tif")


def test_integers_of_32_bits_are_refused():
    Image.fromarray((RAMP * 1000).astype(np.int32)).save("wide.tif")
    assert "integers of 32 bits; 8 or 16 are wanted" in refusal("wide.tif")


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_what_is_transparent_is_seen_over_black(suffix):
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[..., :3] = 200
    pixels[..., 3] = RAMP * 4
    image = Image.fromarray(pixels)
    image.save(f"clear.{suffix}", **({"lossless": True, "exact": True} if suffix == "webp" else {}))
    expected = 200 * (RAMP * 4) / 255
    assert abs(gray(f"clear.{suffix}") - expected).max() <= 1
    assert abs(color(f"clear.{suffix}") - expected[..., None]).max() <= 1


def test_gray_with_alpha_and_transparent_palettes_are_seen_over_black():
    pixels = np.stack([np.full((8, 8), 200), RAMP * 4], 2).astype(np.uint8)
    Image.fromarray(pixels, "LA").save("la.png")
    assert abs(gray("la.png") - 200 * (RAMP * 4) / 255).max() <= 1
    palette = Image.fromarray((RAMP % 2).astype(np.uint8), "P")
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.save("palette.gif", transparency=0)
    assert np.array_equal(color("palette.gif")[0, :2], [[0, 0, 0], [0, 0, 255]])


def test_plain_modes_keep_their_values():
    Image.fromarray((RAMP * 4).astype(np.uint8)).save("l.png")
    assert np.array_equal(gray("l.png"), RAMP * 4)
    Image.fromarray(RAMP % 2 == 1).save("bits.png")
    assert np.array_equal(gray("bits.png"), RAMP % 2 * 255)
    rgb = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(rgb).save("rgb.png")
    assert np.array_equal(color("rgb.png"), rgb)
    Image.fromarray(rgb).convert("CMYK").save("cmyk.tif")
    assert abs(color("cmyk.tif").astype(int) - rgb).max() <= 2


TURNS = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.T,
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).T,
    8: np.rot90,
}


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
@pytest.mark.parametrize("orientation", TURNS)
def test_the_rotation_of_the_camera_is_undone(orientation, suffix):
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = np.kron([[0, 60], [120, 250]], np.ones((4, 4))).astype(np.uint8)
    Image.fromarray(pixels).save(
        f"turned.{suffix}", exif=exif, **({"quality": 95} if suffix == "jpg" else {})
    )
    seen = gray(f"turned.{suffix}").astype(int)
    assert abs(seen[1::4, 1::4] - TURNS[orientation](pixels)[1::4, 1::4]).max() <= 6


def test_the_rotation_is_undone_beside_tags_of_a_wrong_type():
    turned = b"\x01\x12\0\3\0\0\0\1\0\6\0\0"
    resolution = b"\x01\x1a\0\2\0\0\0\4abc\0"  # in letters
    data = b"Exif\0\0MM\0*\0\0\0\x08\0\2" + turned + resolution + b"\0\0\0\0"
    pixels = np.kron([[0, 60], [120, 250]], np.ones((4, 4))).astype(np.uint8)
    Image.fromarray(pixels).save("odd.jpg", exif=data, quality=95)
    with Image.open("odd.jpg") as image:
        assert image.getexif()[0x011A] == "abc"
    seen = gray("odd.jpg").astype(int)
    assert abs(seen[1::4, 1::4] - TURNS[6](pixels)[1::4, 1::4]).max() <= 6


def test_transparent_gray_of_16_bits_is_black():
    values = (RAMP * 1040).astype(np.uint16)
    values[0, 0] = 40000
    Image.fromarray(values).save("clear.png", transparency=40000)
    seen = gray("clear.png")
    assert seen[0, 0] == 0
    assert np.array_equal(seen.flat[1:], np.rint(values / 257).flat[1:])


@pytest.mark.parametrize("suffix", ["gif", "tif", "webp", "png"])
def test_several_frames_are_refused(suffix):
    first, second = (Image.fromarray((RAMP * k).astype(np.uint8)) for k in (1, 3))
    first.save(f"moving.{suffix}", save_all=True, append_images=[second])
    assert "it holds 2 frames, one is wanted" in refusal(f"moving.{suffix}")
    first.convert("RGB").save(f"still.{suffix}")
    assert gray(f"still.{suffix}").shape == (8, 8)


def test_a_photograph_with_a_preview_is_its_first_picture():
    photo, preview = (Image.new("RGB", (8, 8), shade) for shade in ("white", "black"))
    photo.save("photo.jpg", format="MPO", save_all=True, append_images=[preview])
    assert (gray("photo.jpg") == 255).all()


@pytest.mark.parametrize("suffix", [".png", ".gif", ".tif", ".webp", ".bmp", ".ppm"])
def test_damaged_files_are_named_whatever_is_wrong(rng, suffix):
    """A file cut short, or with some bytes changed, is read or refused in one line."""
    pixels = rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(f"whole{suffix}")
    whole, name = Path(f"whole{suffix}").read_bytes(), f"damaged{suffix}"
    refused = []
    for _ in range(60):
        damaged = bytearray(whole[: rng.integers(1, len(whole))])
        for place in rng.integers(0, len(damaged), 4):
            damaged[place] = rng.integers(256)
        Path(name).write_bytes(damaged)
        try:
            image = decode(Path(name), (3, 8, 8))
        except UserError as error:
            refused.append(str(error))
        else:
            assert image.shape == (3, 8, 8)
    assert all(re.fullmatch(rf"{name}: cannot be read as an image: \S.*", said) for said in refused)
    assert len(refused) > 30


def test_names_that_are_not_utf_8(rng):
    write_images(rng, DATA / "made")
    strange = os.fsdecode(b"\xff.png")
    (DATA / "made/cat/3.png").rename(DATA / "made/cat" / strange)
    message = fault({"folder": "made"}, test=0.25)
    assert r"the name of the file 'cat/\udcff.png' is not UTF-8; rename it" in message
    message.encode()


def test_hidden_copies_are_no_images_and_links_are_followed(rng, tmp_path):
    write_images(rng, DATA / "images")

    def count() -> int:
        data = load(config({"folder": "images"}, test=3))
        return sum(len(part) for part in (data.train, data.validation, data.test))

    whole = count()
    for folder in [path for path in (DATA / "images").rglob("*") if path.is_dir()]:
        shutil.copytree(
            folder, folder / ".ipynb_checkpoints", ignore=lambda *_: [".ipynb_checkpoints"]
        )
        (folder / "._0.png").write_bytes(b"of a Mac")
    assert count() == whole
    one = next((DATA / "images").glob("*/[!.]*.png"))
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(one, tmp_path / "elsewhere" / "more.png")
    (one.parent / "linked").symlink_to(tmp_path / "elsewhere")
    (one.parent / "circle").symlink_to(one.parent)
    assert count() == whole + 1


@pytest.mark.parametrize(
    "source", [{"folder": "m" * 300}, {"npz": "m" * 300}, {"folder": "m/" * 3000}]
)
def test_names_that_are_too_long(source):
    assert "cannot be looked for (File name too long); give it another name" in fault(source)


def test_long_paths_are_read(rng):
    write_images(rng, DATA / "made")
    deep = DATA / "made/cat" / "/".join(["n" * 250] * 10)
    deep.mkdir(parents=True)
    (DATA / "made/cat/3.png").rename(deep / ("p" * 250 + ".png"))
    assert len(load(config({"folder": "made"}, test=0.25)).test) == 6


def test_a_folder_that_cannot_be_listed_is_named(rng, monkeypatch):
    write_images(rng, DATA / "made")
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("dog"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert "made/dog: cannot be listed (Permission denied); make it readable" in fault(
        {"folder": "made"}, test=0.25
    )


def test_a_killed_reader_is_one_line(rng, monkeypatch):
    write_images(rng, DATA / "made")
    monkeypatch.setattr(dataset, "IN_MEMORY", 0)
    data = load(config({"folder": "made"}, test=0.25))
    parent = os.getpid()

    def killed(path, shape):
        assert os.getpid() != parent
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(image_files, "decode", killed)
    with pytest.raises(
        UserError, match=r"a process that reads its images ended early .*'threads'"
    ) as caught:
        everything(data.train)
    assert "\n" not in str(caught.value)


def test_readers_end_when_an_epoch_is_left_early(rng, monkeypatch):
    write_images(rng, DATA / "made")
    monkeypatch.setattr(dataset, "IN_MEMORY", 0)
    data = load(config({"folder": "made"}, test=0.25))
    batches = iter(data.train.batches(2))
    assert next(batches)[0].shape == (2, 1, 6, 6)
    batches.close()
    assert torch.equal(everything(data.train)[1], data.train.labels)
