"""Data sets of key-value records: what they give."""

import numpy as np
import pandas as pd
import pytest
import torch
from kit.data import everything, shipped
from kit.tables import ENCODINGS, INFORMED, fault, made, write

from ttfs import encode_metadata
from ttfs.data import load
from ttfs.data.generated_files import files
from ttfs.data.one_hot import one_hot
from ttfs.data.places import DATA
from ttfs.data.stamp import data_stamp
from ttfs.data.tables import _labeled, split_by_group
from ttfs.seeds import seed


@pytest.mark.parametrize("name", ["one-hot", "informed"])
def test_the_order_of_keys_in_a_file_is_no_matter(name):
    """Records hold their configuration sorted, and `ttfs.load` reads the data by that."""
    keys = shipped("files")["keys"]
    back = dict(reversed(keys.items()))
    one, other = (load(shipped("files", encoding=ENCODINGS[name], keys=k)) for k in (keys, back))
    assert one.digest == other.digest


def test_no_group_is_in_two_parts():
    table = files()
    shares = {"id": "x", "test": 0.2, "validation": 100}
    parts = split_by_group(table["folder"], shares, "")
    pairs = set(zip(table["folder"], parts.tolist(), strict=True))
    assert len(pairs) == len(set(table["folder"]))
    assert 0.2 * 2000 <= (parts == "test").sum() < 0.2 * 2000 + 9
    assert 100 <= (parts == "validation").sum() < 109
    assert (parts == split_by_group(table["folder"], shares, "")).all()


@pytest.mark.parametrize("name", ["made.csv", "made.csv.xz"])
def test_a_file_gives_the_generated_data(name):
    write(files(), DATA / name)
    ours, generated = load(made(name)), load(shipped("files"))
    assert ours.digest == generated.digest
    assert ours.shape == (160,)
    assert ours.input_range == (0.0, 1.0)
    items = torch.cat([everything(split)[0] for split in (ours.train, ours.validation, ours.test)])
    assert len(items) == 2000
    assert items.min() == 0  # of a missing value
    assert 0.9 < items.max() <= 1


def test_a_parquet_file_gives_the_data_of_its_text():
    """Numbers as numbers, sets as lists, missing values as nulls."""
    table = files()
    typed = pd.DataFrame(table).mask(lambda frame: frame == "", None)
    typed["size"] = pd.to_numeric(typed["size"])
    typed["tags"] = [words.split() if isinstance(words, str) else None for words in typed["tags"]]
    typed.to_parquet(DATA / "made.parquet")
    assert load(made("made.parquet")).digest == load(shipped("files")).digest


def test_texts_of_parquet_may_lack_their_type():
    table = files()
    bare = {key: [value.encode() for value in column] for key, column in table.items()}
    bare["thumbnail"] = [b"\xff\xd8"] * len(table["tags"])  # no text, and no key
    bare["tags"] = [[word.encode() for word in words.split()] for words in table["tags"]]
    pd.DataFrame(bare).to_parquet(DATA / "made.parquet")
    assert load(made("made.parquet")).digest == load(shipped("files")).digest


def test_a_member_of_a_list_is_one_word():
    table = files()
    table["tags"] = ["two_words" if words else "" for words in table["tags"]]
    write(table, DATA / "made.csv")
    table["tags"] = [["two words"] if words else [] for words in table["tags"]]
    pd.DataFrame(table).to_parquet(DATA / "made.parquet")
    assert load(made("made.parquet")).digest == load(made()).digest


def test_ranks_and_vocabularies_are_of_the_training_split():
    table = files()
    write(table, DATA / "made.csv")
    before = {name: load(made(encoding=encoding)) for name, encoding in ENCODINGS.items()}
    parts = split_by_group(table["folder"], made(), "")
    for place in (parts == "test").nonzero()[0]:
        table["size"][place] = "1"
        table["tags"][place] = "unheard"
    write(table, DATA / "made.csv")
    for name, encoding in ENCODINGS.items():
        after = load(made(encoding=encoding))
        assert torch.equal(everything(after.train)[0], everything(before[name].train)[0])
        assert not torch.equal(everything(after.test)[0], everything(before[name].test)[0])


