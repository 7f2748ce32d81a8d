"""Tell whether the code behind a number has changed.

A digest covers the module that makes the number and all that it imports from this package, found by
reading the import statements. Comments, docstrings and layout do not count, nor do modules that
only read configuration or write records.
"""

import ast
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

BOOKKEEPING = frozenset(
    (
        "ttfs",
        "ttfs.__main__",
        "ttfs.digest",
        "ttfs.errors",
        "ttfs.files",
        "ttfs.methods",
        "ttfs.methods._job",
        "ttfs.methods._kind",
        "ttfs.methods._options",
        "ttfs.metrics.metric",
    )
)
"""Modules that carry numbers without changing them, and behind which no search goes on."""
BOOKKEEPING_ROOMS = ("ttfs.config", "ttfs.results", "ttfs.stages")
STAGES = {
    "make": frozenset(("make",)),
    "evaluate": frozenset(("load", "evaluate")),
    "deploy": frozenset(("load", "deploy")),
    "load": frozenset(("load",)),
}
"""The functions of a kind that each stage calls, and those of its source's kind, which it loads;
functions of the other stages do not count.
"""
UNSTAGED = frozenset(("starts_from", "check", "try_out", "on_hardware"))
"""Functions of a kind that no stage calls."""


def digest_of(config: Mapping[str, Any], *parts: str) -> str:
    """Return 16 hex digits that change when the configuration or one of the parts does."""
    text = json.dumps(config, sort_keys=True) + "".join(f"\n{part}" for part in parts)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@cache
def kind_digest(stage: str, kind: str, *rooms: str) -> str:
    """Return the digest of the code of a stage for one kind of method, and of further modules."""
    other = UNSTAGED.union(*STAGES.values()) - STAGES[stage]
    return _digest((f"ttfs.methods.{kind.replace('-', '_')}", *rooms), other)


@cache
def code_digest(*modules: str) -> str:
    """Return 16 hex digits of the modules' code and of all code of this package that they import;
    a package stands for the modules in it that it imports.
    """
    return _digest(modules, frozenset())


def files_digest(folder: Path) -> str:
    """Return 16 hex digits of the names and bytes of a folder's files that are not Python."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.suffix != ".py":
            digest.update(f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()[:16]


def forget() -> None:
    """Read the code anew next time: files may have changed since this process began."""
    for function in (kind_digest, code_digest, _text, _path):
        function.cache_clear()


def modules_of(package: str) -> list[str]:
    """Return the modules of a package, itself included, from its files."""
    places = [Path(place) for place in import_module(package).__path__]
    names = sorted({path.stem for place in places for path in place.glob("*.py")} - {"__init__"})
    return [package, *(f"{package}.{name}" for name in names)]


def _digest(roots: Iterable[str], hidden: frozenset[str]) -> str:
    digest = hashlib.sha256()
    for name in sorted(_closure(tuple(roots), hidden)):
        digest.update(f"{name}\n{_facts(name, hidden).content}\n".encode())
    return digest.hexdigest()[:16]


def _closure(roots: tuple[str, ...], hidden: frozenset[str]) -> set[str]:
    found: set[str] = set()
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        asked_for = name in roots or name.rpartition(".")[0] in roots
        if name not in found and (asked_for or not _is_bookkeeping(name)):
            found.add(name)
            waiting += [_home(*pair) for pair in _facts(name, hidden).imports]
    return found


def _is_bookkeeping(name: str) -> bool:
    return name in BOOKKEEPING or name.startswith(BOOKKEEPING_ROOMS)


@dataclass(frozen=True)
class _Facts:
    """The parts of a module that count."""

    content: str
    """Digest of its syntax, without docstrings."""
    imports: tuple[tuple[str, str], ...]
    """(module, name) of each import from this package, anywhere; no name for a whole module."""
    sources: Mapping[str, tuple[str, str]]
    """{name: (module, name there)} of its names from other modules."""


def _facts(name: str, hidden: frozenset[str]) -> _Facts:
    """The facts of a module; those of a kind without the functions that only other stages call."""
    return _facts_of(_text(name), hidden if name.startswith("ttfs.methods.") else frozenset())


@cache
def _facts_of(text: str, hidden: frozenset[str]) -> _Facts:
    tree = _WithoutText().visit(ast.parse(text))
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            node.body = [n for n in node.body if getattr(n, "name", "") not in hidden]
    imports: list[tuple[str, str]] = []
    sources = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
            imports += [(name, "") for name in names if name.split(".")[0] == "ttfs"]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "ttfs":
            imports += [(str(node.module), alias.name) for alias in node.names]
            for alias in node.names:
                sources[alias.asname or alias.name] = (str(node.module), alias.name)
    content = hashlib.sha256(ast.dump(tree).encode()).hexdigest()
    return _Facts(content, tuple(imports), sources)


def _home(module: str, name: str) -> str:
    """The module that `from module import name` is about: a submodule, or the one that a package
    has the name from.
    """
    if not name:
        return module
    if _path(submodule := f"{module}.{name}") is not None:
        return submodule
    source = _facts_of(_text(module), frozenset()).sources.get(name)
    return module if source is None else _home(*source)


@cache
def _text(name: str) -> str:
    path = _path(name)
    if path is None:
        raise ModuleNotFoundError(f"no module {name}")
    return path.read_text(encoding="utf-8")


class _WithoutText(ast.NodeTransformer):
    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        is_text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if is_text else node


@cache
def _path(name: str) -> Path | None:
    """The file of a module; kinds may lie outside this package, in the working directory."""
    package, _, stem = name.rpartition(".")
    folders = (
        [Path(__file__).parents[1].joinpath(*package.split("."))]
        if package
        else [Path(__file__).parents[1]]
    )
    if package in ("ttfs.methods", "ttfs.metrics"):
        folders = [Path(place) for place in import_module(package).__path__]
    for folder in folders:
        for path in (folder / f"{stem}.py", folder / stem / "__init__.py"):
            if path.is_file():
                return path
    return None
