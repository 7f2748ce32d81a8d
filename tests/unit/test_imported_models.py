"""Networks that a user's own code makes."""

import importlib
import itertools
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ttfs.errors import UserError
from ttfs.models.stamp import model_stamp

ROOT = Path(__file__).parents[2]
GRAY = (1, 28, 28)


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Return a function that writes a module into the working directory, and gives its name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place])
    monkeypatch.setattr(sys, "modules", dict(sys.modules))

    def write(code: str) -> str:
        name = f"nets{next(NUMBERS)}"
        (tmp_path / "mine").mkdir(exist_ok=True)
        (tmp_path / "mine" / f"{name}.py").write_text(
            f"import torch\nfrom torch import nn\n\n{code}\n"
        )
        importlib.invalidate_caches()
        return f"mine.{name}"

    return write


NUMBERS = itertools.count()


NET = """
class Net(nn.Sequential):
    def __init__(self, shape, classes, width=8):
        features = torch.Size(shape).numel()
        hidden, output = nn.Linear(features, width), nn.Linear(width, classes)
        super().__init__(nn.Flatten(), hidden, nn.ReLU(), output)
"""


@pytest.mark.parametrize("shape", [GRAY, (2, 9), (4,)], ids=["image", "sequence", "vector"])
def test_an_imported_module_gets_shape_classes_and_arguments(model, nets, shape: tuple[int, ...]):
    network = model(f"module: {nets(NET)}:Net\narguments: {{width: 5}}", shape, classes=7)
    assert network[1].weight.shape == (5, torch.Size(shape).numel())
    assert network[3].weight.shape == (7, 5)
    assert network.training


def test_a_function_may_make_the_network(model, nets):
    place = nets(
        "def make(shape, classes):\n    return nn.Sequential(nn.Flatten(), nn.Linear(4, classes))"
    )
    assert model(f"module: {place}:make", (4,), classes=3)[1].out_features == 3


def test_only_making_an_imported_module_draws_random_numbers(model, nets):
    place = nets(NET + NOISY)
    torch.manual_seed(1)
    network, after = model(f"module: {place}:Noisy", (4,)), torch.rand(3)
    torch.manual_seed(1)
    alone, wanted = sys.modules[place].Noisy((4,), 10), torch.rand(3)
    assert torch.equal(after, wanted)
    for one, other in zip(network.parameters(), alone.parameters(), strict=True):
        assert torch.equal(one, other)


NOISY = """
class Noisy(Net):
    def forward(self, inputs):
        return super().forward(inputs + torch.rand_like(inputs))
"""


def test_a_module_keeps_the_modes_that_it_chose(model, nets):
    frozen = """
class Frozen(Net):
    def __init__(self, shape, classes):
        super().__init__(shape, classes)
        self.append(nn.BatchNorm1d(classes).eval())
"""
    network = model(f"module: {nets(NET + frozen)}:Frozen", (4,))
    assert network.training
    assert not network[4].training
    assert not network[4].running_mean.any()


@pytest.mark.parametrize(
    ("code", "name", "lines", "said"),
    [
        (NET, "Nte", "", "has no class 'Nte'; it has Net$"),
        ("", "Net", "", "has no class 'Net'; it has no network at all$"),
        (NET + "Net2 = 3", "Net2", "", "has no class 'Net2'; it has Net$"),
        (
            NET,
            "Net",
            "arguments: {depth: 3}",
            r"does not take \(shape, classes, depth\): .*'depth'.*key 'arguments'",
        ),
        (
            NET,
            "Net",
            "arguments: {classes: 3}",
            r"key 'arguments\.classes': remove it; the data set gives it$",
        ),
        (NET, "Net", "arguments: {width: wide}", "fails when it is made: TypeError: "),
        (
            NET.replace(", classes)", ", 4)"),
            "Net",
            "",
            r"maps 2 inputs of 4 \(features\) to \[2, 4\]; .* \[2, 10\]",
        ),
        (
            NET.replace("(features, width)", "(features + 1, width)"),
            "Net",
            "",
            r"does not take inputs of 4 \(features\): .*mat1 and mat2",
        ),
        (
            NET + "    def forward(self, x):\n        return (x,)",
            "Net",
            "",
            "to tuple; its logits must be",
        ),
        (
            "def Net(shape, classes):\n    return None",
            "Net",
            "",
            "gives NoneType; it must give a torch.nn.Module$",
        ),
        (
            "import nothing_of_the_kind",
            "Net",
            "",
            "importing it fails: ModuleNotFoundError: .*'nothing_of_the_kind'",
        ),
        ("1 / 0", "Net", "", "importing it fails: ZeroDivisionError: division by zero$"),
        ("def (", "Net", "", "importing it fails: SyntaxError: "),
    ],
)
def test_what_is_wrong_with_an_imported_module(
    model, nets, code: str, name: str, lines: str, said: str
):
    place = nets(code)
    with pytest.raises(
        UserError, match=f"^model 'mine', key 'module': {place}:{name}.*{said}"
    ) as raised:
        model(f"module: {place}:{name}\n{lines}", (4,))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("place", ["nowhere:Net", "mine.nowhere:Net", "mine.nowhere.at_all:Net"])
def test_a_module_that_is_not_there(model, nets, place: str):
    nets(NET)
    with pytest.raises(UserError, match=f"key 'module': {place}: there is no such module in "):
        model(f"module: {place}", (4,))


def test_the_network_of_the_documentation_can_be_imported(model, nets):
    page = (ROOT / "docs/add-a-model.md").read_text()
    [code] = re.findall(r"```python\n(from math.*?)```", page, re.DOTALL)
    [lines] = re.findall(r"```yaml\ntitle: My network\n(.*?)```", page, re.DOTALL)
    network = model(lines.replace("mypackage.nets", nets(code)), (2, 9), classes=3)
    assert network(torch.rand(5, 2, 9)).shape == (5, 3)
    assert network[1].out_features == 64


def test_the_stamp_of_an_imported_module_is_that_of_its_code(nets, tmp_path: Path):
    place = nets(NET)
    config = {"id": "mine", "module": f"{place}:Net"}
    first = model_stamp(config)
    assert first is not None
    assert model_stamp({"module": f"{place}:Other"}) == first
    assert place not in sys.modules
    (tmp_path / "mine" / "helper.py").write_text("WIDTH = 3\n")
    second = model_stamp(config)
    (tmp_path / "mine" / "helper.py").write_text("WIDTH = 4\n")
    assert len({first, second, model_stamp(config)}) == 3
    (tmp_path / "mine" / "helper.py").unlink()
    assert model_stamp(config) == first


def test_the_stamp_of_a_single_file_is_that_of_its_code(nets, tmp_path: Path):
    (tmp_path / "lonely_nets.py").write_text(NET)
    first = model_stamp({"module": "lonely_nets:Net"})
    (tmp_path / "other_nets.py").write_text(NET)
    assert model_stamp({"module": "lonely_nets:Net"}) == first
    (tmp_path / "lonely_nets.py").write_text(NET + "# more")
    assert first is not None
    assert model_stamp({"module": "lonely_nets:Net"}) != first


def test_models_without_code_have_no_stamp(nets):
    assert model_stamp({"layers": "10"}) is None
    assert model_stamp({"torchvision": "resnet18"}) is None
    assert model_stamp({"module": "not_there_at_all:Net"}) is None
