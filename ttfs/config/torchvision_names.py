"""Names that torchvision knows, read from its files: importing it takes seconds."""

import ast
from functools import cache
from importlib.util import find_spec
from pathlib import Path


@cache
def networks() -> frozenset[str]:
    """Return the classifiers of `torchvision.models`: functions that it registers. Empty where
    torchvision is not installed.
    """
    files = sorted(_folder("models").glob("*.py")) if _folder("models").is_dir() else []
    return frozenset(
        node.name
        for file in files
        for node in ast.parse(file.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef)
        and any("register_model" in ast.unparse(word) for word in node.decorator_list)
    )


@cache
def data_sets() -> frozenset[str]:
    """Return the public names of `torchvision.datasets`. Empty where torchvision is not
    installed.
    """
    file = _folder("datasets") / "__init__.py"
    if not file.is_file():
        return frozenset()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return frozenset(ast.literal_eval(node.value))
    return frozenset()


def _folder(name: str) -> Path:
    spec = find_spec("torchvision")
    places = (spec.submodule_search_locations or []) if spec else []
    return Path(places[0], name) if places else Path(name, "that is not there")
