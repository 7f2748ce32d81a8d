"""How images are augmented: shifted, cropped, mirrored, turned, cut out, mixed."""

import itertools
import math

import numpy as np
import pytest
import torch
from kit.data import config
from scipy import ndimage

from ttfs.data import load
from ttfs.data.augment import Augment
from ttfs.data.places import DATA


def slow_reference(image: np.ndarray, augment: Augment, shift, crop, flip, center) -> np.ndarray:
    _, height, width = image.shape
    moved = np.zeros_like(image)
    down, right = (int(corner) - augment.shift for corner in shift)
    for row in range(height):
        for column in range(width):
            if 0 <= row + down < height and 0 <= column + right < width:
                moved[:, row, column] = image[:, row + down, column + right]
    n = augment.crop
    padded = np.pad(moved, ((0, 0), (n, n), (n, n)), mode="reflect")
    cut = padded[:, crop[0] : crop[0] + height, crop[1] : crop[1] + width]
    mirrored = cut[:, :, ::-1].copy() if flip and augment.flip else cut.copy()
    if augment.cutout:
        top, left = (int(place) - augment.cutout // 2 for place in center)
        bottom, right = top + augment.cutout, left + augment.cutout
        mean = mirrored.mean((1, 2), keepdims=True)
        mirrored[:, max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)] = mean
    return mirrored


@pytest.mark.parametrize(
    "augment",
    [
        Augment(),
        Augment(shift=2),
        Augment(crop=3),
        Augment(flip=True),
        Augment(1, 2, True),
        Augment(cutout=1),
        Augment(cutout=4),
        Augment(1, 2, True, 3),
    ],
    ids=str,
)
def test_augmentation_is_the_slow_one(augment):
    images = torch.rand(50, 3, 7, 5)
    moves = augment.draw(images.shape, torch.Generator().manual_seed(0))
    centers = [None] * 50 if moves.cutout is None else moves.cutout
    expected = [
        slow_reference(image.numpy(), augment, *move)
        for image, *move in zip(images, *moves[:3], centers, strict=True)
    ]
    np.testing.assert_allclose(
        augment.move(images, moves).numpy(), np.stack(expected), rtol=0, atol=1e-6
    )


@pytest.mark.parametrize(("height", "width"), [(9, 9), (8, 11)])
def test_rotation_and_zoom_are_those_of_scipy(height: int, width: int):
    images = torch.rand(20, 2, height, width)
    augment = Augment(rotate=180, zoom=0.4)
    moves = augment.draw(images.shape, torch.Generator().manual_seed(0))
    assert moves.turn is not None
    center = np.array([height - 1, width - 1]) / 2
    for image, moved, angle, factor in zip(
        images, augment.move(images, moves), *moves.turn, strict=True
    ):
        sine, cosine = np.sin(float(angle)), np.cos(float(angle))
        back = np.array([[cosine, sine], [-sine, cosine]]) / float(factor)  # of (row, column)
        for before, after in zip(image, moved, strict=True):
            expected = ndimage.affine_transform(
                before.numpy(), back, center - back @ center, order=1, mode="grid-constant"
            )
            np.testing.assert_allclose(after.numpy(), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("turning", "black"), [({}, 0.0), ({"rotate": 90, "zoom": 0.3}, -0.4)])
def test_an_elastic_distortion_is_that_of_scipy(turning: dict[str, float], black: float):
    height, width = 14, 17
    images = torch.rand(20, 2, height, width) + black
    augment = Augment(elastic=34, black=black, **turning)
    moves = augment.draw(images.shape, torch.Generator().manual_seed(0))
    assert moves.noise is not None
    angles, factors = moves.turn or (torch.zeros(20), torch.ones(20))
    center = np.array([height - 1, width - 1]) / 2
    pixels = np.stack(np.mgrid[:height, :width], -1)
    for image, moved, angle, factor, noise in zip(
        images, augment.move(images, moves), angles, factors, moves.noise, strict=True
    ):
        sine, cosine = np.sin(float(angle)), np.cos(float(angle))
        back = np.array([[cosine, sine], [-sine, cosine]]) / float(factor)  # of (row, column)
        smooth = [
            ndimage.gaussian_filter(part.numpy(), 4, mode="constant", truncate=9) for part in noise
        ]
        places = (pixels - center) @ back.T + center + 34 * np.stack(smooth, -1)
        for before, after in zip(image, moved, strict=True):
            expected = ndimage.map_coordinates(
                before.numpy(), places.transpose(2, 0, 1), order=1, mode="grid-constant", cval=black
            )
            np.testing.assert_allclose(after.numpy(), expected, rtol=0, atol=1e-4)


