"""What everything registered must keep, so that a new file is tested before its author writes a
test.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch
import torch.nn.functional as F
from kit import stages
from torch import nn

import ttfs
from ttfs.config import find, known, load_grid, read_named
from ttfs.data import Split, load
from ttfs.errors import UserError
from ttfs.methods import Check, Options, Train, TrainedOptions, kind, kinds, method_schema
from ttfs.metrics import METRICS
from ttfs.models import build
from ttfs.results.record import Record, read

# Images that a network is made for; any other takes those of MNIST.
SHAPES = {
    "cnn": (1, 8, 8), "fc-30": (4,), "vgg16": (3, 32, 32),
    "vgg16-bn": (3, 32, 32), "vgg11-bn": (3, 32, 32),
    "resnet18": (3, 32, 32), "resnet50": (3, 32, 32),
}  # fmt: skip


@pytest.fixture(scope="module", params=known("model"))
def network(request: pytest.FixtureRequest) -> tuple[nn.Module, tuple[int, ...]]:
    config = read_named("model", request.param, "a test")
    shape = SHAPES.get(request.param, (3, 32, 32) if "residual" in config else (1, 28, 28))
    torch.manual_seed(0)
    return build(config, shape, 10), shape


def test_a_network_learns(network: tuple[nn.Module, tuple[int, ...]]):
    net, shape = network
    items, labels = torch.rand(4, *shape), torch.arange(4)
    logits = net.train()(items)
    assert logits.shape == (4, 10)
    F.cross_entropy(logits, labels).backward()
    parameters = [p for p in net.parameters() if p.requires_grad]  # the whitening one is fixed
    assert all(p.grad is not None and p.grad.isfinite().all() for p in parameters)
    assert sum(bool(p.grad.any()) for p in parameters) > len(parameters) / 2
    net.zero_grad(set_to_none=True)


@torch.no_grad()
def test_a_network_is_mapped_exactly(network: tuple[nn.Module, tuple[int, ...]]):
    net, shape = network
    torch.manual_seed(1)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2.0)
            module.weight.normal_(1, 0.3)
            module.bias.normal_(0, 0.1)
    items = 6 * torch.rand(3, *shape) - 3
    logits = net.eval()(items)
    snn = ttfs.convert(net, items, input_range=(-3.0, 3.0))
    scale = logits.abs().max()
    assert scale > 0
    assert (snn(items) - logits).abs().max() <= 1e-4 * scale
    assert 0 < ttfs.spikes_per_neuron(snn, items) < 1
    assert len(snn.layers) >= sum(isinstance(module, nn.ReLU) for module in net.modules())


@pytest.fixture
def at_hand(
    request: pytest.FixtureRequest,
    data_at_hand: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> dict:
    """The config of the data set, where its data are here; MNIST, Fashion-MNIST and the JPEGs must
    be in CI.
    """
    settings = read_named("dataset", request.param, "a test")
    [(source, value)] = settings["source"].items()
    name = value["name"] if source == "torchvision" else value
    if name in ("MNIST", "FashionMNIST"):
        data_at_hand(name)
    elif name == "cifar10-jpeg":
        data_at_hand(f"{name}.tar.xz")
        monkeypatch.chdir(tmp_path)  # it is unpacked below the working directory
    elif (
        source not in ("bundled", "generated")
        and not Path(os.environ.get("TTFS_DATA", "data"), name).exists()
    ):
        pytest.skip(f"no {name} in the folder that TTFS_DATA names")
    return settings


@pytest.mark.parametrize("at_hand", known("dataset"), indirect=True)
def test_a_data_set_is_what_its_file_says(at_hand: dict):
    data = load(at_hand)
    if "shape" in at_hand:  # a table's follows from its keys
        assert data.shape == tuple(at_hand["shape"])
    assert data.classes == at_hand["classes"]
    low, high = data.input_range
    for split in (data.train, data.validation, data.test):
        items, labels = next(iter(split.batches(256)))
        assert items.dtype == torch.float32
        assert labels.dtype == torch.int64
        assert items.shape == (min(256, len(split)), *data.shape)
        assert low <= items.min() < items.max() <= high
        assert split.labels.min() == 0
        assert split.labels.max() == data.classes - 1
        assert len(split.batches(256)) == -(-len(split) // 256)
    if is_unique(data.train):
        assert contents(data.train).isdisjoint(contents(data.validation))
    again = load(at_hand)
    assert again.digest == data.digest
    assert torch.equal(again.validation.labels, data.validation.labels)
    first, second = (
        next(iter(d.train.batches(16, generator=torch.Generator().manual_seed(5), augment=True)))
        for d in (data, again)
    )
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert low <= first[0].min() < first[0].max() <= high


def contents(split: Split) -> set[bytes]:
    return {item.numpy().tobytes() for items, _ in split.batches(1000) for item in items}


def is_unique(split: Split) -> bool:
    """Whether the set holds no item twice, as CIFAR and Fashion-MNIST do."""
    return len(contents(split)) == len(split)


# ---- kinds ----


@pytest.mark.parametrize("name", kinds())
def test_a_kind_has_a_sound_schema_with_documented_options(name: str):
    own, schema = kind(name), method_schema(name)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert own.name == name
    assert own.title
    assert own.uses_model or not own.deployable
    missing = [
        key for key, rule in keys(schema) if not ("description" in rule or "properties" in rule)
    ]
    assert missing == []
    assert all(
        rule.get("additionalProperties") is False
        for _, rule in keys(schema)
        if "properties" in rule
    )


def keys(schema: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each dotted key of a schema and its rule."""
    for key, rule in schema["properties"].items():
        yield prefix + key, rule
        if "properties" in rule:
            yield from keys(rule, f"{prefix}{key}.")


