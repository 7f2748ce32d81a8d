"""Configuration files: read by the rules of YAML 1.2, checked, completed; each fault is one
line.
"""

from pathlib import Path

import pytest

from ttfs.config import find, known, load_grid, read_named, read_yaml
from ttfs.config.read import load_yaml
from ttfs.errors import UserError


def loaded(tmp_path: Path, text: str) -> dict:
    path = tmp_path / "file.yaml"
    path.write_text(text, encoding="utf-8")
    return load_yaml(path)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("012", 12), ("1:30", "1:30"), ("1e-3", 0.001), ("1.0e-3", 0.001), ("on", "on"),
        ("yes", "yes"), ("true", True), ("~", None), ("null", None), ("none", "none"), ("0x10",
        "0x10"),
        ("-5", -5), (".5", 0.5),
        ("2026-11-25", "2026-11-25"), ("1_000", "1_000"),
    ],
)  # fmt: skip
def test_scalars_are_those_of_yaml_1_2(tmp_path: Path, text: str, value):
    found = loaded(tmp_path, f"key: {text}")["key"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\na: 2", "not valid YAML: key 'a' comes twice"),
        ("1: 2", "not valid YAML: key '1' is no text"),
        ("a: &x [1]\nb: *x", "not valid YAML: aliases"),
        ("a: !!bool maybe", r"not valid YAML: tags \(!!name\) are not allowed"),
        ("a: !!timestamp 2001-01-01", r"not valid YAML: tags \(!!name\) are not allowed"),
        ("a: [1", "not valid YAML"),
        ("- 1", "expected 'key: value' lines, found list"),
        ("", "expected 'key: value' lines, found NoneType"),
        ("a: " + "9" * 401, "is too long"),
        ("a: " + "[" * 20_000, "not valid YAML"),
        ("a: " + "x" * 1_100_000, "larger than 1,000,000 bytes"),
    ],
    ids=[
        "twice",
        "number",
        "alias",
        "tag",
        "date",
        "open",
        "list",
        "empty",
        "digits",
        "deep",
        "large",
    ],
)
def test_what_is_no_configuration_is_one_line(tmp_path: Path, text: str, said: str):
    with pytest.raises(UserError, match=said.replace("?", "[?]")) as caught:
        loaded(tmp_path, text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_billion_laughs_are_refused_before_they_are_laughed(tmp_path: Path):
    lines = ["a: &a [x, x, x]"] + [
        f"{b}: &{b} [*{a}, *{a}, *{a}]" for a, b in zip("abcdefghi", "bcdefghij", strict=True)
    ]
    with pytest.raises(UserError, match="aliases"):
        loaded(tmp_path, "\n".join(lines))


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        (
            "quick", "seeds", "sedes",
            "configs/quick.yaml: unknown key 'sedes'; did you mean 'seeds'?",
        ),
        (
            "quick", "[0, 1, 2]", "[0, 0]",
            "configs/quick.yaml: key 'seeds': [0, 0] has non-unique elements",
        ),
        (
            "quick", "- {method: ann, over: {learning_rate: 3.0e-2}}", "- {method: ann, ovr: {}}",
            "unknown key 'datasets.1.methods.0.ovr'; did you mean 'over'?",
        ),
        (
            "quick", "- {method: ann, over: {learning_rate: 3.0e-2}}",
            "- {method: ann, over: {learning_rate: []}}",
            "key 'datasets.1.methods.0.over.learning_rate': []",
        ),
        (
            "quick", "- {method: ann, over: {learning_rate: 3.0e-2}}", "- {method: 3}",
            "key 'datasets.1.methods.0.method': 3 is not of type",
        ),
        ("quick", "models: [fc-30]", "models: [{over: {layers: 3}}]", "datasets.1.models.0.model'"),
        ("quick", "[fc2, cnn]", "[fc3]", "no configs/models/fc3.yaml; did you mean 'fc"),
        ("quick", "[fc2, cnn]", "[../fc2]", "no configs/models/../fc2.yaml"),
        (
            "datasets/digits", "epochs: 40", "epochs: 4.0",
            "datasets/digits.yaml: key 'epochs': 4.0 is not of type",
        ),
        ("datasets/digits", "epochs: 40", "epochs: .inf", "datasets/digits.yaml: key 'epochs'"),
        (
            "datasets/digits", "epochs: 40", "epochs: 40\naugment: {cutmix: .nan}",
            "datasets/digits.yaml: key 'augment.cutmix': nan is not of type",
        ),
        (
            "datasets/digits", "epochs: 40", "epochs: 40\naugment: {cutout: 4.0}",
            "datasets/digits.yaml: key 'augment.cutout': 4.0 is not of type",
        ),
        (
            "quick", "{learning_rate: 3.0e-2}", "{augment: [{shift: 1.0}]}",
            "key 'train.augment.shift': 1.0 is not of type",
        ),
        (
            "datasets/digits", "classes: 10", "classes: true",
            "datasets/digits.yaml: key 'classes': True is not of type",
        ),
        (
            "datasets/digits", "epochs: 40", 'epochs: 40\n"two\\nlines": 1',
            "datasets/digits.yaml: unknown key 'two lines'",
        ),
        (
            "datasets/digits", "validation: 0.1", "validation: 1.0",
            "datasets/digits.yaml: key 'validation': 1.0 is greater than or equal to",
        ),
        (
            "datasets/digits", "test: 0.2", "test: 12.5",
            "datasets/digits.yaml: key 'test': 12.5 is greater than or equal to",
        ),
        (
            "datasets/digits", "classes: 10", "classes: 1000000000",
            "datasets/digits.yaml: key 'classes': 1000000000 is greater than",
        ),
        (
            "datasets/digits", "epochs: 40", "epochs: 1000000000000",
            "datasets/digits.yaml: key 'epochs': 1000000000000 is greater than",
        ),
        (
            "datasets/digits", "[1, 8, 8]", "[1, 8, 1000000000]",
            "datasets/digits.yaml: key 'shape.2': 1000000000 is greater than",
        ),
        (
            "methods/ann", "kind: relu", "kind: rely",
            "methods/ann.yaml: key 'kind' is 'rely'; did you mean 'relu'?",
        ),
        (
            "methods/ann", "kind: relu", "note: ours",
            "methods/ann.yaml: missing key 'kind'; choose from:",
        ),
        (
            "methods/ann", "optimizer: adam", "optimizer: adan",
            "key 'train.optimizer' is 'adan'; did you mean 'adam'?",
        ),
        (
            "methods/ann", "learning_rate", "learning_rat",
            "unknown key 'train.learning_rat'; did you mean 'learning_rate'",
        ),
        (
            "methods/ann", "  learning_rate: 1.0e-3\n", "",
            "methods/ann.yaml: missing key 'train.learning_rate'",
        ),
        (
            "methods/ann", "1.0e-3", "1e308",
            "methods/ann.yaml: key 'train.learning_rate': 1e+308 is greater than",
        ),
        (
            "methods/ann", "kind: relu", "kind: relu\nthreads: 1000000",
            "key 'threads': 1000000 is greater than",
        ),
        (
            "methods/ann", "kind: relu", "kind: relu\ndevices: 0",
            "methods/ann.yaml: key 'devices': 0 is less than the minimum of 1",
        ),
        (
            "methods/rate", "kind: rate", "kind: rate\ndevices: 2",
            "methods/rate.yaml: unknown key 'devices'",
        ),
        (
            "methods/b1-converted", "kind: b1", "kind: b1\ndevices: 2",
            "methods/b1-converted.yaml: key 'devices' is 2, but this method trains nothing; remove",
        ),
        (
            "models/fc2", "layers: 340", "layers: 340\ntorchvision: alexnet",
            "give exactly one of the keys",
        ),
        (
            "hardware/combined", "weight_bits: 4", "weight_bits: 1",
            "hardware/combined.yaml: key 'weight_bits': 1 is less",
        ),
    ],
)  # fmt: skip
def test_a_fault_names_file_key_value_and_fix(
    configs: Path, file: str, old: str, new: str, said: str
):
    path = configs / f"{file}.yaml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(UserError) as caught:
        load_grid("configs/quick.yaml")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_defaults_are_filled_in_and_the_file_is_the_id(configs: Path):
    method = read_named("method", "b1-scratch", "a test")
    assert method["id"] == "b1-scratch"
    assert method["train"]["window_growth"] == 10.0
    assert method["check"]["simulated_items"] == 8
    assert method["threads"] == 1
    assert read_named("hardware", "ideal", "a test")["tuning"] is None


