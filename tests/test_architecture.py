"""Who may import whom: science at the bottom, then kinds and their stages, then the command
line.
"""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import ttfs

PACKAGE = Path(ttfs.__file__).parent
ROOT = PACKAGE.parent
MODULES = [path for path in sorted(PACKAGE.rglob("*.py")) if "shipped" not in path.parts]

ROOMS = {  # room: the rooms it may import from, besides itself and `errors`
    "errors": set(),
    "seeds": set(),
    "files": set(),
    "digest": set(),
    "memory": set(),
    "arguments": set(),
    "snn": {"arguments"},
    "timed": {"arguments", "hardware", "seeds", "snn"},
    "hardware": {"arguments", "seeds", "snn"},
    "metrics": {"snn"},
    "models": set(),
    "data": {"arguments", "memory", "seeds"},
    "training": {"data", "metrics", "seeds", "snn"},
    "config": {"methods", "models"},
    "results": {"config", "data", "digest", "files", "metrics", "models"},
    "methods": {
        "config", "data", "files", "hardware", "metrics", "models", "results", "seeds", "snn",
        "timed", "training",
    },
    "studies": {"config", "data", "files", "metrics", "models", "results", "seeds", "snn", "timed"},
    "stages": {
        "__main__", "config", "data", "digest", "files", "hardware", "memory", "methods", "metrics",
        "models", "results", "studies",
    },
    "__main__": {"config", "stages"},
    "__init__": {"data", "hardware", "metrics", "snn", "stages", "timed"},
}  # fmt: skip
OF_ROOMS = {  # (room, room): the only modules that the first may import of the second
    ("config", "methods"): {"ttfs.methods"},
    ("results", "data"): {"ttfs.data.stamp"},
    ("results", "models"): {"ttfs.models.stamp"},
}
LIBRARIES = {  # library: the only rooms or modules it may be imported in
    "pytorch_lightning": {"training"},
    "mlflow": {"results.tracking"},
    "sqlalchemy": {"results.tracking"},
    "torchvision": {"data.torchvision_sets", "models.torchvision_networks"},
    "PIL": {"data"},
    "filelock": {"data"},
    "sklearn": {"methods"},
    "matplotlib": {"results.figures", "studies.figures"},
    "itables": {"results.page"},
    "jinja2": {"results.page"},
    "markupsafe": {"results.page"},
    "docutils": {"results.page"},
    "pandas": {"data", "results", "studies"},
    "pyarrow": {"data.tables"},
    "pydantic": {"config", "methods"},
    "jsonschema": {"config"},
    "yaml": {"config"},
    "scipy": {"methods", "snn"},
    "nir": {"snn.export"},
    "numpy": {"data", "hardware", "methods", "metrics", "results.figures", "snn", "timed"},
    "torch": {
        "data",
        "hardware",
        "methods",
        "metrics",
        "models",
        "snn",
        "stages",
        "studies",
        "timed",
        "training",
    },
}


def name_of(path: Path) -> str:
    """The module without `ttfs.`, e.g. `snn.network`."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def imports(path: Path) -> Iterator[str]:
    """Full names of all that a module imports, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute here"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_each_room_is_listed():
    assert {name_of(path).split(".")[0] for path in MODULES} <= set(ROOMS)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_the_arrows_run_one_way(path: Path):
    room = name_of(path).split(".")[0]
    for imported in imports(path):
        if not imported.startswith("ttfs."):
            continue
        other = imported.split(".")[1]
        assert other in ROOMS[room] | {room, "errors"}, imported
        allowed = OF_ROOMS.get((room, other))
        assert allowed is None or imported.rpartition(".")[0] in allowed, imported


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_libraries_stay_in_their_rooms(path: Path):
    name = name_of(path)
    outside = (
        {imported.split(".")[0] for imported in imports(path)} - sys.stdlib_module_names - {"ttfs"}
    )
    assert outside <= set(LIBRARIES), "a new library: say in LIBRARIES where it may be imported"
    for library in outside:
        places = LIBRARIES[library]
        assert any(name == place or name.startswith(f"{place}.") for place in places), library


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_rooms_do_not_reach_into_each_other(path: Path):
    """Between rooms no name comes out of a private module, and none is private."""
    for imported in imports(path):
        parts = imported.split(".")
        private = [part for part in parts[2:] if part.startswith("_") and not part.endswith("__")]
        if parts[0] == "ttfs" and private:
            assert parts[1] == name_of(path).split(".")[0], imported


