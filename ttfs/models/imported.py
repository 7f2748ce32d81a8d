"""A network of the user's: a class, or a function, that makes an `nn.Module`."""

import difflib
import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from ttfs.errors import UserError
from ttfs.models.trial import try_out


def build_imported(config: Mapping[str, Any], shape: tuple[int, ...], classes: int) -> nn.Module:
    """Return the network that `config["module"]`, e.g. "mypackage.nets:Net", makes.

    It is called as `Net(shape=shape, classes=classes, **config["arguments"])`. The working
    directory is importable. Raises UserError where there is no such module or class, where it does
    not take the arguments, and where it gives anything but a network that maps inputs [N, *shape]
    to logits [N, classes].
    """
    where = f"model '{config['id']}', key 'module': {config['module']}"
    make = _find(config["module"], where)
    network = _make(make, {"shape": shape, "classes": classes}, config.get("arguments", {}), where)
    if not isinstance(network, nn.Module):
        raise UserError(f"{where} gives {type(network).__name__}; it must give a torch.nn.Module")
    try_out(network, shape, classes, where)
    return network


def _find(place: str, where: str) -> Callable[..., Any]:
    module_name, name = place.split(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # as `python -m ttfs` has it
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if not f"{module_name}.".startswith(f"{error.name}."):  # one that the user's module imports
            raise UserError(f"{where}: importing it fails: {_line(error)}") from None
        raise UserError(
            f"{where}: there is no such module in {Path.cwd()} or where Python looks for modules"
        ) from None
    except Exception as error:  # whatever the user's code raises
        raise UserError(f"{where}: importing it fails: {_line(error)}") from None
    if not callable(found := getattr(module, name, None)):
        near = ", ".join(_near(name, module)) or "no network at all"
        raise UserError(f"{where}: {module_name} has no class {name!r}; it has {near}")
    return found


def _near(name: str, module: ModuleType) -> list[str]:
    """The network of a module whose name is nearest to a name, or all that there are."""
    classes = inspect.getmembers(module, inspect.isclass)
    known = [word for word, value in classes if issubclass(value, nn.Module)]
    return difflib.get_close_matches(name, known, n=1) or known


def _make(
    make: Callable[..., Any], given: dict[str, Any], arguments: Mapping[str, Any], where: str
) -> Any:
    if twice := given.keys() & arguments.keys():
        raise UserError(f"{where}, key 'arguments.{min(twice)}': remove it; the data set gives it")
    try:
        inspect.signature(make).bind(**given, **arguments)
    except (TypeError, ValueError) as error:
        taken = ", ".join([*given, *arguments])
        raise UserError(
            f"{where} does not take ({taken}): {error}; correct it, or key 'arguments'"
        ) from None
    try:
        return make(**given, **arguments)
    except Exception as error:  # whatever the user's code raises
        raise UserError(f"{where} fails when it is made: {_line(error)}") from None


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}".removesuffix(": ")
