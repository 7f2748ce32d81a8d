"""Axes: an entry of a grid becomes points; the id of a point says all that its file does not."""

import re
from pathlib import Path

import pytest
import yaml

from ttfs.config import POINT, variants
from ttfs.errors import UserError
from ttfs.results.frame import chip_of


def ids(noun: str, entry) -> list[str]:
    return [point.id for point in variants(noun, entry, "a test")]


@pytest.mark.parametrize(
    ("noun", "entry", "expected"),
    [
        ("method", "ann", ["ann"]),
        ("method", {"method": "ann"}, ["ann"]),
        (
            "method", {"method": "b1-scratch", "over": {"train.activity_l1": [6.0e-4, 2.0e-3]}},
            ["b1-scratch+activity_l1=6e-4", "b1-scratch+activity_l1=2e-3"],
        ),
        (
            "method", {"method": "b1-scratch", "over": {"activity_l1": [0.0, 0.5]}},
            ["b1-scratch", "b1-scratch+activity_l1=0.5"],
        ),
        (
            "method", {"method": "ann", "over": {"epochs": 3, "batch_size": 8}},
            ["ann+batch_size=8+epochs=3"],
        ),
        (
            "method", {"method": "b1-converted", "over": {"source": "ann+activity_l1=1e-3"}},
            ["b1-converted+source=ann~activity_l1=1e-3"],
        ),
        (
            "method",
            {
                "method": "b1-converted",
                "over": {"train": {"optimizer": "sgd", "learning_rate": 0.1}},
            },
            None,
        ),
        (
            "dataset", {"dataset": "mnist", "over": {"epochs": [20, 60]}},
            ["mnist", "mnist+epochs=60"],
        ),
        ("dataset", {"dataset": "mnist", "over": {"augment.shift": 2}}, ["mnist+shift=2"]),
        (
            "dataset", {"dataset": "digits", "over": {"augment.shift": 2}},
            ["digits+augment.shift=2"],
        ),
        ("dataset", {"dataset": "mnist", "over": {"augment": "none"}}, ["mnist+augment=none"]),
        ("hardware", {"over": {"time_bits": [4, "none"]}}, ["time_bits=4", "ideal"]),
        (
            "hardware", {"over": {"weight_bits": 4, "tuning": ["none", {}]}},
            ["weight_bits=4", "tuning+weight_bits=4"],
        ),
        ("hardware", {"over": {"tuning": {"epochs": 30}}}, ["tuning.epochs=30"]),
        ("hardware", {"over": {"tuning": {"epochs": 3}}}, ["tuning"]),
        (
            "hardware",
            {"over": {"weight_bits": 4, "augment": ["none", {"flip": True}]}},
            ["tuning.augment=none+weight_bits=4", "tuning.augment.flip=true+weight_bits=4"],
        ),
        ("hardware", {"over": {"tuning.augment": "none"}}, ["tuning.augment=none"]),
        ("hardware", {"over": {"tuning": {"augment": None}}}, ["tuning"]),
        (
            "method", {"method": "ann", "over": {"augment": [None, "none"]}},
            ["ann", "ann+augment=none"],
        ),
        (
            "hardware", {"hardware": "combined", "over": {"jitter": [0.02, 0.05]}},
            ["combined", "combined+jitter=0.05"],
        ),
    ],
)  # fmt: skip
def test_ids_hold_the_differences_to_the_file(noun: str, entry, expected: list[str] | None):
    found = ids(noun, entry)
    assert all(re.fullmatch(POINT, name) for name in found)
    assert len(set(found)) == len(found)
    assert expected is None or found == expected


def test_none_is_a_word_of_augmentation_whose_null_is_that_of_the_data_set():
    entry = {"method": "ann", "over": {"augment": ["none", {"crop": 2}]}}
    without, cropped = variants("method", entry, "a test")
    assert (without.id, without.config["train"]["augment"]) == ("ann+augment=none", "none")
    assert cropped.config["train"]["augment"] == {"crop": 2}


def test_the_same_point_has_the_same_id_however_it_is_written():
    one = ids("method", {"method": "ann", "over": {"train.epochs": 3, "learning_rate": 0.01}})
    other = ids("method", {"method": "ann", "over": {"learning_rate": [1.0e-2], "epochs": [3]}})
    assert one == other