def test_elastic_moves_have_the_spread_that_is_said_and_move_no_other_draw():
    shape, plain = torch.Size((400, 1, 41, 41)), Augment(2, 2, True, 3, 5.0, 0.1)
    bending = Augment(2, 2, True, 3, 5.0, 0.1, elastic=34)
    first, second = (a.draw(shape, torch.Generator().manual_seed(0)) for a in (plain, bending))
    assert all(torch.equal(*pair) for pair in zip(first[:4], second[:4], strict=True))
    assert first.turn is not None
    assert second.turn is not None
    assert all(torch.equal(*pair) for pair in zip(first.turn, second.turn, strict=True))
    assert first.noise is None
    assert second.noise is not None
    ramp = torch.arange(41.0).expand(400, 1, 41, 41)  # each pixel holds its column
    moved = Augment(elastic=34).move(ramp, second._replace(turn=None))[:, 0, 20, 20] - 20
    expected = 34 / (2 * 4 * math.sqrt(3 * math.pi))
    assert moved.std() == pytest.approx(expected, rel=0.2)
    assert moved.mean() == pytest.approx(0, abs=5 * expected / 20)


def test_a_quarter_turn_is_counterclockwise():
    images = torch.rand(3, 1, 6, 6)
    turn = torch.full((3,), math.pi / 2), torch.ones(3)
    moves = Augment(rotate=90).draw(images.shape, torch.Generator())._replace(turn=turn)
    torch.testing.assert_close(Augment(rotate=90).move(images, moves), images.rot90(1, (2, 3)))


def test_augmentation_is_uniform():
    shape = torch.Size((9000, 1, 3, 3))
    augment = Augment(shift=1, crop=1, flip=True, cutout=1)
    moves = augment.draw(shape, torch.Generator().manual_seed(0))
    for corner in (moves.shift, moves.crop, moves.cutout):
        assert (corner[:, 0] * 3 + corner[:, 1]).bincount().tolist() == pytest.approx(
            [1000] * 9, abs=150
        )
    assert moves.flip.float().mean() == pytest.approx(0.5, abs=0.03)


def test_angles_and_factors_are_uniform_and_move_no_other_draw():
    shape, plain = torch.Size((9000, 1, 9, 9)), Augment(2, 2, True, 3)
    turning = Augment(2, 2, True, 3, rotate=90, zoom=0.5)
    first, second = (a.draw(shape, torch.Generator().manual_seed(0)) for a in (plain, turning))
    assert all(torch.equal(*pair) for pair in zip(first[:4], second[:4], strict=True))
    assert first.turn is None
    assert second.turn is not None
    angles, factors = second.turn
    for values, low, high in ((angles, -math.pi / 2, math.pi / 2), (factors, 0.5, 1.5)):
        tenths = ((values - low) / (high - low) * 10).long().bincount()
        assert tenths.tolist() == pytest.approx([900] * 10, abs=150)


def test_a_cutout_moves_no_other_draw():
    shape = torch.Size((20, 1, 9, 9))
    plain = Augment(2, 2, True).draw(shape, torch.Generator().manual_seed(0))
    cut = Augment(2, 2, True, 3).draw(shape, torch.Generator().manual_seed(0))
    assert all(torch.equal(*pair) for pair in zip(plain[:3], cut[:3], strict=True))


def test_cutmix_pastes_a_box_of_the_next_image_and_shares_the_label():
    images, labels = torch.rand(40, 2, 9, 7), torch.randint(3, (40,))
    augment = Augment(cutmix=0.7)
    moves = augment.draw(images.shape, torch.Generator().manual_seed(0))
    assert moves.boxes is not None
    mixed, shares = augment.mix(images, labels, moves, 3)
    assert shares.shape == (40, 3)
    for number, (center, side) in enumerate(zip(*moves.boxes, strict=True)):
        expected, pasted = images[number].clone(), 0
        after = (number + 1) % 40
        height, width = (round(float(side * size)) for size in (9, 7))
        for row, column in itertools.product(range(9), range(7)):
            down, right = row - int(center[0]) + height // 2, column - int(center[1]) + width // 2
            if 0 <= down < height and 0 <= right < width:
                expected[:, row, column] = images[after, :, row, column]
                pasted += 1
        assert torch.equal(mixed[number], expected)
        share = torch.zeros(3)
        share[labels[number]] += 1 - pasted / 63
        share[labels[after]] += pasted / 63
        torch.testing.assert_close(shares[number], share)
    assert torch.equal(augment.move(images, moves), images)


