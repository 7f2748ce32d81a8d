"""Read, check and complete the YAML files of `configs/`, and lay a grid out into cells.

Each kind of file has a JSON schema in `workflow/schemas/`. A schema's `default` values are filled in here, once, so
that no other code repeats them. This module imports no torch: the workflow reads it at each start.
"""

import difflib
import itertools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from ttfs.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ROOT / "configs"
SCHEMAS = ROOT / "workflow" / "schemas"
ID = re.compile(r"[a-z0-9-]+")


@dataclass(frozen=True, order=True)
class Cell:
    """One network of a grid: what a record, a results folder and an MLflow run stand for."""

    grid: str
    dataset: str
    model: str
    seed: int
    method: str

    @property
    def folder(self) -> Path:
        """Results folder of the cell, relative to the working directory."""
        return Path("results", self.grid, self.dataset, self.model, f"seed{self.seed}", self.method)

    def __str__(self) -> str:
        return "/".join(self.folder.parts[1:])


@dataclass(frozen=True)
class Grid:
    """A checked grid: settings, and the checked config of each data set, model and method it names."""

    name: str
    settings: dict[str, Any]
    datasets: dict[str, dict[str, Any]] = field(repr=False)
    models: dict[str, dict[str, Any]] = field(repr=False)
    methods: dict[str, dict[str, Any]] = field(repr=False)

    def cells(self) -> Iterator[Cell]:
        """All cells, in the order the grid file lists them."""
        for dataset, model, seed, method in itertools.product(
            self.datasets, self.models, self.settings["seeds"], self.methods
        ):
            yield Cell(self.name, dataset, model, seed, method)

    def source(self, cell: Cell) -> Cell | None:
        """The cell whose weights this one starts from; None for a network trained from scratch."""
        source = self.methods[cell.method].get("convert", {}).get("source")
        return None if source is None else Cell(cell.grid, cell.dataset, cell.model, cell.seed, source)

    def slice(self, stage: str, cell: Cell) -> dict[str, Any]:
        """The part of the configuration that a stage's numbers depend on: what a record keeps, and what re-runs it."""
        dataset, model, method = (
            self.datasets[cell.dataset],
            self.models[cell.model],
            self.methods[cell.method],
        )
        budget = {"epochs", "batch_size", "augment"}
        words = {"title", "citation", "note"}
        data = {key: value for key, value in dataset.items() if key not in budget | words}
        network = {key: value for key, value in model.items() if key not in words}
        machine = {key: self.settings[key] for key in ("threads", "device")}
        if stage == "train":
            training = {key: dataset[key] for key in sorted(budget) if key in dataset}
            return {
                "dataset": data, "model": network, "seed": cell.seed, **machine,
                "train": method["train"] | training,
            }  # fmt: skip
        if stage == "convert":
            return {"dataset": data, "model": network, **machine, "convert": method["convert"]}
        if stage == "verify":
            return {"dataset": data, "model": network, **machine, "verify": self.settings["verify"]}
        raise ValueError(f"stage {stage!r} has no slice of the configuration")


def load_grid(path: str | Path) -> Grid:
    """Read a grid file and every file it names; raise UserError at the first thing that is wrong.

    The name of the grid is the file's stem.
    """
    path = Path(path)
    settings = read_yaml(path, "grid")
    parts: dict[str, dict[str, dict[str, Any]]] = {}
    for kind in ("dataset", "model", "method"):
        parts[kind + "s"] = {name: _read_named(kind, name, path) for name in settings[kind + "s"]}
    for name, method in parts["methods"].items():
        source = method.get("convert", {}).get("source")
        if source is not None and source not in parts["methods"]:
            raise UserError(
                f"{path}: key 'methods': {name!r} starts from {source!r}, which the grid does not list; add {source!r}"
            )
    return Grid(settings["id"], settings, **parts)


def read_yaml(path: str | Path, kind: str) -> dict[str, Any]:
    """Read one config file, check it against `workflow/schemas/<kind>.schema.yaml`, fill in the defaults.

    Adds the key `id`, the file's stem. Raises UserError with the file, the key, the value and the cure.
    """
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected 'key: value' lines, found {type(content).__name__}")
    if not ID.fullmatch(path.stem):
        raise UserError(f"{path}: the file's name is its id and may hold only a-z, 0-9 and '-'")
    schema = _schema(kind)
    errors = jsonschema.Draft202012Validator(schema).iter_errors(content)
    error = jsonschema.exceptions.best_match(errors)
    if error is not None:
        raise UserError(f"{path}: {_explain(error)}")
    return {"id": path.stem, **_with_defaults(content, schema)}


def _read_named(kind: str, name: str, grid: Path) -> dict[str, Any]:
    folder = CONFIGS / f"{kind}s"
    path = folder / f"{name}.yaml"
    if not path.is_file():
        known = sorted(file.stem for file in folder.glob("*.yaml"))
        raise UserError(f"{grid}: key '{kind}s': no {shorten(path)}{_suggest(name, known)}")
    return read_yaml(shorten(path), kind)


def shorten(path: Path) -> Path:
    """Return the path relative to the working directory where it lies below it, for messages and records."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


@cache
def _schema(kind: str) -> dict[str, Any]:
    return yaml.safe_load((SCHEMAS / f"{kind}.schema.yaml").read_text())


def _with_defaults(content: Any, schema: Mapping[str, Any]) -> Any:
    if not isinstance(content, dict):
        return content
    properties = schema.get("properties", {})
    filled = {key: _with_defaults(value, properties.get(key, {})) for key, value in content.items()}
    for key, rule in properties.items():
        if key not in filled and "default" in rule:
            filled[key] = _with_defaults(json.loads(json.dumps(rule["default"])), rule)
    return filled


def _explain(error: jsonschema.ValidationError) -> str:
    """Say in one line which key is wrong, what it holds and what it may hold."""
    where = ".".join(str(part) for part in error.absolute_path)
    prefix = f"{where}." if where else ""
    if error.validator == "additionalProperties":
        known = sorted(error.schema.get("properties", {}))
        unknown = sorted(set(error.instance) - set(known))[0]
        return f"unknown key '{prefix}{unknown}'{_suggest(unknown, known)}"
    if error.validator == "required":
        missing = sorted(set(error.validator_value) - set(error.instance))[0]
        return f"missing key '{prefix}{missing}'"
    if error.validator == "enum":
        known = [str(value) for value in error.validator_value]
        return f"key '{where}' is {error.instance!r}{_suggest(str(error.instance), known)}"
    message = " ".join(error.message.split())
    return f"key '{where}': {message}" if where else message


def _suggest(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean '{close[0]}'?" if close else f"; choose from: {', '.join(known)}"
