"""Data sets of key-value records: what they refuse, in one line."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from kit.tables import ENCODINGS, fault, made, write

from ttfs.config.read import find, load_yaml, read_yaml
from ttfs.data.generated_files import files
from ttfs.data.places import DATA
from ttfs.data.tables import split_by_group
from ttfs.errors import UserError


def test_bad_files():
    assert "no file 'made.csv'; put it into" in fault()
    path = DATA / "made.csv"
    path.write_text("")
    assert "made.csv: holds no record" in fault()
    path.write_text("class,folder,class\na,b,c\n")
    assert "column 'class' comes twice" in fault()
    path.write_text("class,folder\na,b,c\n")
    assert "record 1 has 3 values, the head has 2 names" in fault()
    path.write_bytes("class,folder\nä,b\n".encode("latin-1"))
    assert "made.csv: is no text in UTF-8 (invalid continuation byte); save it as UTF-8" in fault()
    path.write_text('class,folder\na,b\na,"5in\na,b\na,b\n')
    assert (
        "made.csv: cannot be read as a table after line 2: unexpected end of data; close" in fault()
    )
    path.write_text('class,folder\na,"5in\na,b\na,"6in\n')
    assert "made.csv: cannot be read as a table after line 1: ',' expected after" in fault()
    (DATA / "made.csv.xz").write_bytes(b"no xz")
    assert "made.csv.xz: cannot be read as a table" in fault(name="made.csv.xz")
    (DATA / "made.parquet").write_bytes(b"no parquet")
    assert "made.parquet: cannot be read as a table" in fault(name="made.parquet")
    far = pa.array([2**40], pa.timestamp("s"))
    pq.write_table(pa.table({"class": ["a"], "folder": far}), DATA / "made.parquet")
    assert "made.parquet: column 'folder' cannot be read: " in fault(name="made.parquet")
    pd.DataFrame({"class": [], "folder": []}).to_parquet(DATA / "made.parquet")
    assert "made.parquet: holds no record" in fault(name="made.parquet")


@pytest.mark.parametrize("name", ["made.json", "made.csv.gz", "made.tsv", "made.xlsx", "made"])
def test_a_file_of_another_form_is_refused_by_its_name(name):
    (DATA / name).write_text("{}")
    assert f"{name}: no table; write one of .csv, .csv.xz, .parquet" in fault(name=name)


def test_a_record_without_a_group_would_be_in_a_split_by_chance():
    table = files()
    table["folder"][6] = ""
    write(table, DATA / "made.csv")
    assert "made.csv: record 7 has no 'folder', the group" in fault()


def test_labels_that_cannot_be():
    write(files(), DATA / "made.csv")
    assert "'labels: 5000', but" in fault(labels=5000)
    assert "or none with a label; leave it out of 'classes'" in fault(labels=2)


def test_bad_columns_and_classes():
    table = files()
    write(table, DATA / "made.csv")
    assert "key 'owner' is 'text'; choose from: categorical" in fault(keys={"owner": "text"})
    assert "key 'class' is the label" in fault(keys={"class": "categorical"})
    assert "no column 'kind'; it has: class, folder" in fault(label="kind")
    assert "no column 'place'" in fault(group="place")
    assert "no column 'color'" in fault(keys={"color": "set"})
    assert "made.csv: key 'owner' is numeric" in fault(keys={"owner": "numeric"})
    assert "no record of class 'film'" in fault(classes=["film", "code"])
    assert "have 5 of the classes in column 'class' (fewer: none)" in fault(classes=6)
    assert "key 'test': cannot take 5000 out of 2000 records; give" in fault(test=5000)
    said = fault(test=1000, validation=1000)
    assert "key 'validation': cannot take 1000 out of " in said
    assert " records that the test split leaves; give another share" in said
    lonely = np.array(table["class"]) == "code"
    table["folder"] = ["one" if own else g for own, g in zip(lonely, table["folder"], strict=True)]
    write(table, DATA / "made.csv")
    assert "class 'code' has 1 of the three groups" in fault(classes=["code", "data"])
    assert "(fewer: code); lower it to 4" in fault(classes=5)
    table["folder"] = ["one"] * len(lonely)
    write(table, DATA / "made.csv")
    said = fault()
    assert "have 0 of the classes in column 'class'" in said
    assert said.endswith("correct 'label' or 'group'"), "no number of classes would do"


def test_each_class_is_in_the_test_split():
    """Its recall would be missing without a word."""
    table = files()
    write(table, DATA / "made.csv")
    parts = split_by_group(table["folder"], made(), "")
    film = [
        place for part in ("train", "validation") for place in (parts == part).nonzero()[0][-20:]
    ]
    for place in film:
        table["class"][place] = "film"
    write(table, DATA / "made.csv")
    assert "no record of class 'film' is in the test split" in fault(classes=6)


def test_one_hot_without_a_feature_is_refused():
    table = files()
    table["owner"] = [f"user{place}" for place in range(2000)]
    write(table, DATA / "made.csv")
    said = fault(keys={"owner": "categorical"}, encoding="one-hot")
    assert "made.csv: no value of owner is in 2 training records" in said


@pytest.mark.parametrize(
    "options", [{"neurons_per_key": 10**6}, {"neurons_per_key": 1, "neurons_per_member": 10**6}]
)
def test_more_neurons_than_the_memory_holds_are_refused(options, monkeypatch):
    monkeypatch.setattr("ttfs.memory.memory", lambda: 2**31)
    correlative = ENCODINGS["equal"]["correlative"] | options
    said = fault(encoding={"correlative": correlative}, source={"generated": "files"})
    assert "features or more of 2,000 records need at least" in said
    assert "GiB of memory, and there are 2.0 GiB; take fewer keys" in said
    monkeypatch.setattr("ttfs.memory.memory", lambda: 2**10)
    assert "need at least" in fault(encoding="one-hot", source={"generated": "files"})


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("files", {"normalize": {"mean": [0.5], "std": [0.5]}}, "key 'normalize' does not go with"),
        ("files", {"shape": [160]}, "key 'shape' does not go with"),
        ("files", {"range": [0, 2]}, "key 'range' does not go with"),
        ("files", {"keys": None}, "missing key 'keys'"),
        ("files", {"encoding": "onehot"}, "key 'encoding' is 'onehot'; did you mean 'one-hot'?"),
        ("files", {"classes": ["code", "code"]}, "key 'classes': ['code', 'code'] has non-unique"),
        ("digits", {"labels": 100}, "key 'labels' does not go with the other keys; delete it"),
        ("digits", {"classes": ["0", "1"]}, "key 'classes': ['0', '1'] is not of type 'integer'"),
        ("digits", {"source": None}, "missing key 'source'"),
        ("digits", {"source": "digits"}, "key 'source': 'digits' is not of type 'object'"),
        ("digits", {"source": {"bundled": "digits", "table": "a.csv"}}, "key 'source'"),
        ("files", {"source": None}, "missing key 'source'"),
        ("files", {"source": "files.csv"}, "key 'source': 'files.csv' is not of type 'object'"),
        ("files", {"source": {"tabel": "a.csv"}}, "unknown key 'source.tabel'; did you mean 't"),
        ("files", {"source": {}}, "key 'source': {}"),
        ("digits", {"encoding": "one-hot"}, "key 'encoding' does not go with"),
        ("yin-yang", {"group": "x"}, "key 'group' does not go with"),
    ],
)
def test_keys_that_a_source_would_not_read_are_refused(name, changes, said):
    """Few labels of digits, for one, would be all labels under another name."""
    config = load_yaml(find("dataset", name)) | changes
    config = {key: value for key, value in config.items() if value is not None}
    Path("wrong.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(UserError) as caught:
        read_yaml("wrong.yaml", "dataset")
    assert str(caught.value).startswith(f"wrong.yaml: {said}")


def test_records_are_not_moved():
    write(files(), DATA / "made.csv")
    assert "only images" in fault(augment={"shift": 1, "crop": 0, "flip": False})