def test_points_are_complete_and_keep_the_id_of_their_file():
    [point] = variants("hardware", {"over": {"tuning": {}, "jitter": 0.1}}, "a test")
    assert point.config["id"] == "ideal"
    budget = {"epochs": 3, "learning_rate": 1.0e-3, "batch_size": 128}
    assert point.config["tuning"] == budget | {"augment": None}
    assert point.config["jitter"] == 0.1
    assert set(point.varied) == {"tuning", "jitter"}


def test_an_augmentation_as_usual_is_not_one_that_is_off(tmp_path: Path, monkeypatch):
    """Where a file has one, null gives that of the training back, and none switches it off."""
    monkeypatch.chdir(tmp_path)
    lab = tmp_path / "configs" / "hardware" / "lab.yaml"
    lab.parent.mkdir(parents=True)
    lab.write_text("title: Lab\ntuning: {augment: {flip: true}}\n")
    asked = [None, "none", {"cutmix": 0.5}, {"flip": True, "cutmix": 0.5}]
    points = list(variants("hardware", {"hardware": "lab", "over": {"augment": asked}}, "a test"))
    assert [point.id for point in points] == [
        "lab+augment=default", "lab+augment=none", "lab+cutmix=0.5+flip=none", "lab+cutmix=0.5",
    ]  # fmt: skip
    chips = [chip_of(point) for point in points]
    assert chips == [("lab", point.id[4:].replace("+", ", ")) for point in points]


def test_a_whole_number_is_the_float_that_it_stands_for():
    """It has the id of the float, so it has to have its digest, too."""
    for rate in ("1", "1.0"):
        text = f"{{method: ann, over: {{learning_rate: {rate}, weight_decay: -0.0}}}}"
        (point,) = variants("method", yaml.safe_load(text), "a test")
        assert repr(point.config["train"]["learning_rate"]) == "1.0"
        assert repr(point.config["train"]["weight_decay"]) == "0.0"
    (count,) = variants("dataset", {"dataset": "mnist", "over": {"validation": 1000}}, "a test")
    assert repr(count.config["validation"]) == "1000"  # a share would be 0.1
    (chip,) = variants("hardware", {"over": {"latency_cut": 4, "time_bits": 4}}, "a test")
    assert repr(chip.config["latency_cut"]) == "4.0"
    assert repr(chip.config["time_bits"]) == "4"


@pytest.mark.parametrize(
    ("noun", "entry", "said"),
    [
        (
            "method",
            {"method": "ann", "over": {"activity": [1]}},
            "ann: no key 'activity' to vary; did you mean",
        ),
        ("method", {"method": "ann", "over": {"kind": "b1"}}, "ann: no key 'kind' to vary"),
        (
            "method",
            {"method": "ann", "over": {"epochs": 0}},
            "ann with train.epochs: 0: key 'train.epochs'",
        ),
        ("method", {"method": "ann", "over": {"epochs": "none"}}, None),
        ("method", {"method": "b1-converted", "over": {"source": "a/b"}}, "is no name of a folder"),
        (
            "method",
            {"method": "b1-converted", "over": {"source": "a" * 300}},
            "is no name of a folder",
        ),
        ("hardware", {"hardware": "idel"}, "no configs/hardware/idel.yaml; did you mean 'ideal'?"),
        ("hardware", {"over": {"time_bits": [4, 99]}}, "key 'time_bits': 99 is greater than"),
        (
            "hardware",
            {"over": {"tuning": ["none", {}], "tuning.epochs": [10, 20]}},
            "ideal: over: 'tuning' and 'tuning.epochs' set the same values; give one of them",
        ),
        (
            "method",
            {"method": "ann", "over": {"epochs": [1], "train.epochs": [2]}},
            "ann: over: 'epochs' and 'train.epochs' set the same values",
        ),
    ],
)
def test_faults(noun: str, entry, said: str | None):
    if said is None:
        assert ids(noun, entry) == ["ann"]
        return
    with pytest.raises(UserError) as caught:
        ids(noun, entry)
    assert str(caught.value).startswith("a test")
    assert said in str(caught.value)
