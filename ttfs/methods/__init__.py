"""The kinds of classifier that a method can make, one module each, found by its file name.

A file `methods/<kind>.py` of the working directory adds a kind, or takes the place of one. Listing
kinds and reading their options imports no torch.
"""

from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ttfs.config.read import suggest
from ttfs.errors import UserError
from ttfs.methods._job import Job, Task
from ttfs.methods._kind import Kind
from ttfs.methods._options import (
    Check,
    Options,
    SpikingTrain,
    TorchOptions,
    Train,
    TrainedOptions,
    schema,
)

if TYPE_CHECKING:
    from ttfs.methods._answers import answers as answers

__all__ = [
    "Check",
    "Job",
    "Kind",
    "Options",
    "SpikingTrain",
    "Task",
    "TorchOptions",
    "Train",
    "TrainedOptions",
    "answers",
    "kind",
    "kinds",
    "method_schema",
]

if Path("methods").is_dir():
    __path__.insert(0, str(Path("methods").resolve()))


def __getattr__(name: str) -> Any:
    """Import torch for what needs it, when it is first used."""
    if name != "answers":
        raise AttributeError(f"module 'ttfs.methods' has no attribute {name!r}")
    return import_module("ttfs.methods._answers").answers


def kinds() -> list[str]:
    """Return the names of all kinds, in order."""
    files = (path for place in __path__ for path in Path(place).glob("[a-z]*.py"))
    return sorted({path.stem.replace("_", "-") for path in files})


@cache
def kind(name: str) -> Kind:
    """Return a kind by its name; raise UserError if there is none, or if its module is at fault."""
    if name not in kinds():
        raise UserError(f"no kind of method {name!r}{suggest(name, kinds())}")
    file = name.replace("-", "_")
    try:
        module = import_module(f"ttfs.methods.{file}")
    except UserError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".split("\n")[0]
        raise UserError(f"methods/{file}.py: importing it fails: {reason}") from error
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Kind)
        and value.__module__ == module.__name__
    ]
    if len(found) != 1:
        raise UserError(f"{module.__file__}: holds {len(found)} subclasses of Kind; give it one")
    if missing := sorted(found[0].__abstractmethods__):
        raise UserError(f"{module.__file__}: {found[0].__name__} lacks {', '.join(missing)}")
    return found[0](name)


@cache
def method_schema(name: str) -> dict[str, Any]:
    """Return the JSON schema of the method files of a kind, made from its options."""
    own = kind(name)
    return schema(name, own.title, own.Options)