def test_public_names_can_be_had():
    assert (
        {"convert", "simulate", "spikes_per_neuron", "load"} <= set(ttfs.__all__) <= set(dir(ttfs))
    )
    assert all(callable(getattr(ttfs, name)) for name in ttfs.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = ttfs.nothing


def test_type_checkers_see_each_public_name():
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    guarded = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {
        alias.asname
        for node in ast.walk(guarded[0])
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == set(ttfs.__all__)
    assert (PACKAGE / "py.typed").is_file()


HEAVY = (
    "torch",
    "numpy",
    "pandas",
    "matplotlib",
    "mlflow",
    "pytorch_lightning",
    "torchvision",
    "sklearn",
)


@pytest.mark.parametrize(
    "program",
    [
        "import ttfs",
        "import ttfs.methods; [ttfs.methods.method_schema(name) for name in ttfs.methods.kinds()]",
        "import ttfs.config, ttfs.digest, ttfs.metrics, ttfs.data.stamp, ttfs.models.stamp",
        "from ttfs.results.state import State; from ttfs.config import load_grid; "
        "State(load_grid('quick')).due",
        "from ttfs.__main__ import main; main(['check', 'configs/quick.yaml'])",
        "from ttfs.__main__ import main; main(['--help'])",
        "from ttfs.__main__ import main; main(['why'])",
    ],
    ids=["ttfs", "methods", "config", "state", "check", "help", "why"],
)
def test_planning_imports_no_torch(program: str, tmp_path: Path):
    watched = f"""
import sys
try:
    {program}
except SystemExit as stop:
    assert stop.code == 0
print("HEAVY:", sorted({set(HEAVY)!r} & set(sys.modules)))
"""
    command = [sys.executable, "-c", watched]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=_environment())
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("HEAVY: []\n")


def test_the_core_needs_torch_numpy_and_scipy_alone(tmp_path: Path):
    program = f"""
import sys
import torch, ttfs
net = torch.nn.Sequential(
    torch.nn.Flatten(), torch.nn.Linear(4, 5), torch.nn.ReLU(), torch.nn.Linear(5, 2),
)
images = torch.rand(3, 1, 2, 2, dtype=torch.float64)
snn = ttfs.convert(net.double(), images)
ttfs.simulate(snn, images), ttfs.spikes_per_neuron(snn, images)
ttfs.deploy(snn, ttfs.Hardware(weight_bits=4))
others = {set(LIBRARIES) - {"torch", "numpy", "scipy"}!r}
print("OTHERS:", sorted(others & set(sys.modules)))
"""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=_environment())
    assert done.returncode == 0, done.stderr
    assert done.stdout == "OTHERS: []\n"


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT)}


RULES = sorted((ROOT / "workflow" / "rules").glob("*.smk"))


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.stem)
def test_each_rule_is_a_command_with_a_log(path: Path):
    text = path.read_text(encoding="utf-8")
    rules = re.split(r"^rule ", text, flags=re.MULTILINE)[1:]
    assert rules
    for rule in rules:
        parts = re.findall(r"^    (\w+):", rule, flags=re.MULTILINE)
        assert {"output", "log", "shell"} <= set(parts)
        assert "run" not in parts
    assert not re.search(r"^(def|import|from) ", text, flags=re.MULTILINE)


def test_each_view_is_made_where_the_workflow_runs():
    text = (ROOT / "workflow" / "rules" / "report.smk").read_text(encoding="utf-8")
    local = re.findall(r"^    (\w+),$", text.partition("\nrule ")[0], flags=re.MULTILINE)
    assert local == re.findall(r"^rule (\w+):", text, flags=re.MULTILINE)