def test_one_hot_holds_one_value_a_key():
    items = everything(load(shipped("files", encoding="one-hot")).train)[0]
    assert set(items.unique().tolist()) == {0.0, 1.0}
    assert items.sum(1).max() <= 4 + 3  # four keys of one value, and tags


def test_one_hot_has_tenths_of_numbers_and_what_occurs_twice():
    reference = {"n": [str(value) for value in range(100)], "c": ["x", "y", "y", "z"] + [""] * 96}
    items = one_hot(reference, {"n": "numeric", "c": "categorical"}, reference)
    assert items.shape == (100, 10 + 1)
    assert (items[:, :10].argmax(1) == np.arange(100) // 10).all()
    assert items[:, 10].nonzero()[0].tolist() == [1, 2]
    ends = one_hot({"n": ["-5", "1e9", ""]}, {"n": "numeric"}, reference)
    assert ends.nonzero()[1].tolist() == [0, 9]


def test_among_classes_of_equal_size_the_name_decides():
    table = files()
    names = ["c", "a", "b"]
    groups = sorted(set(table["folder"]))[:30]
    rows = {"class": [], "folder": [], "type": []}
    for place, group in enumerate(groups):
        for column, value in zip(rows, (names[place % 3], group, f"t{place % 4}"), strict=True):
            rows[column].append(value)
    write(rows, DATA / "made.csv")
    keys = {"type": "categorical"}
    two, named = (load(made(keys=keys, classes=classes, test=0.4)) for classes in (2, ["a", "b"]))
    assert two.digest == named.digest


@pytest.mark.parametrize(("groups", "fit"), [(2, 5), (3, 6), (4, 6)])
def test_a_class_needs_three_groups(groups, fit):
    table = files()
    for column in table.values():
        column += column[:groups]
    table["class"][-groups:] = ["film"] * groups
    table["folder"][-groups:] = [f"film{place}" for place in range(groups)]
    write(table, DATA / "made.csv")
    assert f"have {fit} of the classes" in fault(classes=7)


def test_parts_are_shares_of_the_rest_in_the_order_of_hashes():
    groups = files()["folder"]
    parts = {}
    for name in ("x", "y"):
        split = split_by_group(groups, {"id": name, "test": 0.5, "validation": 0.5}, "")
        parts[name] = dict(zip(groups, split.tolist(), strict=True))
        rest = (split != "test").sum()
        assert 0.5 * rest <= (split == "validation").sum() < 0.5 * rest + 9
        left = set(groups)
        for part in ("test", "validation"):
            order = sorted(left, key=lambda group: seed(name, part, group))
            taken = {group for group in left if parts[name][group] == part}
            assert set(order[: len(taken)]) == taken
            left -= taken
    assert parts["x"] != parts["y"]


@pytest.mark.parametrize(("count", "expected"), [(4, [4, 0]), (7, [6, 1]), (100, [90, 10])])
def test_labels_are_shared_out_by_the_nearest_whole_numbers(count, expected):
    """Of 90 and 10 records: 3.6 and 0.4 of 4, 6.3 and 0.7 of 7."""
    labels = np.repeat([0, 1], [90, 10])
    everyone = np.ones(100, dtype=bool)
    chosen = _labeled(labels, everyone, {"id": "x", "labels": count}, "")
    assert np.bincount(labels[chosen], minlength=2).tolist() == expected


def test_a_network_gets_the_time_left_of_each_spike():
    data, table = load(shipped("files", keys={"type": "categorical"})), files()
    times = encode_metadata(table, {"type": "categorical"}, neurons_per_key=32)
    charges = np.where(np.isfinite(times), 1 - times, 0)
    parts = split_by_group(table["folder"], shipped("files"), "")
    assert torch.equal(everything(data.test)[0], torch.from_numpy(charges[parts == "test"]))


@pytest.mark.parametrize("options", [{"seed": 1}, {"breakpoints": 1}, {"neurons_per_key": 31}])
def test_options_of_the_encoding_are_passed_on(options):
    correlative = ENCODINGS["equal"]["correlative"]
    changed = load(shipped("files", encoding={"correlative": correlative | options}))
    assert changed.digest != load(shipped("files")).digest


def test_information_shares_out_the_neurons_of_all_keys():
    data = load(shipped("files", encoding={"correlative": INFORMED}))
    assert data.shape[0] == pytest.approx(32 * 5, abs=3)


def test_classes_are_the_largest_or_the_named():
    table = files()
    sizes = {name: table["class"].count(name) for name in set(table["class"])}
    largest = sorted(sizes, key=sizes.__getitem__)[-2:]
    assert sum(map(len, _splits(load(shipped("files", classes=2))))) == sum(map(sizes.get, largest))
    named = load(shipped("files", classes=["paper", "code"]))
    labels = torch.cat([everything(split)[1] for split in _splits(named)])
    assert labels.bincount().tolist() == [sizes["paper"], sizes["code"]]


def _splits(data) -> tuple:
    return data.train, data.validation, data.test


def test_a_record_without_a_label_is_of_no_class():
    table = files()
    table["class"][:5] = [""] * 5
    write(table, DATA / "made.csv")
    assert sum(map(len, _splits(load(made())))) == 2000 - 5


def test_the_stamp_follows_the_file():
    write(files(), DATA / "made.csv")
    before = data_stamp(made())
    (DATA / "made.csv").write_text("other")
    assert data_stamp(made()) not in (None, before)


def test_an_ending_in_capitals_is_the_same_ending():
    write(files(), DATA / "made.csv.xz")
    (DATA / "made.csv.xz").rename(DATA / "MADE.CSV.XZ")
    assert load(made("MADE.CSV.XZ")).digest == load(shipped("files")).digest


def test_blank_lines_are_no_records():
    write(files(), DATA / "made.csv")
    plain = load(made()).digest
    text = (DATA / "made.csv").read_text()
    (DATA / "made.csv").write_text("\n" + text.replace("\n", "\n\n"))
    assert load(made()).digest == plain


def test_a_byte_order_mark_is_no_part_of_the_first_name():
    write(files(), DATA / "made.csv")
    plain = load(made()).digest
    text = (DATA / "made.csv").read_bytes()
    (DATA / "made.csv").write_bytes(b"\xef\xbb\xbf" + text)
    assert load(made()).digest == plain


def labeled(count: int | None, **changes):
    return load(made(labels=count, **changes))


def test_few_labels_are_a_part_of_more_and_each_class_has_its_share():
    write(files(), DATA / "made.csv")
    whole, many, few = labeled(None), labeled(300), labeled(50)
    assert whole.unlabeled is None
    assert len(many.train) == 300
    assert few.train.labels.bincount().min() >= 1
    shares = [split.labels.bincount() / len(split) for split in (whole.train, few.train)]
    assert (shares[0] - shares[1]).abs().max() <= 1 / 50
    rows = [{tuple(row) for row in everything(data.train)[0].tolist()} for data in (few, many)]
    assert rows[0] < rows[1]
    for part in ("validation", "test"):
        assert torch.equal(everything(getattr(few, part))[0], everything(getattr(whole, part))[0])
    assert few.unlabeled is not None
    assert torch.equal(everything(few.unlabeled)[0], everything(whole.train)[0])
    assert len({data.digest for data in (whole, many, few)}) == 3


def test_labels_alone_tell_how_many_neurons_a_key_has():
    """Ranks and members are of all training records; information needs labels."""
    write(files(), DATA / "made.csv")
    for name in ("equal", "informed"):
        whole, few = (labeled(count, encoding=ENCODINGS[name]) for count in (None, 60))
        same = whole.shape == few.shape
        same = same and torch.equal(everything(whole.test)[0], everything(few.test)[0])
        assert same == (name == "equal")


@pytest.mark.parametrize("name", ["one-hot", "equal", "informed"])
def test_keys_may_be_empty_in_training(name):
    """And values may be new after it."""
    table = files()
    parts = split_by_group(table["folder"], made(), "")
    for key in ("size", "owner", "tags"):
        for place in (parts == "train").nonzero()[0]:
            table[key][place] = ""
    write(table, DATA / "made.csv")
    data = load(made(encoding=ENCODINGS[name]))
    assert everything(data.train)[0].any(1).double().mean() > 0.9  # of type and age
    assert everything(data.test)[0].isfinite().all()
