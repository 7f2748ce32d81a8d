"""Tell whether the code behind a stage's results has changed.

Snakemake sees files and parameters, not the modules a command imports. So each rule carries, as a parameter, a digest
of the code that defines its results: the stage's module and all that it imports from this package, found by reading
the import statements. Comments, docstrings and layout do not count. For the stages that make numbers, neither does the
bookkeeping that only files them.
"""

import ast
import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

BOOKKEEPING = ("ttfs.config", "ttfs.digest", "ttfs.errors", "ttfs.results", "ttfs.stages._job")
"""Modules that carry numbers without changing them. What they import counts all the same."""


def stage_digest(stage: str, config: Mapping[str, Any]) -> str:
    """Return 16 hex digits that change when a stage's code or its slice of the configuration does."""
    text = json.dumps(config, sort_keys=True) + code_digest(f"ttfs.stages.{stage}", BOOKKEEPING)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@cache
def code_digest(module: str, without: tuple[str, ...] = ()) -> str:
    """Return 16 hex digits of the module's code and of all code of this package that it imports.

    The code of the packages and modules `without` does not count, but what they import does.
    """
    digest = hashlib.sha256()
    for name in sorted(_closure(module)):
        if not any(name == part or name.startswith(f"{part}.") for part in without):
            digest.update(f"{name}\n{ast.dump(_tree(name))}\n".encode())
    return digest.hexdigest()[:16]


def _closure(module: str) -> set[str]:
    found: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += _imports(name)
    return found


def _imports(name: str) -> Iterator[str]:
    """Modules of this package that a module imports, anywhere in its body."""
    for node in ast.walk(_tree(name)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "ttfs")
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "ttfs":
            yield from (_home(node.module, alias.name) for alias in node.names)


def _home(module: str, name: str) -> str:
    """The module that `from module import name` is about: a submodule, or the one that a package has the name from."""
    if _path(submodule := f"{module}.{name}") is not None:
        return submodule
    for node in _tree(module).body:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "ttfs":
            for alias in node.names:
                if name == (alias.asname or alias.name):
                    return _home(node.module, alias.name)
    return module


@cache
def _tree(name: str) -> ast.Module:
    """The module's syntax tree without docstrings, be they of a module, a function, a class or a constant."""
    path = _path(name)
    if path is None:
        raise ModuleNotFoundError(f"no module {name}")
    return _WithoutText().visit(ast.parse(path.read_text()))


class _WithoutText(ast.NodeTransformer):
    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        is_text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if is_text else node


@cache
def _path(name: str) -> Path | None:
    base = Path(__file__).parents[1].joinpath(*name.split("."))
    return next((p for p in (base.with_suffix(".py"), base / "__init__.py") if p.is_file()), None)