@pytest.mark.parametrize("name", kinds())
def test_a_kind_is_listed_without_heavy_packages(name: str):
    program = (
        "import sys; from ttfs.methods import kind, method_schema;"
        f"kind({name!r}), method_schema({name!r});"
        "assert not {'torch', 'numpy', 'pandas', 'sklearn', 'scipy'} & set(sys.modules)"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(ttfs.__file__).parents[1])}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)


@pytest.mark.parametrize(
    "options", [TrainedOptions, Train, Check], ids=lambda options: options.__name__
)
def test_options_are_described(options: type[Options]):
    assert options.__doc__
    assert [name for name, field in options.model_fields.items() if not field.description] == []


# ---- methods ----

CHIPS = known("hardware")
METHODS = known("method")


def lineage(method: str) -> list[str]:
    """The method and, before it, all that it starts from."""
    source = read_named("method", method, "a test").get("source")
    return [*(lineage(source) if source else []), method]


@pytest.mark.parametrize("method", METHODS)
def test_a_method_loads_in_a_grid_of_its_lineage_and_of_no_less(method: str, tmp_path: Path):
    def grid_of(methods: list[str]):
        (tmp_path / "one.yaml").write_text(
            f"datasets: [digits]\nmodels: [fc2]\nmethods: {methods}\nseeds: [0]\n"
        )
        return load_grid(tmp_path / "one.yaml")

    names = lineage(method)
    assert list(grid_of(names).methods) == names
    for missing in names[:-1]:
        with pytest.raises(
            UserError, match=f"starts from '{missing}', which the grid does not list"
        ):
            grid_of([name for name in names if name != missing])


TINY = "configs/contract.yaml"


def write_grid(methods: list[str], hardware: str = "") -> None:
    """Write a grid of the methods on the little network of the kit, with a tiny budget."""
    Path("configs/models/little.yaml").write_text(
        "title: L\nlayers: 4C3-P2-6\nbatch_norm: before\n"
    )
    stages.edit("configs/datasets/made.yaml", "epochs: 6", "epochs: 1")
    Path("configs/methods/ann.yaml").unlink()
    for name in {name for method in methods for name in lineage(method)}:
        shorten(name)
    Path(TINY).write_text(
        f"datasets: [made]\nmodels: [little]\nmethods: [{', '.join(methods)}]\n"
        f"seeds: [0]\n{hardware}"
    )


def shorten(method: str) -> None:
    """Put a copy of a method's file into the working directory that trains for one epoch at
    most.
    """
    path = find("method", method)
    assert path is not None
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    short = ["  epochs: 1\n" if line.startswith("  epochs:") else line for line in lines]
    Path("configs/methods", f"{method}.yaml").write_text("".join(short), encoding="utf-8")


@pytest.mark.xdist_group("training")
@pytest.mark.parametrize("method", METHODS)
def test_a_method_runs_end_to_end(method: str, fresh: Path):
    write_grid(lineage(method))
    statuses = stages.run_due(TINY)
    assert set(statuses.values()) == {0}
    assert stages.due(TINY) == {}
    for cell in load_grid(TINY).cells:
        record = read(cell.folder / "record.json", cell.name)
        sound(record)
        assert 0 <= record.metrics["accuracy"] <= 100