def test_areas_of_cutmix_are_uniform_and_move_no_other_draw():
    shape, plain = torch.Size((9000, 1, 9, 9)), Augment(2, 2, True, 3, 5.0, 0.1)
    mixing = Augment(2, 2, True, 3, 5.0, 0.1, cutmix=0.5)
    first, second = (a.draw(shape, torch.Generator().manual_seed(0)) for a in (plain, mixing))
    assert all(torch.equal(*pair) for pair in zip(first[:4], second[:4], strict=True))
    assert first.boxes is None
    assert second.boxes is not None
    centers, sides = second.boxes
    assert (sides > 0).float().mean() == pytest.approx(0.5, abs=0.03)
    tenths = (sides[sides > 0] ** 2 * 10).long().bincount()
    assert tenths.tolist() == pytest.approx([450] * 10, abs=110)
    assert (centers[:, 0] * 9 + centers[:, 1]).bincount().tolist() == pytest.approx(
        [111] * 81, abs=50
    )


def test_cutmix_gives_shares_in_training_alone_and_each_rank_its_own():
    images = np.random.default_rng(0).integers(0, 256, (64, 6, 6), dtype=np.uint8)
    np.savez(DATA / "mixed.npz", x=images, y=np.arange(64) % 4 % 3)
    train = load(config({"npz": "mixed.npz"}, test=0.2, augment={"cutmix": 1.0})).train
    for inputs, shares in train.batches(8, torch.Generator().manual_seed(0), augment=True):
        assert shares.shape == (len(inputs), 3)
        torch.testing.assert_close(shares.sum(1), torch.ones(len(inputs)))
    assert all(labels.dtype == torch.int64 for _, labels in train.batches(8))
    alone, first = (
        train.batches(8, torch.Generator().manual_seed(0), augment=True, ranks=ranks)
        for ranks in (1, 2)
    )
    for (inputs, shares), (part, own) in zip(alone, first, strict=True):
        middle = len(part) - 1  # its last image has the part's first for partner
        assert torch.equal(part[:middle], inputs[:middle])
        assert torch.equal(own[:middle], shares[:middle])


def test_two_epochs_of_alternating_flips_show_both_sides_of_each_image():
    images = np.zeros((64, 6, 6), dtype=np.uint8)
    images[:, 0, 0], images[:, 3, 5] = np.arange(64), 200
    np.savez(DATA / "sided.npz", x=images, y=np.arange(64) % 3)
    train = load(config({"npz": "sided.npz"}, test=0.2, augment={"flip": "alternating"})).train
    batches = train.batches(8, torch.Generator().manual_seed(0), augment=True)
    epochs = [sides(batches) for _ in range(4)]
    assert 0 < sum(epochs[0].values()) < len(epochs[0])  # some are mirrored first, not all
    for before, after in itertools.pairwise(epochs):
        assert after == {number: not mirrored for number, mirrored in before.items()}
    other = sides(train.batches(8, torch.Generator().manual_seed(1), augment=True))
    assert other != epochs[0]


def sides(batches) -> dict[int, bool]:
    """{number of an image: whether it is mirrored} in an epoch."""
    found = {}
    for images, _ in batches:
        for image in images[:, 0]:
            mirrored = bool(image[3, 0] > image[3, 5])
            number = image[0, 5] if mirrored else image[0, 0]
            found[round(float(number) * 255)] = mirrored
    return found


@pytest.mark.parametrize("augment", [None, "none", {"flip": True}, {"crop": 1}, {"cutout": 2}])
def test_training_inputs_are_the_images_wherever_their_range_begins(augment):
    """Small values of a range that begins far below: black comes in with shifts alone."""
    values = np.random.default_rng(0).random((40, 6, 6), dtype=np.float32) * 1e-3
    np.savez(DATA / "far.npz", x=values, y=np.arange(40) % 3)
    wanted = config({"npz": "far.npz"}, test=0.2, augment=augment, range=[-1000, 1000])
    train = load(wanted).train
    moved, plain = (
        torch.cat([images for images, _ in train.batches(8, generator, augment=moves)])
        for generator, moves in ((torch.Generator().manual_seed(0), True), (None, False))
    )
    if augment != {"cutout": 2}:  # which brings in means
        assert set(moved.flatten().tolist()) <= set(plain.flatten().tolist())
    else:
        assert len(set(moved.flatten().tolist()) & set(plain.flatten().tolist())) > 500
