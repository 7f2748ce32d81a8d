"""The data sets that are shipped, and the one that the documentation adds."""

import re
from pathlib import Path

import pytest
from kit.data import CONFIGS, ROOT, shipped

from ttfs.config import read_yaml
from ttfs.data import load

SHIPPED = sorted(path.stem for path in (CONFIGS / "datasets").glob("*.yaml"))


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_data_set_is_what_torchvision_takes(name):
    settings = shipped(name)
    source = settings["source"].get("torchvision")
    if source is None:
        return
    from torchvision import datasets

    for half in ("train", "test"):
        with pytest.raises(RuntimeError):  # it took the arguments, and then missed the data
            getattr(datasets, source["name"])("nowhere", **source[half])


def test_class_counts_are_those_of_torchvision():
    from torchvision import datasets

    for name in ("mnist", "fashion-mnist", "kmnist"):
        settings = shipped(name)
        assert settings["classes"] == len(
            getattr(datasets, settings["source"]["torchvision"]["name"]).classes
        )
    emnist = shipped("emnist")
    split = emnist["source"]["torchvision"]["train"]["split"]
    assert emnist["classes"] == len(datasets.EMNIST.classes_split_dict[split])


def test_the_documented_example_works(monkeypatch):
    page = (ROOT / "docs/add-a-dataset.md").read_text()
    [script] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    blocks = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    [settings] = [block for block in blocks if "folder: shapes" in block]
    exec(script, {})
    Path("shapes.yaml").write_text(settings)
    data = load(read_yaml("shapes.yaml", "dataset"))
    assert (len(data.train), len(data.validation), len(data.test)) == (270, 30, 100)
    assert next(iter(data.train.batches(32)))[0].shape == (32, 1, 28, 28)