def sound(record: Record) -> None:
    """A record that tells of all that its numbers depend on, and of no metric that is not
    registered.
    """
    assert record.status == "ok"
    assert {row["metric"] for row in record.rows} <= set(METRICS)
    assert {"method", "dataset", "seed"} <= set(record.config) or "hardware" in record.config
    assert all(record.digests[name] for name in ("stage", "code", "data", "weights"))
    keys = [tuple(sorted((k, v) for k, v in row.items() if k != "value")) for row in record.rows]
    assert len(set(keys)) == len(keys), "two rows of one metric and the same dimensions"


DEPLOYABLE = [
    name for name in METHODS if kind(read_named("method", name, "a test")["kind"]).deployable
]
TRAINABLE = [
    name
    for name in DEPLOYABLE
    if any(read_named("method", m, "a test").get("train") for m in lineage(name))
]


@pytest.mark.xdist_group("training")
@pytest.mark.parametrize("method", TRAINABLE)
@pytest.mark.parametrize("sparse", [False, True], ids=["plain", "sparse"])
def test_a_method_goes_onto_each_chip_as_mapped_and_fine_tuned(
    method: str, sparse: bool, fresh: Path
):
    """A sparse method too: what listens to neurons must find them on a chip with a clock."""
    chips = ", ".join(
        f"{{hardware: {name}, over: {{draws: 1, tuning: [none, {{epochs: 1}}]}}}}"
        for name in (*CHIPS, "clocked")
    )
    clock = (
        "{hardware: clocked, over: {time_bits: 3, weight_bits: 4, draws: 1, tuning: {epochs: 1}}}"
    )
    write_grid(lineage(method), f"hardware: [{chips}, {clock}]\ndeployed: [{method}]\n")
    if sparse:
        trained = next(
            m for m in reversed(lineage(method)) if read_named("method", m, "a test").get("train")
        )
        path = Path("configs/methods", f"{trained}.yaml")
        path.write_text(path.read_text().replace("train:\n", "train:\n  activity_l1: 1.0e-3\n"))
    statuses = stages.run_due(TINY)
    assert set(statuses.values()) == {0}
    deployments = load_grid(TINY).deployments
    assert len(deployments) == 2 * len(CHIPS) + 1
    for cell in deployments:
        record = read(cell.folder / "record.json", cell.name)
        sound(record)
        assert record.config["tuned"] == ("tuning" in cell.hardware)
        if record.config["tuned"]:
            assert record.config["train"]["activity_l1"] == (1e-3 if sparse else 0.0)
        assert 0 <= record.value("accuracy", network="ttfs", draw=0) <= 100


def test_what_is_shipped_can_be_one_grid(tmp_path: Path):
    """Every data set, network and method together: names, schemas and sources agree."""
    parts = {f"{noun}s": known(noun) for noun in ("dataset", "model", "method")}
    lines = [f"{key}: [{', '.join(names)}]" for key, names in parts.items()]
    (tmp_path / "all.yaml").write_text("\n".join([*lines, "seeds: [0]\n"]))
    grid = load_grid(tmp_path / "all.yaml")
    with_model = sum(grid.kind(method).uses_model for method in METHODS)
    per_dataset = with_model * len(parts["models"]) + len(METHODS) - with_model
    assert len(grid.cells) == len(parts["datasets"]) * per_dataset


@pytest.mark.parametrize("name", CHIPS)
def test_a_hardware_file_is_a_chip_that_can_be(name: str):
    chip = read_named("hardware", name, "a test")
    for key in ("id", "title", "note", "tuning", "draws", "latency_cut", "read_out"):
        chip.pop(key, None)
    ttfs.Hardware(**chip)


def test_the_words_of_a_hardware_file_are_those_of_the_chip():
    from dataclasses import fields

    from ttfs.config import schema_of

    words = set(schema_of("hardware")["properties"])
    of_the_file = {"title", "note", "tuning", "draws", "latency_cut", "read_out"}
    assert words - of_the_file == {field.name for field in fields(ttfs.Hardware)} - {"seed"}


@pytest.mark.parametrize("name", known("study"))
def test_a_study_can_be_planned(name: str, tmp_path: Path):
    (tmp_path / "one.yaml").write_text(
        f"datasets: [digits]\nmodels: [fc2]\nmethods: [ann]\nseeds: [0]\nstudies: [{name}]\n"
    )
    grid = load_grid(tmp_path / "one.yaml")
    [study] = grid.study_cells
    assert set(grid.study_slice(study)) == {name.rpartition("-")[0] or name, "threads"}