def test_the_working_directory_comes_first_and_the_shipped_files_after(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shipped = find("dataset", "digits")
    assert shipped is not None
    Path("configs/datasets").mkdir(parents=True)
    own = Path("configs/datasets/digits.yaml")
    own.write_text(shipped.read_text().replace("epochs: 40", "epochs: 4"))
    Path("configs/datasets/leaves.yaml").write_text(own.read_text())
    assert find("dataset", "digits") == own
    assert read_named("dataset", "digits", "a test")["epochs"] == 4
    assert {"leaves", "digits", "mnist"} <= set(known("dataset"))
    for name in ("my_set", ".hidden"):
        Path(f"configs/datasets/{name}.yaml").write_text(own.read_text())
    assert ".hidden" not in known("dataset")
    with pytest.raises(UserError, match=r"my_set.yaml: the file's name is its id and may hold"):
        read_named("dataset", "my_set", "a test")
    with pytest.raises(UserError, match=r"a test: no configs/datasets/x+\.yaml"):
        read_named("dataset", "x" * 300, "a test")
    assert find("dataset", "nothing") is None
    Path("quick").mkdir()  # a folder of its name is no grid
    assert load_grid("quick").name == load_grid("configs/quick.yaml").name == "quick"


@pytest.mark.parametrize("noun", ["dataset", "model", "method", "hardware", "study", "published"])
def test_each_shipped_file_is_sound(noun: str):
    assert known(noun)
    for name in known(noun):
        path = find(noun, name)
        assert path is not None
        assert read_yaml(path, noun)["id"] == name
