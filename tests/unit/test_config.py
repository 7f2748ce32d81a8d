"""The YAML files of configs/: what is shipped is right, and what is wrong is said in one line with its cure."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from ttfs import config
from ttfs.config import Cell, Grid, load_grid, read_yaml
from ttfs.errors import UserError
from ttfs.results.records import METRICS

KINDS = {
    "datasets": "dataset",
    "models": "model",
    "methods": "method",
    "hardware": "hardware",
    "published": "published",
}
SHIPPED = [(kind, path) for folder, kind in KINDS.items() for path in sorted((config.CONFIGS / folder).glob("*.yaml"))]

DATASET = """
title: Made up
source: {bundled: digits}
shape: [1, 8, 8]
classes: 10
validation: 0.1
epochs: 4
batch_size: 32
citation: nobody
"""
METHOD = "title: Made up\ntrain: {optimizer: adam, learning_rate: 0.001}\n"
MODEL = "title: Made up\nlayers: 340\n"
GRID = "datasets: [digits]\nmodels: [fc2]\nmethods: [ann, b1-converted]\nseeds: [0, 1]\n"
PUBLISHED = "work: W\nsource: S\nvalues:\n  - {datasets: [digits], metric: accuracy, value: 98.0}\n"


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., dict]:
    """Read text as a config file of a kind."""

    def read(text: str, kind: str, name: str = "made-up.yaml") -> dict:
        path = tmp_path / name
        path.write_text(text)
        return read_yaml(path, kind)

    return read


@pytest.fixture
def house(configs: Path) -> Path:
    """The copy of configs/, with the grid configs/tiny.yaml."""
    (configs / "tiny.yaml").write_text(GRID)
    return configs


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(("kind", "path"), SHIPPED, ids=lambda value: getattr(value, "stem", value))
def test_each_shipped_file_is_right(kind: str, path: Path):
    assert read_yaml(path, kind)["id"] == path.stem


@pytest.mark.parametrize("path", sorted(config.CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_each_shipped_grid_is_right(path: Path):
    grid = load_grid(path)
    cells = list(grid.cells())
    assert len(set(cells)) == len(cells) > 0
    assert {grid.source(cell) for cell in cells} - {None} <= set(cells)


def test_the_schema_of_published_values_offers_metrics_that_exist():
    offered = config._schema("published")["properties"]["values"]["items"]["properties"]["metric"]["enum"]
    assert set(offered) <= set(METRICS)


@pytest.mark.parametrize("kind", ["grid", *KINDS.values()])
def test_each_default_satisfies_its_own_rule(kind: str):
    def check(schema: dict) -> None:
        for rule in schema.get("properties", {}).values():
            if "default" in rule:
                config._Validator(rule).validate(rule["default"])
            check(rule)

    check(config._schema(kind))


def test_defaults_are_filled_in_at_every_depth(read):
    filled = read(GRID, "grid")
    assert {"id": "made-up", "seeds": [0, 1], "threads": 1, "device": "cpu", "augment": None}.items() <= filled.items()
    assert filled["verify"] == {
        "logit_difference": 1e-4,
        "agreement": 99.9,
        "simulated_images": 8,
        "spike_time_error": 1e-9,
    }
    assert read(GRID + "verify: {agreement: 100}\n", "grid")["verify"]["agreement"] == 100
    assert read(GRID + "verify: {agreement: 100}\n", "grid")["verify"]["simulated_images"] == 8
    trained, converted = (read(text, "method") for text in (METHOD, "title: T\nconvert: {source: ann}\n"))
    assert {"neuron": "relu", "source": None, "momentum": 0.9, "epochs": None}.items() <= trained["train"].items()
    assert converted["convert"]["neuron"] == "b1"


def test_a_schema_that_refers_to_another_takes_its_rules_and_defaults(read):
    for text, kind, block in ((DATASET, "dataset", None), (METHOD, "method", "train"), (GRID, "grid", None)):

        def augment(more: str, text=text, kind=kind, block=block) -> object:
            content = read(text.replace("0.001", f"0.001{', ' + more if more else ''}") if block else text + more, kind)
            return (content[block] if block else content)["augment"]

        assert augment("") is None
        assert augment("augment: {shift: 2}") == {"shift": 2}
        assert augment("augment: null") is None
        with pytest.raises(UserError, match=r"unknown key '(train\.)?augment\.shfit'; did you mean 'shift'\?"):
            augment("augment: {shfit: 2}")
        with pytest.raises(UserError, match=r"augment\.crop': -1 is less than the minimum of 0"):
            augment("augment: {crop: -1}")
    for kind in ("dataset", "method", "grid"):
        assert "$ref: augment" not in yaml.safe_dump(config._schema(kind))


def test_defaults_of_keys_that_do_not_apply_stay_out(read):
    assert "batch_norm" in read(MODEL, "model")
    assert set(read("title: T\ntorchvision: resnet18\n", "model")) == {"id", "title", "torchvision"}


def test_filling_in_defaults_leaves_the_schema_alone(read):
    read(GRID, "grid")["verify"]["agreement"] = 0
    assert read(GRID, "grid")["verify"]["agreement"] == 99.9


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        ("grid", GRID + "seed: 3\n", "unknown key 'seed'; did you mean 'seeds'?"),
        ("grid", GRID + "device: gpu\n", "key 'device' is 'gpu'; did you mean 'cpu'?"),
        ("grid", GRID + "device: tpu9\n", "key 'device' is 'tpu9'; choose from: cpu, cuda, auto"),
        ("grid", GRID.replace("[0, 1]", "3"), "key 'seeds': 3 is not of type 'array'"),
        ("grid", GRID.replace("[0, 1]", "[0, 0]"), "key 'seeds': [0, 0] has non-unique elements"),
        ("grid", GRID.replace("[0, 1]", "[0, -1]"), "key 'seeds.1': -1 is less than the minimum of 0"),
        ("grid", GRID.replace("[0, 1]", "[0, 1.0]"), "key 'seeds.1': 1.0 is not of type 'integer'"),
        ("grid", GRID.replace("[0, 1]", "[0, yes]"), "key 'seeds.1': True is not of type 'integer'"),
        ("grid", GRID.replace("[fc2]", "[]"), "key 'models': [] should be non-empty"),
        ("grid", GRID.replace("[digits]", "[Digits]"), "key 'datasets.0': 'Digits' does not match '^[a-z0-9-]+$'"),
        ("grid", GRID + "verify: {agreement: 101}\n", "key 'verify.agreement': 101 is greater than the maximum of 100"),
        ("grid", GRID.replace("seeds", "# seeds"), "missing key 'seeds'"),
        ("dataset", DATASET.replace("epochs", "epoch"), "unknown key 'epoch'; did you mean 'epochs'?"),
        ("dataset", DATASET.replace("epochs: 4\n", ""), "missing key 'epochs'"),
        ("dataset", DATASET.replace("epochs: 4", "epochs: many"), "key 'epochs': 'many' is not of type 'integer'"),
        ("dataset", DATASET.replace("epochs: 4", "epochs: 4.0"), "key 'epochs': 4.0 is not of type 'integer'"),
        ("dataset", DATASET + "epochs: 5\n", "key 'epochs' comes twice"),
        ("dataset", DATASET + "augment: {flip: true, flip: false}\n", "key 'flip' comes twice"),
        ("dataset", DATASET + "augment: {shfit: 1}\n", "unknown key 'augment.shfit'; did you mean 'shift'?"),
        ("dataset", DATASET + "on: 1\n", "key 'on' is no text"),
        ("dataset", DATASET.replace("digits", "digit"), "key 'source.bundled' is 'digit'; did you mean 'digits'?"),
        ("dataset", DATASET.replace("{bundled: digits}", "{}"), "key 'source': {} should be non-empty"),
        ("dataset", DATASET.replace("[1, 8, 8]", "[1, 1, 8, 8]"), "key 'shape': [1, 1, 8, 8] is too long"),
        ("model", "title: T\n", "give exactly one of the keys 'layers' and 'torchvision'"),
        ("model", MODEL + "torchvision: vgg11\n", "give exactly one of the keys 'layers' and 'torchvision'"),
        ("model", MODEL + "arguments: {}\n", "key 'arguments' needs key 'module'"),
        ("model", MODEL + "batch_norm: befor\n", "key 'batch_norm' is 'befor'; did you mean 'before'?"),
        ("method", METHOD.replace("adam", "adm"), "key 'train.optimizer' is 'adm'; did you mean 'adam'?"),
        ("method", METHOD.replace("0.001", "1e-3"), "key 'train.learning_rate': '1e-3' is text in YAML"),
        ("method", METHOD.replace("0.001", ".nan"), "key 'train.learning_rate': nan is not of type 'number'"),
        ("method", METHOD.replace("0.001", "0"), "key 'train.learning_rate': 0 is less than or equal to the minimum"),
        ("method", METHOD + "convert: {source: ann}\n", "give exactly one of the keys 'train' and 'convert'"),
        ("method", "title: T\nconvert: {source: ann, neuron: b2}\n", "'convert.neuron' is 'b2'; choose from: b1, "),
        ("method", METHOD.replace("optim", "neuron: b11, optim"), "'train.neuron' is 'b11'; did you mean 'b1'?"),
        ("method", METHOD.replace("0.001", "0.001, epochs: 0"), "key 'train.epochs': 0 is less than the minimum of 1"),
        ("method", METHOD.replace("0.001", "0.001, window_growth: 0.5"), "'train.window_growth': 0.5 is less"),
        ("published", PUBLISHED.replace("accuracy", "acuracy"), "'acuracy'; did you mean 'accuracy'?"),
        ("published", PUBLISHED.replace("value:", "valeu:"), "unknown key 'values.0.valeu'; did you mean 'value'?"),
        ("model", "", "expected 'key: value' lines, found NoneType"),
        ("model", "- 340\n", "expected 'key: value' lines, found list"),
        ("model", "layers: [340\n", "not valid YAML: while parsing a flow sequence"),
        ("model", "layers: '\a'\n", "not valid YAML: unacceptable character"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_line(read, kind: str, text: str, said: str):
    with pytest.raises(UserError) as caught:
        read(text, kind)
    assert said in str(caught.value)
    assert "made-up.yaml: " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named_and_a_near_one_offered(house: Path):
    with pytest.raises(UserError, match=r"^configs/tinny\.yaml: no such file; did you mean 'tiny\.yaml'\?$"):
        load_grid("configs/tinny.yaml")
    with pytest.raises(UserError, match=r"^nowhere/tiny\.yaml: no such file"):
        load_grid("nowhere/tiny.yaml")


def test_what_is_no_text_file_is_named(tmp_path: Path):
    with pytest.raises(UserError, match="cannot be read"):
        read_yaml(tmp_path, "grid")
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="cannot be read"):
        read_yaml(tmp_path / "bytes.yaml", "grid")


def test_a_file_name_that_is_no_id_is_refused(read):
    with pytest.raises(UserError, match="is its id and may hold only"):
        read(MODEL, "model", "My_Model.yaml")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[digits]", "[digts]", "key 'datasets': no configs/datasets/digts.yaml; did you mean 'digits'?"),
        ("[fc2]", "[fc2, leenet5]", "key 'models': no configs/models/leenet5.yaml; did you mean 'lenet5'?"),
        ("[ann, ", "[anne, ", "key 'methods': no configs/methods/anne.yaml; did you mean 'ann'?"),
        ("[ann, ", "[", "key 'methods': 'b1-converted' starts from 'ann', which the grid does not list; add 'ann'"),
    ],
)  # fmt: skip
def test_a_grid_that_names_what_is_not_there(house: Path, old: str, new: str, said: str):
    change(house / "tiny.yaml", old, new)
    with pytest.raises(UserError) as caught:
        load_grid("configs/tiny.yaml")
    assert str(caught.value) == f"configs/tiny.yaml: {said}"


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("datasets/digits", "epochs", "epoch", "configs/datasets/digits.yaml: unknown key 'epoch'"),
        ("models/fc2", "glorot-uniform", "glorot", "configs/models/fc2.yaml: key 'initialization' is 'glorot'"),
        ("models/fc2", "layers: 340", "layers: 340-C5", "model 'fc2', key 'layers': token 2 'C5' is not a layer"),
        ("methods/ann", "adam", "adamw", "configs/methods/ann.yaml: key 'train.optimizer' is 'adamw'"),
        ("methods/b1-converted", "source: ann", "source: b1-converted", "'b1-converted' trains no ReLU network"),
        ("published/che2024-ettfs", "work:", "wrok:", "configs/published/che2024-ettfs.yaml: unknown key 'wrok'"),
    ],
)
def test_a_typo_in_any_file_stops_the_grid(house: Path, file: str, old: str, new: str, said: str):
    change(house / f"{file}.yaml", old, new)
    with pytest.raises(UserError) as caught:
        load_grid("configs/tiny.yaml")
    assert said in str(caught.value)


def test_cells_come_in_the_order_of_the_grid_and_know_their_source(house: Path):
    grid = load_grid("configs/tiny.yaml")
    cells = list(grid.cells())
    assert [cell.name for cell in cells] == [
        "digits/fc2/seed0/ann",
        "digits/fc2/seed0/b1-converted",
        "digits/fc2/seed1/ann",
        "digits/fc2/seed1/b1-converted",
    ]
    assert str(cells[3]) == "tiny/digits/fc2/seed1/b1-converted"
    assert cells[3].folder == Path("results/tiny/digits/fc2/seed1/b1-converted")
    assert grid.source(cells[3]) == cells[2]
    assert grid.source(cells[2]) is None


CHAIN = "[ann, b1-converted, b1-finetuned, b1-scratch, alpha1-converted, alpha1-finetuned, alpha1-scratch]"


def test_a_method_knows_its_neurons_its_stages_and_where_its_weights_come_from(house: Path):
    change(house / "tiny.yaml", "[ann, b1-converted]", CHAIN)
    grid = load_grid("configs/tiny.yaml")
    found = {
        m: (grid.neuron(m), grid.stages(m), grid.source(Cell("tiny", "digits", "fc2", 1, m))) for m in grid.methods
    }

    def cell(method: str) -> Cell:
        return Cell("tiny", "digits", "fc2", 1, method)

    assert found == {
        "ann": ("relu", ("train",), None),
        "b1-converted": ("b1", ("convert", "verify"), cell("ann")),
        "b1-finetuned": ("b1", ("train", "verify"), cell("b1-converted")),
        "b1-scratch": ("b1", ("train", "verify"), None),
        "alpha1-converted": ("alpha1", ("convert", "verify"), cell("ann")),
        "alpha1-finetuned": ("alpha1", ("train", "verify"), cell("alpha1-converted")),
        "alpha1-scratch": ("alpha1", ("train", "verify"), None),
    }


@pytest.mark.parametrize(
    ("methods", "said"),
    [
        (
            {"tuned": "neuron: b1, source: b1-convertd"},
            "configs/tiny.yaml: key 'methods': 'tuned' starts from 'b1-convertd', which the grid does not list; "
            "add 'b1-convertd'",
        ),
        (
            {"tuned": "source: ann"},
            "configs/methods/tuned.yaml: key 'train.source': only TTFS networks are fine-tuned; set train.neuron, or "
            "remove it",
        ),
        (
            {"tuned": "neuron: alpha1, source: b1-converted"},
            "configs/methods/tuned.yaml: key 'train.source': 'b1-converted' trains no alpha1 network; choose from: "
            "none is there",
        ),
        (
            {"tuned": "neuron: b1, source: ann"},
            "configs/methods/tuned.yaml: key 'train.source': 'ann' trains no b1 network; choose from: b1-converted",
        ),
        (
            {"tuned": "neuron: b1, source: tuned"},
            "configs/methods/tuned.yaml: key 'train.source': tuned <- tuned is a circle; start one from scratch",
        ),
        (
            {"hen": "neuron: b1, source: egg", "egg": "neuron: b1, source: hen"},
            "configs/methods/hen.yaml: key 'train.source': hen <- egg <- hen is a circle; start one from scratch",
        ),
    ],
)
def test_a_source_that_cannot_be_one_is_refused(house: Path, methods: dict[str, str], said: str):
    for name, keys in methods.items():
        (house / "methods" / f"{name}.yaml").write_text(METHOD.replace("optimizer", f"{keys}, optimizer"))
    change(house / "tiny.yaml", "b1-converted]", f"b1-converted, {', '.join(methods)}]")
    with pytest.raises(UserError) as caught:
        load_grid("configs/tiny.yaml")
    assert str(caught.value) == said


@pytest.mark.parametrize(
    ("grid", "method", "expected"),
    [
        ("", "", {"epochs": 20, "batch_size": 128, "augment": {"shift": 1}}),
        ("", "epochs: 7", {"epochs": 7, "batch_size": 128, "augment": {"shift": 1}}),
        ("", "batch_size: 3", {"epochs": 20, "batch_size": 3, "augment": {"shift": 1}}),
        ("", "augment: {shift: 0, crop: 2}", {"epochs": 20, "augment": {"shift": 0, "crop": 2}}),
        ("epochs: 9\nbatch_size: 4", "batch_size: 3", {"epochs": 9, "batch_size": 3}),
        ("augment: {flip: true, shift: 3}", "augment: null", {"augment": {"shift": 3, "flip": True}}),
        ("augment: {flip: true, shift: 3}", "augment: {shift: 4}", {"augment": {"shift": 4, "flip": True}}),
    ],
)
def test_the_budget_is_the_data_set_s_unless_the_grid_or_the_method_says_so(
    house: Path, grid: str, method: str, expected: dict
):
    change(house / "tiny.yaml", "[digits]", f"[mnist]\n{grid}")
    change(house / "methods" / "ann.yaml", "select: best", method)
    slice = load_grid("configs/tiny.yaml").slice("train", Cell("tiny", "mnist", "fc2", 0, "ann"))
    assert expected.items() <= slice["train"].items()
    assert not {"epochs", "batch_size", "augment"} & set(slice["dataset"])


STAGES = {"train": "ann", "convert": "b1-converted", "verify": "b1-converted"}
ALL = {f"{dataset} {stage}" for dataset in ("digits", "mnist") for stage in STAGES}


def slices(grid: Grid) -> dict[str, dict]:
    return {
        f"{dataset} {stage}": grid.slice(stage, Cell(grid.name, dataset, "fc2", 0, method))
        for dataset in grid.datasets
        for stage, method in STAGES.items()
    }


@pytest.mark.parametrize(
    ("file", "old", "new", "moved"),
    [
        ("datasets/digits", "epochs: 40", "epochs: 41", {"digits train"}),
        ("datasets/digits", "batch_size: 32", "batch_size: 33", {"digits train"}),
        ("datasets/mnist", "shift: 1", "shift: 2", {"mnist train"}),
        ("datasets/digits", "validation: 0.1", "validation: 0.2", {"digits train", "digits convert", "digits verify"}),
        ("datasets/digits", "title: Digits", "title: Numerals", set()),
        ("datasets/digits", "citation: ", "citation: \"see \"  # ", set()),
        ("models/fc2", "layers: 340", "layers: 341", ALL),
        ("models/fc2", "title: FC2", "title: FC-2", set()),
        ("models/fc2", "note: FCn", "note: An FCn", set()),
        ("methods/ann", "learning_rate: 1.0e-3", "learning_rate: 2.0e-3", {"digits train", "mnist train"}),
        ("methods/ann", "title: ReLU", "title: A ReLU", set()),
        ("methods/b1-converted", "headroom: 0.5", "headroom: 0.6", ALL - {"digits train", "mnist train"}),
        ("methods/b1-converted", "note: Headroom", "note: The headroom", set()),
        ("tiny", "seeds: [0, 1]", "seeds: [0, 1]\nverify: {agreement: 90}", {"digits verify", "mnist verify"}),
        ("tiny", "seeds: [0, 1]", "seeds: [0, 1, 2]", set()),
        ("tiny", "seeds: [0, 1]", "seeds: [0, 1]\nthreads: 2", ALL),
    ],
)  # fmt: skip
def test_a_change_moves_only_the_slices_that_depend_on_it(house: Path, file: str, old: str, new: str, moved: set[str]):
    change(house / "tiny.yaml", "[digits]", "[digits, mnist]")
    before = slices(load_grid("configs/tiny.yaml"))
    change(house / f"{file}.yaml", old, new)
    after = slices(load_grid("configs/tiny.yaml"))
    assert {name for name in before if before[name] != after[name]} == moved


def test_a_slice_holds_every_setting_of_training(house: Path):
    grid = load_grid("configs/tiny.yaml")
    slice = grid.slice("train", Cell("tiny", "digits", "fc2", 1, "ann"))
    assert slice["seed"] == 1
    assert {"epochs": 40, "batch_size": 32, "learning_rate": 1e-3, "patience": None}.items() <= slice["train"].items()
    assert yaml.safe_load(yaml.safe_dump(slice)) == slice
