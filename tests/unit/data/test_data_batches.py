"""How splits are made and batched."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from kit.data import config, everything, write_images, write_npz

from ttfs.data import DataSet, Split, dataset, image_files, load
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
    assert sorted(numbers(sorted_by_class.some(9))) == sorted(numbers(sorted_by_class)[::4])
    images, labels = sorted_by_class.one_batch(9)
    assert torch.equal(images, everything(sorted_by_class.some(9))[0])
    assert labels.bincount().tolist() == [3, 3, 3]
    falling = dataclasses.replace(
        train, inputs=train.inputs.subset(order.flip(0)), labels=train.labels[order.flip(0)]
    )
    assert falling.some(9).labels.bincount().tolist() == [3, 3, 3]
    whole = sorted_by_class.some(1000)
    assert sorted(numbers(whole)) == sorted(numbers(sorted_by_class))
    assert set(whole.labels[:6].tolist()) == {0, 1, 2}  # its beginning is of all classes, too
    _, labels = sorted_by_class.one_batch(18)
    for first in (6, 9, 12):  # their beginning is of all classes, too
        assert set(labels[:first].tolist()) == {0, 1, 2}


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


@pytest.mark.parametrize("ranks", [1, 2, 3])
@pytest.mark.parametrize("flip", [True, "alternating"])
def test_the_parts_of_the_ranks_are_the_batch_of_one_process(ranks: int, flip: bool | str):
    images = np.random.default_rng(0).integers(0, 256, (64, 6, 6), dtype=np.uint8)
    np.savez(DATA / "parts.npz", x=images, y=np.arange(64) % 3)
    moves = {"shift": 1, "crop": 1, "flip": flip, "cutout": 2, "rotate": 9, "zoom": 0.1}
    moves |= {"elastic": 5}
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


def test_digest_is_of_the_data_and_nothing_else(rng):
    write_npz(rng)
    digest = load(config({"npz": "made.npz"})).digest
    assert digest == load(config({"npz": "made.npz"}, augment={"flip": True})).digest
    assert len(digest) == 16
    write_npz(rng)
    assert digest != load(config({"npz": "made.npz"})).digest
