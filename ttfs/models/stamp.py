"""A stamp of the Python code behind a model. Imports the standard library alone."""

import hashlib
import sys
from collections.abc import Mapping
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any


def model_stamp(config: Mapping[str, Any]) -> str | None:
    """Return 16 hex digits that change with the code that a file of `configs/models` imports.

    They are the first of SHA-256 over the file of the key `module` or, where that lies in a
    package, over all Python files of the package; none of them is run. None for other models, and
    where there is no such code.
    """
    if "module" not in config:
        return None
    package = config["module"].partition(":")[0].partition(".")[0]
    spec = PathFinder.find_spec(package, [str(Path.cwd()), *sys.path])
    if spec is None:
        return None
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    if spec.origin is not None and not folders:
        return _digest({Path(spec.origin).name: Path(spec.origin)})
    found: dict[str, Path] = {}
    for folder in folders:
        found |= {path.relative_to(folder).as_posix(): path for path in folder.rglob("*.py")}
    return _digest(found)


def _digest(files: Mapping[str, Path]) -> str:
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(f"{name}\n".encode())
        digest.update(files[name].read_bytes())
    return digest.hexdigest()[:16]
