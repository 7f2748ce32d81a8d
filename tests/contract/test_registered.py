"""What everything registered in configs/ must keep, so that a new file is tested before its author writes a test."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import ttfs
from ttfs import config
from ttfs.__main__ import main
from ttfs.config import CONFIGS, read_yaml
from ttfs.data import Split, load
from ttfs.errors import UserError
from ttfs.models import build
from ttfs.results.record import Record, read


def registered(folder: str) -> list[str]:
    return [path.stem for path in sorted((CONFIGS / folder).glob("*.yaml"))]


# Images that a network is made for; any other takes those of MNIST.
SHAPES = {"cnn": (1, 8, 8), "vgg16": (3, 32, 32), "vgg11-bn": (3, 32, 32), "resnet18": (3, 32, 32)}


@pytest.fixture(scope="module", params=registered("models"))
def network(request: pytest.FixtureRequest) -> tuple[nn.Module, tuple[int, int, int]]:
    shape = SHAPES.get(request.param, (1, 28, 28))
    torch.manual_seed(0)
    return build(read_yaml(CONFIGS / "models" / f"{request.param}.yaml", "model"), shape, 10), shape


def test_a_network_learns(network: tuple[nn.Module, tuple[int, int, int]]):
    net, shape = network
    images, labels = torch.rand(4, *shape), torch.arange(4)
    logits = net.train()(images)
    assert logits.shape == (4, 10)
    F.cross_entropy(logits, labels).backward()
    parameters = list(net.parameters())
    assert all(p.grad is not None and p.grad.isfinite().all() for p in parameters)
    assert sum(bool(p.grad.any()) for p in parameters) > len(parameters) / 2
    net.zero_grad(set_to_none=True)


@torch.no_grad()
def test_a_network_is_mapped_exactly(network: tuple[nn.Module, tuple[int, int, int]]):
    net, shape = network
    torch.manual_seed(1)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2.0)
            module.weight.normal_(1, 0.3)
            module.bias.normal_(0, 0.1)
    images = 6 * torch.rand(3, *shape) - 3
    logits = net.eval()(images)
    snn = ttfs.convert(net, images, input_range=(-3.0, 3.0))
    scale = logits.abs().max()
    assert scale > 0
    assert (snn(images) - logits).abs().max() <= 1e-4 * scale
    assert 0 < ttfs.spikes_per_neuron(snn, images) < 1
    assert len(snn.layers) >= sum(isinstance(module, nn.ReLU) for module in net.modules())


@pytest.fixture
def at_hand(
    request: pytest.FixtureRequest, data_at_hand: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict:
    """The config of the data set, where its data are here; MNIST, Fashion-MNIST and the JPEGs must be in CI."""
    settings = read_yaml(CONFIGS / "datasets" / f"{request.param}.yaml", "dataset")
    [(kind, value)] = settings["source"].items()
    name = value["name"] if kind == "torchvision" else value
    if name in ("MNIST", "FashionMNIST"):
        data_at_hand(name)
    elif name == "cifar10-jpeg":
        data_at_hand(f"{name}.tar.xz")
        monkeypatch.chdir(tmp_path)  # it is unpacked below the working directory
    elif kind not in ("bundled", "generated") and not Path(os.environ.get("TTFS_DATA", "data"), name).is_dir():
        pytest.skip(f"no {name} in the folder that TTFS_DATA names")
    return settings


@pytest.mark.parametrize("at_hand", registered("datasets"), indirect=True)
def test_a_data_set_is_what_its_file_says(at_hand: dict):
    data = load(at_hand)
    assert data.shape == tuple(at_hand["shape"])
    assert data.classes == at_hand["classes"]
    low, high = data.input_range
    for split in (data.train, data.validation, data.test):
        images, labels = next(iter(split.batches(256)))
        assert images.dtype == torch.float32
        assert labels.dtype == torch.int64
        assert images.shape == (min(256, len(split)), *data.shape)
        assert low <= images.min() < images.max() <= high
        assert split.labels.min() == 0
        assert split.labels.max() == data.classes - 1
        assert len(split.batches(256)) == -(-len(split) // 256)
    assert ids(data.train).isdisjoint(ids(data.validation)) or not_unique(data.train)
    again = load(at_hand)
    assert again.digest == data.digest
    assert torch.equal(again.validation.labels, data.validation.labels)
    first, second = (
        next(iter(d.train.batches(16, generator=torch.Generator().manual_seed(5), augment=True))) for d in (data, again)
    )
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert low <= first[0].min() < first[0].max() <= high


def ids(split: Split) -> set[bytes]:
    return {image.numpy().tobytes() for images, _ in split.batches(1000) for image in images}


def not_unique(split: Split) -> bool:
    """Whether the set itself holds an image twice, as CIFAR and Fashion-MNIST do."""
    return len(ids(split)) < len(split)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Address of an MLflow store; making one takes seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('store')}/store.db"


def lineage(method: str) -> list[str]:
    """The method and, before it, all that it starts from."""
    settings = read_yaml(CONFIGS / "methods" / f"{method}.yaml", "method")
    source = (settings.get("train") or settings["convert"])["source"]
    return [*(lineage(source) if source else []), method]


@pytest.mark.parametrize("method", registered("methods"))
def test_a_method_loads_in_a_grid_of_its_lineage_and_of_no_less(method: str, tmp_path: Path):
    def load_grid(methods: list[str]) -> config.Grid:
        (tmp_path / "one.yaml").write_text(f"datasets: [digits]\nmodels: [fc2]\nmethods: {methods}\nseeds: [0]\n")
        return config.load_grid(tmp_path / "one.yaml")

    names = lineage(method)
    assert list(load_grid(names).methods) == names
    for missing in names[:-1]:
        with pytest.raises(UserError, match=f"starts from '{missing}', which the grid does not list"):
            load_grid([name for name in names if name != missing])


@pytest.mark.xdist_group("training")
@pytest.mark.parametrize("method", registered("methods"))
def test_a_method_runs_end_to_end(method: str, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    record = run(method, tmp_path, monkeypatch)
    assert record.status == "ok"
    assert 0 <= record.metrics["accuracy"] <= 100
    assert record.config
    assert record.data_digest
    assert record.code_digest


def run(method: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Record:
    """Run a method, and what it starts from, on a little network and made-up images; return its record."""
    shutil.copytree(CONFIGS, folder / "configs")
    methods = lineage(method)
    (folder / "configs" / "tiny.yaml").write_text(
        f"datasets: [made]\nmodels: [little]\nmethods: [{', '.join(methods)}]\nseeds: [0]\n"
    )
    (folder / "configs" / "datasets" / "made.yaml").write_text(
        "title: M\nsource: {npz: made.npz}\nshape: [1, 6, 6]\nclasses: 3\nvalidation: 8\nepochs: 2\nbatch_size: 8\n"
        "citation: nobody\n"
    )
    (folder / "configs" / "models" / "little.yaml").write_text("title: L\nlayers: 4C3-P2-6\nbatch_norm: before\n")
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (48, 6, 6), dtype=np.uint8), np.arange(48) % 3
    (folder / "data").mkdir()
    np.savez(
        folder / "data" / "made.npz", x_train=images[:32], y_train=labels[:32], x_test=images[32:], y_test=labels[32:]
    )
    monkeypatch.setattr(config, "CONFIGS", folder / "configs")
    monkeypatch.delenv("TTFS_DATA", raising=False)
    monkeypatch.chdir(folder)
    grid = config.load_grid("configs/tiny.yaml")
    for name in methods:
        for verb in grid.stages(name):
            assert main([verb, "configs/tiny.yaml", f"made/little/seed0/{name}"]) == 0
    return read(Path("results/tiny/made/little/seed0", method, "record.json"))


def test_what_is_shipped_can_be_one_grid(tmp_path: Path):
    """Every data set, network and method together: names, schemas and sources agree."""
    parts = {kind: registered(kind) for kind in ("datasets", "models", "methods")}
    lines = [f"{kind}: [{', '.join(names)}]" for kind, names in parts.items()]
    (tmp_path / "all.yaml").write_text("\n".join([*lines, "seeds: [0]\n"]))
    grid = config.load_grid(tmp_path / "all.yaml")
    assert len(list(grid.cells())) == len(parts["datasets"]) * len(parts["models"]) * len(parts["methods"])


def test_a_name_that_is_not_registered_is_refused(tmp_path: Path):
    (tmp_path / "one.yaml").write_text("datasets: [digits]\nmodels: [fc3]\nmethods: [ann]\nseeds: [0]\n")
    with pytest.raises(UserError, match=r"no .*fc3\.yaml; did you mean"):
        config.load_grid(tmp_path / "one.yaml")


@pytest.mark.parametrize("name", registered("hardware"))
def test_each_level_of_a_hardware_is_a_chip_that_can_be(name: str):
    hardware = read_yaml(CONFIGS / "hardware" / f"{name}.yaml", "hardware")
    levels = [{key: level} for key, values in hardware.get("axis", {}).items() for level in values] or [{}]
    for level in levels:
        settings = {key: value for key, value in level.items() if key not in ("latency_cut", "read_out")}
        ttfs.Hardware(**hardware["chip"] | settings)
