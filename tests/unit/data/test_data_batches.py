"""How splits are made, batched and augmented."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from kit.data import config, everything, write_images, write_npz
from scipy import ndimage

from ttfs.data import DataSet, Split, dataset, image_files, load
from ttfs.data.augment import Augment
from ttfs.data.places import DATA
from ttfs.data.splits import hold_out
from ttfs.errors import UserError


def numbered(count: int = 60) -> DataSet:
    """Give a data set whose images carry their own number."""
    images = np.zeros((count, 6, 6), dtype=np.uint8)
    images[:, 0, 0] = np.arange(count)
    np.savez(DATA / "numbered.npz", x=images, y=np.arange(count) % 3)
    return load(
        config({"npz": "numbered.npz"}, test=0.2, augment={"shift": 1, "crop": 2, "flip": True})
    )


def test_every_image_is_in_exactly_one_split_and_always_the_same():
    first, second = ([numbers(split) for split in splits(numbered())] for _ in range(2))
    assert sorted(itertools.chain(*first)) == list(range(60))
    assert first == second


def splits(data: DataSet) -> tuple[Split, Split, Split]:
    return data.train, data.validation, data.test


def numbers(split: Split) -> list[int]:
    return [round(float(image[0, 0, 0]) * 255) for image in everything(split)[0]]


def test_some_inputs_are_the_first_ones_or_evenly_spread_where_the_split_lies_by_class():
    train = numbered().train
    assert numbers(train.some(10)) == numbers(train)[:10]
    assert numbers(train.some(1000)) == numbers(train)
    order = train.labels.argsort(stable=True)
    sorted_by_class = dataclasses.replace(
        train, inputs=train.inputs.subset(order), labels=train.labels[order]
    )
    assert numbers(sorted_by_class.some(9)) == numbers(sorted_by_class)[::4]
    images, labels = sorted_by_class.one_batch(9)
    assert torch.equal(images, everything(sorted_by_class)[0][::4])
    assert labels.bincount().tolist() == [3, 3, 3]


def test_hold_out_takes_each_class_by_its_share():
    labels = torch.tensor([0] * 70 + [1] * 20 + [2] * 10)[
        torch.randperm(100, generator=torch.Generator().manual_seed(1))
    ]
    kept, held = hold_out(labels, 10, seed=3)
    assert labels[held].bincount().tolist() == [7, 2, 1]
    assert sorted([*kept.tolist(), *held.tolist()]) == list(range(100))
    assert not torch.equal(held, hold_out(labels, 10, seed=4)[1])


def test_batches_cover_the_split_and_are_shuffled_anew_each_epoch():
    train = numbered().train
    batches = train.batches(8, torch.Generator().manual_seed(0))
    assert [len(labels) for _, labels in batches] == [8, 8, 8, 8, 4]
    assert len(batches) == 5
    first, second = (torch.cat([images[:, 0, 0, 0] for images, _ in batches]) for _ in range(2))
    assert not torch.equal(first, second)
    assert torch.equal(first.sort().values, second.sort().values)


def test_a_last_image_alone_joins_the_batch_before_it_where_a_network_learns():
    train = numbered().train
    shuffled, in_order = train.batches(7, torch.Generator()), train.batches(7)
    assert [len(labels) for _, labels in shuffled] == [7, 7, 7, 7, 8]
    assert [len(labels) for _, labels in in_order] == [7, 7, 7, 7, 7, 1]
    assert (len(shuffled), len(in_order)) == (5, 6)


def test_augmentation_does_not_move_the_order():
    train = numbered().train
    labels = [
        everything(train, generator=torch.Generator().manual_seed(0), augment=augment)[1]
        for augment in (False, True)
    ]
    assert torch.equal(*labels)


@pytest.mark.parametrize("late", ["IN_MEMORY", "DECODED_FIRST"])
@pytest.mark.parametrize("threads", [1, 2])
def test_streaming_gives_the_batches_of_memory(rng, monkeypatch, threads, late):
    write_images(rng, DATA / "made", count=12, size=(9, 7, 3))
    settings = config({"folder": "made"}, test=0.25, augment={"shift": 1, "crop": 2, "flip": True})
    in_memory = load(settings)
    monkeypatch.setattr(dataset, late, 0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    streamed = load(settings)
    for split in ("train", "validation", "test", "train"):
        one, other = (
            everything(
                getattr(data, split), generator=torch.Generator().manual_seed(5), augment=True
            )
            for data in (in_memory, streamed)
        )
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])


def test_streaming_leaves_the_global_random_numbers_alone(rng, monkeypatch):
    monkeypatch.setattr(dataset, "IN_MEMORY", 0)
    write_images(rng, DATA / "made")
    data = load(config({"folder": "made"}, test=0.25))
    torch.manual_seed(0)
    before = torch.get_rng_state()
    everything(data.train, generator=torch.Generator().manual_seed(0), augment=True)
    assert torch.equal(before, torch.get_rng_state())


def test_of_many_files_each_is_decoded_when_it_is_first_needed(rng, monkeypatch):
    write_images(rng, DATA / "made")
    settings = config({"folder": "made"}, test=0.25)
    monkeypatch.setattr(dataset, "IN_MEMORY", 0)
    streamed = load(settings).digest
    monkeypatch.setattr(dataset, "IN_MEMORY", 2**30)
    monkeypatch.setattr(dataset, "DECODED_FIRST", 0)
    data = load(settings)
    assert data.digest == streamed  # of names and sizes: no image was read
    batches = data.train.batches(4)
    next(iter(batches))
    first = everything(data.train)
    (DATA / "made").rename(DATA / "elsewhere")
    assert torch.equal(everything(data.train)[0], first[0])
    with pytest.raises(UserError, match="No such file"):
        everything(data.test)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_batches_for_a_gpu_are_read_into_pinned_memory(rng, monkeypatch, device):
    write_images(rng, DATA / "made")
    monkeypatch.setattr(dataset, "IN_MEMORY", 0)
    files = load(config({"folder": "made"}, test=0.25)).train.inputs
    asked = []
    monkeypatch.setattr(image_files, "DataLoader", lambda *a, **words: asked.append(words) or [])
    assert list(files.batches([torch.arange(2)], torch.device(device))) == []
    assert [words["pin_memory"] for words in asked] == [device == "cuda"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("late", ["IN_MEMORY", "DECODED_FIRST"])
def test_batches_on_a_gpu_are_those_of_the_processor(rng, monkeypatch, late):
    write_images(rng, DATA / "made")
    monkeypatch.setattr(dataset, late, 0)
    data = load(config({"folder": "made"}, test=0.25))
    for _ in range(2):
        on_gpu = everything(data.train, device="cuda")[0]
        assert torch.equal(on_gpu.cpu(), everything(data.train)[0])


def test_augmentation_without_generator_is_refused():
    with pytest.raises(ValueError, match="generator"):
        numbered().train.batches(4, augment=True)


def test_normalized_inputs_lie_in_their_range(rng):
    write_npz(rng, x_train=np.stack([np.zeros((6, 6, 3)), np.ones((6, 6, 3))] * 20))
    normalize = {"mean": [0.5, 0.2, 0.1], "std": [0.5, 0.25, 0.3]}
    data = load(config({"npz": "made.npz"}, shape=[3, 6, 6], normalize=normalize))
    images, _ = everything(data.train)
    assert data.input_range == pytest.approx((-1, 3.2))
    assert (images.min(), images.max()) == data.input_range
    assert images[:, 1].max() == pytest.approx(3.2)


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


@pytest.mark.parametrize("ranks", [1, 2, 3])
@pytest.mark.parametrize("flip", [True, "alternating"])
def test_the_parts_of_the_ranks_are_the_batch_of_one_process(ranks: int, flip: bool | str):
    images = np.random.default_rng(0).integers(0, 256, (64, 6, 6), dtype=np.uint8)
    np.savez(DATA / "parts.npz", x=images, y=np.arange(64) % 3)
    moves = {"shift": 1, "crop": 1, "flip": flip, "cutout": 2, "rotate": 9.0, "zoom": 0.1}
    train = load(config({"npz": "parts.npz"}, test=0.2, augment=moves)).train

    def batches(rank: int = 0, ranks: int = 1):
        order = torch.Generator().manual_seed(0)
        return train.batches(7, order, augment=True, rank=rank, ranks=ranks)

    whole, parts = batches(), [batches(rank, ranks) for rank in range(ranks)]
    for _ in range(2):  # epochs
        for (inputs, labels), *own in zip(whole, *parts, strict=True):
            assert torch.equal(torch.cat([part for part, _ in own]), inputs)
            assert torch.equal(torch.cat([classes for _, classes in own]), labels)
            counts = [len(classes) for _, classes in own]
            assert max(counts) - min(counts) <= 1


def test_each_rank_has_an_input_of_each_batch_in_order():
    np.savez(DATA / "few.npz", x=np.zeros((30, 6, 6), dtype=np.uint8), y=np.arange(30) % 3)
    train = load(config({"npz": "few.npz"}, test=0.2)).train
    assert train.batches(8).sizes == [8, 8, 2]
    parts = [train.batches(8, rank=rank, ranks=3) for rank in range(3)]
    assert parts[0].sizes == [8, 10]
    assert [[len(labels) for _, labels in part] for part in parts] == [[2, 3], [3, 3], [3, 4]]


def sides(batches) -> dict[int, bool]:
    """{number of an image: whether it is mirrored} in an epoch."""
    found = {}
    for images, _ in batches:
        for image in images[:, 0]:
            mirrored = bool(image[3, 0] > image[3, 5])
            number = image[0, 5] if mirrored else image[0, 0]
            found[round(float(number) * 255)] = mirrored
    return found


def test_digest_is_of_the_data_and_nothing_else(rng):
    write_npz(rng)
    digest = load(config({"npz": "made.npz"})).digest
    assert digest == load(config({"npz": "made.npz"}, augment={"flip": True})).digest
    assert len(digest) == 16
    write_npz(rng)
    assert digest != load(config({"npz": "made.npz"})).digest
