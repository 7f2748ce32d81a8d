"""Who may import whom: `snn <- hardware <- training, baselines <- results <- the command line`."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import ttfs

HOUSE = Path(ttfs.__file__).parent
ROOT = HOUSE.parent
MODULES = sorted(HOUSE.rglob("*.py"))

ROOMS = {  # room: the rooms it may import from, besides itself and `errors`
    "errors": set(),
    "seeds": set(),
    "digest": set(),
    "snn": set(),
    "hardware": {"seeds", "snn"},
    "metrics": {"snn"},
    "models": set(),
    "data": {"seeds"},
    "training": {"data", "hardware", "metrics", "seeds", "snn"},
    "config": {"models"},
    "results": {"config"},
    "studies": {"data", "metrics", "models", "results", "seeds", "snn"},
    "stages": {
        "config",
        "data",
        "digest",
        "hardware",
        "metrics",
        "models",
        "results",
        "seeds",
        "snn",
        "studies",
        "training",
    },
    "__main__": {"config", "stages"},
    "__init__": set(),
}
GUESTS = {  # library: the only rooms or modules it may be imported in
    "pytorch_lightning": {"training"},
    "mlflow": {"results.tracking"},
    "sqlalchemy": {"results.tracking"},
    "torchvision": {"data", "models"},
    "PIL": {"data"},
    "filelock": {"data"},
    "matplotlib": {"results.figures", "studies.figures"},
    "pandas": {"results", "studies"},
    "jsonschema": {"config"},
    "yaml": {"config"},
    "scipy": {"snn"},
    "numpy": {"data", "metrics", "snn"},
    "torch": {"data", "hardware", "metrics", "models", "snn", "stages", "studies", "training"},
}


def name_of(path: Path) -> str:
    """The module without `ttfs.`, e.g. `snn.network`."""
    return ".".join(path.relative_to(HOUSE).with_suffix("").parts)


def imports(path: Path) -> Iterator[str]:
    """Full names of all that a module imports, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute here"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_the_arrows_run_one_way(path: Path):
    room = name_of(path).split(".")[0]
    inside = {name.split(".")[1] for name in imports(path) if name.startswith("ttfs.")}
    assert inside <= ROOMS[room] | {room, "errors"}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_libraries_stay_in_their_rooms(path: Path):
    name = name_of(path)
    outside = {imported.split(".")[0] for imported in imports(path)} - sys.stdlib_module_names - {"ttfs"}
    assert outside <= set(GUESTS), "a new library: say in GUESTS where it may be imported"
    for library in outside:
        assert any(name == place or name.startswith(f"{place}.") for place in GUESTS[library]), library


def test_rooms_do_not_reach_into_each_other():
    """Between rooms names come through the package, not out of its private modules."""
    for path in MODULES:
        for imported in imports(path):
            parts = imported.split(".")
            if parts[0] == "ttfs" and any(part.startswith("_") for part in parts[2:]) and path.stem != "__main__":
                assert parts[1] == name_of(path).split(".")[0], f"{path}: {imported}"


def test_public_names_can_be_had():
    assert {"convert", "simulate", "spikes_per_neuron"} <= set(ttfs.__all__) <= set(dir(ttfs))
    assert all(getattr(ttfs, name) is not None for name in ttfs.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = ttfs.nothing


def test_looking_at_the_configuration_imports_no_torch():
    program = f"""
import sys
import ttfs, ttfs.config, ttfs.digest
from ttfs.__main__ import main
for arguments in (["check", {str(ROOT / "configs" / "quick.yaml")!r}], ["--help"]):
    try:
        main(arguments)
    except SystemExit as stop:
        assert stop.code == 0
ttfs.digest.stage_digest("verify", {{}})
heavy = {{"torch", "numpy", "pandas", "matplotlib", "mlflow", "pytorch_lightning", "torchvision"}} & set(sys.modules)
print("HEAVY:", sorted(heavy))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert "digits/cnn/seed2/b1-converted" in done.stdout
    assert done.stdout.endswith("HEAVY: []\n")


RULES = sorted((ROOT / "workflow" / "rules").glob("*.smk"))


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.stem)
def test_each_rule_is_a_command_with_a_log_and_a_benchmark(path: Path):
    text = path.read_text()
    rules = re.split(r"^rule ", text, flags=re.MULTILINE)[1:]
    assert len(rules) == (0 if path.stem == "common" else 1)
    for rule in rules:
        parts = re.findall(r"^    (\w+):", rule, flags=re.MULTILINE)
        assert {"output", "params", "log", "benchmark", "shell"} <= set(parts)
        assert "run" not in parts
    assert path.stem == "common" or not re.search(r"^(def|import|from) ", text, flags=re.MULTILINE)
