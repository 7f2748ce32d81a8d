"""Read, check and complete the YAML files of `configs/`, and lay a grid out into cells.

Each kind of file has a JSON schema in `workflow/schemas/`. A schema's `default` values are filled in here, once, so
that no other code repeats them. This module imports no torch: the workflow reads it at each start.
"""

import difflib
import itertools
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from ttfs.errors import UserError
from ttfs.models import parse

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ROOT / "configs"
SCHEMAS = ROOT / "workflow" / "schemas"
RESULTS = Path("results")
ID = re.compile(r"[a-z0-9-]+")
BUDGET = {"epochs", "batch_size", "augment"}
"""Keys of a data set that a method or a study may set itself."""
WORDS = {"title", "citation", "note"}
"""Keys that change no number."""
FINE_TUNING = {"optimizer": "adam", "schedule": "cosine", "select": "last", "patience": None}
"""Of training on a chip, beside what its hardware file says; the rest is as the network was trained."""


@dataclass(frozen=True, order=True)
class Cell:
    """One network of a grid: what a record, a results folder and an MLflow run stand for."""

    grid: str
    dataset: str
    model: str
    seed: int
    method: str

    @property
    def name(self) -> str:
        """Name of the cell within its grid."""
        return f"{self.dataset}/{self.model}/seed{self.seed}/{self.method}"

    @property
    def folder(self) -> Path:
        """Results folder of the cell, relative to the working directory."""
        return RESULTS / self.grid / self.name

    def hardware_folder(self, hardware: str) -> Path:
        """Folder of what became of the cell's network on a hardware."""
        return self.folder / "hardware" / hardware

    def __str__(self) -> str:
        return f"{self.grid}/{self.name}"


@dataclass(frozen=True)
class Grid:
    """A checked grid: its settings, the checked files that it names, published values.

    In a study the names of its data set and models are replaced by their checked files.
    """

    name: str
    settings: dict[str, Any]
    datasets: dict[str, dict[str, Any]] = field(repr=False)
    models: dict[str, dict[str, Any]] = field(repr=False)
    methods: dict[str, dict[str, Any]] = field(repr=False)
    hardware: dict[str, dict[str, Any]] = field(default_factory=dict, repr=False)
    studies: dict[str, dict[str, Any]] = field(default_factory=dict, repr=False)
    published: list[dict[str, Any]] = field(default_factory=list, repr=False)

    @property
    def folder(self) -> Path:
        """Results folder of the grid, relative to the working directory."""
        return RESULTS / self.name

    def cells(self) -> Iterator[Cell]:
        """All cells, in the order the grid file lists them."""
        for dataset, model, seed, method in itertools.product(
            self.datasets, self.models, self.settings["seeds"], self.methods
        ):
            yield Cell(self.name, dataset, model, seed, method)

    def deployments(self) -> Iterator[tuple[Cell, str]]:
        """Each cell whose network goes onto hardware, with the id of each hardware."""
        deployed = self.settings["deployed"] or [name for name in self.methods if self.neuron(name) == "b1"]
        yield from itertools.product((cell for cell in self.cells() if cell.method in deployed), self.hardware)

    def source(self, cell: Cell) -> Cell | None:
        """The cell whose weights this one starts from; None for a network trained from scratch."""
        source = _source(self.methods[cell.method])
        return None if source is None else Cell(cell.grid, cell.dataset, cell.model, cell.seed, source)

    def neuron(self, method: str) -> str:
        """What a method's networks are made of: "relu", "b1" or "alpha1"."""
        return _neuron(self.methods[method])

    def stages(self, method: str) -> tuple[str, ...]:
        """The stages that make a cell of the method, in order; the last one writes its record."""
        if "convert" in self.methods[method]:
            return ("convert", "verify")
        return ("train",) if self.neuron(method) == "relu" else ("train", "verify")

    def slice(self, stage: str, cell: Cell) -> dict[str, Any]:
        """The part of the configuration that a stage's numbers depend on: what a record keeps, and what re-runs it."""
        dataset, model, method = (
            self.datasets[cell.dataset],
            self.models[cell.model],
            self.methods[cell.method],
        )
        data, network = _without(BUDGET | WORDS, dataset), _without(WORDS, model)
        machine = {key: self.settings[key] for key in ("threads", "device")}
        common = {"dataset": data, "model": network, "seed": cell.seed, **machine}
        if "train" in method:
            own = method["train"]
            common["train"] = own | {
                "epochs": own["epochs"] or self.settings["epochs"] or dataset["epochs"],
                "batch_size": own["batch_size"] or self.settings["batch_size"] or dataset["batch_size"],
                "augment": (dataset["augment"] or {}) | (self.settings["augment"] or {}) | (own["augment"] or {}),
            }
        else:
            common["convert"] = method["convert"]
        return common if stage != "verify" else common | {"verify": self.settings["verify"]}

    def hardware_slice(self, cell: Cell, hardware: str) -> dict[str, Any]:
        """The part of the configuration that the numbers of a network on a hardware depend on."""
        trained: Cell | None = cell
        while trained is not None and "train" not in self.methods[trained.method]:
            trained = self.source(trained)
        assert trained is not None  # a circle of sources is refused
        common = self.slice("train", trained)
        own = _without(WORDS, self.hardware[hardware])
        tuning = own.pop("fine_tuning")
        train = {"augment": common["train"]["augment"]} if tuning is None else common["train"] | FINE_TUNING | tuning
        return common | {"train": train, "hardware": own | {"fine_tuned": tuning is not None}}

    def study_slice(self, study: str) -> dict[str, Any]:
        """The part of the configuration that the numbers of a study depend on."""
        kind = kind_of(self.studies[study])
        own = self.studies[study][kind]
        files: dict[str, Any] = {"dataset": _without(BUDGET | WORDS, own["dataset"])}
        if "models" in own:
            files["models"] = [_without(WORDS, model) for model in own["models"]]
        return {kind: own | files, "threads": self.settings["threads"]}


def kind_of(study: Mapping[str, Any]) -> str:
    """Return what a study looks at: the name of its block."""
    return "trajectory" if "trajectory" in study else "gradients"


def load_grid(path: str | Path) -> Grid:
    """Read a grid file, every file it names and the published values; raise UserError at the first thing that is wrong.

    The name of the grid is the file's stem.
    """
    path = Path(path)
    settings = read_yaml(path, "grid")
    if settings["id"] == "published":
        raise UserError(f"{path}: results/published/ is for the records that git keeps; give the grid another name")
    parts: dict[str, dict[str, dict[str, Any]]] = {}
    for kind in ("dataset", "model", "method"):
        parts[kind + "s"] = {name: _read_named(kind, name, path) for name in settings[kind + "s"]}
    for name, method in parts["methods"].items():
        _check_method(name, method, parts["methods"], path)
    for name, model in parts["models"].items():
        _check_model(name, model)
    deployable = [name for name, method in parts["methods"].items() if _neuron(method) == "b1"]
    for name in settings["deployed"]:
        if name not in deployable:
            suggestion = _suggest(name, deployable)
            raise UserError(f"{path}: key 'deployed': {name!r} is no method of b1 neurons here{suggestion}")
    if settings["hardware"] and not deployable:
        raise UserError(f"{path}: key 'hardware': no method here is of b1 neurons; add one, b1-converted, say")
    hardware = {name: _read_named("hardware", name, path) for name in settings["hardware"]}
    studies = {name: _read_study(name, path) for name in settings["studies"]}
    published = [read_yaml(shorten(path), "published") for path in sorted((CONFIGS / "published").glob("*.yaml"))]
    return Grid(settings["id"], settings, **parts, hardware=hardware, studies=studies, published=published)


def read_yaml(path: str | Path, kind: str) -> dict[str, Any]:
    """Read one config file, check it against `workflow/schemas/<kind>.schema.yaml`, fill in the defaults.

    Adds the key `id`, the file's stem. Raises UserError with the file, the key, the value and the cure.
    """
    path = Path(path)
    try:
        content = yaml.load(path.read_text(), _Loader)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file{_suggest(path.name, _yaml_files(path.parent))}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected 'key: value' lines, found {type(content).__name__}")
    if not ID.fullmatch(path.stem):
        raise UserError(f"{path}: the file's name is its id and may hold only a-z, 0-9 and '-'")
    schema = _schema(kind)
    fault = jsonschema.exceptions.best_match(_Validator(schema).iter_errors(content))
    if fault is not None:
        raise UserError(f"{path}: {_explain(fault)}")
    return {"id": path.stem, **_with_defaults(content, schema)}


def _without(keys: set[str], content: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in content.items() if key not in keys}


def _neuron(method: Mapping[str, Any]) -> str:
    return (method.get("train") or method["convert"])["neuron"]


def _source(method: Mapping[str, Any]) -> str | None:
    return (method.get("train") or method["convert"])["source"]


def _check_model(name: str, model: Mapping[str, Any]) -> None:
    """Raise UserError where a model's notation is wrong."""
    if "layers" in model:
        try:
            parse(model["layers"], name)
        except UserError as error:
            raise UserError(f"{shorten(CONFIGS / 'models' / name)}.yaml: {error}") from None


def _read_study(name: str, grid: Path) -> dict[str, Any]:
    """A checked study, with the checked files of its data set and models in the place of their names."""
    study = _read_named("study", name, grid)
    kind, file = kind_of(study), shorten(CONFIGS / "studies" / f"{name}.yaml")
    block = study[kind]
    block["dataset"] = _read_named("dataset", block["dataset"], file, f"{kind}.dataset")
    if "models" in block:
        block["models"] = [_read_named("model", model, file, f"{kind}.models") for model in block["models"]]
        for model in block["models"]:
            _check_model(model["id"], model)
    return study


def _check_method(name: str, method: Mapping[str, Any], methods: Mapping[str, Mapping[str, Any]], grid: Path) -> None:
    """Raise UserError where a method starts from one that is not there or that trains another kind of network."""
    source, neuron = _source(method), _neuron(method)
    if source is None:
        return
    file, block = f"{shorten(CONFIGS / 'methods' / name)}.yaml", "train" if "train" in method else "convert"
    if source not in methods:
        raise UserError(
            f"{grid}: key 'methods': {name!r} starts from {source!r}, which the grid does not list; add {source!r}"
        )
    if block == "train" and neuron == "relu":
        raise UserError(
            f"{file}: key 'train.source': only TTFS networks are fine-tuned; set train.neuron, or remove it"
        )
    wanted = "relu" if block == "convert" else neuron
    if _neuron(methods[source]) != wanted:
        found = [other for other, settings in methods.items() if _neuron(settings) == wanted and other != name]
        kind = "ReLU" if wanted == "relu" else wanted
        raise UserError(f"{file}: key '{block}.source': {source!r} trains no {kind} network{_suggest(source, found)}")
    if name in (seen := _ancestors(source, methods)):
        raise UserError(
            f"{file}: key '{block}.source': {' <- '.join([name, *seen])} is a circle; start one from scratch"
        )


def _ancestors(name: str, methods: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The method, its source, the source of that, ..., each once."""
    seen = [name]
    source = _source(methods[name])
    while source is not None and source in methods and source not in seen:
        seen.append(source)
        source = _source(methods[source])
    return seen


def _read_named(kind: str, name: str, file: Path, key: str = "") -> dict[str, Any]:
    """The checked file of `configs/` that the key of a file names."""
    plural = {"study": "studies", "hardware": "hardware"}.get(kind, f"{kind}s")
    folder = CONFIGS / plural
    path = folder / f"{name}.yaml"
    if not path.is_file():
        known = [file.removesuffix(".yaml") for file in _yaml_files(folder)]
        raise UserError(f"{file}: key '{key or plural}': no {shorten(path)}{_suggest(name, known)}")
    return read_yaml(shorten(path), kind)


def _yaml_files(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.glob("*.yaml"))


class _Loader(yaml.SafeLoader):
    """YAML in which a key that comes twice is an error, where PyYAML keeps the last, and so is one that is not text."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        words = [key.value for key, _ in node.value]
        for key, _ in node.value:
            if words.count(key.value) > 1:
                raise yaml.MarkedYAMLError(problem=f"key '{key.value}' comes twice", problem_mark=key.start_mark)
            if key.tag not in ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"):
                raise yaml.MarkedYAMLError(problem=f"key '{key.value}' is no text", problem_mark=key.start_mark)
        return super().construct_mapping(node, deep)


def _is_number(_: object, value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


# JSON Schema takes 4.0 for an integer, and YAML's .inf and .nan are numbers; neither is a number of epochs or a rate.
_Validator = jsonschema.validators.extend(
    jsonschema.Draft202012Validator,
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine("number", _is_number).redefine(
        "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
    ),
)


def shorten(path: Path) -> Path:
    """Return the path relative to the working directory where it lies below it, for messages and records."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


@cache
def _schema(kind: str) -> dict[str, Any]:
    return _resolved(yaml.safe_load((SCHEMAS / f"{kind}.schema.yaml").read_text()))


def _resolved(schema: Any) -> Any:
    """Put the schema of another file in place of each `$ref` that names one, under the words of the place."""
    if not isinstance(schema, dict):
        return schema
    schema = {key: _resolved(value) for key, value in schema.items()}
    file = schema.get("$ref", "#")
    if file.startswith("#"):
        return schema
    return _schema(file.removesuffix(".schema.yaml")) | {key: schema[key] for key in schema if key != "$ref"}


def _with_defaults(content: Any, schema: Mapping[str, Any]) -> Any:
    if not isinstance(content, dict):
        return content
    properties = schema.get("properties", {})
    filled = {key: _with_defaults(value, properties.get(key, {})) for key, value in content.items()}
    needs = schema.get("dependentRequired", {})
    for key, rule in properties.items():
        if key not in filled and "default" in rule and all(other in filled for other in needs.get(key, ())):
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
    if error.validator == "oneOf" and all(set(option) == {"required"} for option in error.validator_value):
        keys = [f"'{prefix}{key}'" for option in error.validator_value for key in option["required"]]
        return f"give exactly one of the keys {' and '.join(keys)}"
    if error.validator == "dependentRequired":
        pairs = ((key, other) for key, others in error.validator_value.items() for other in others)
        key, other = next((k, o) for k, o in pairs if k in error.instance and o not in error.instance)
        return f"key '{prefix}{key}' needs key '{prefix}{other}'"
    if error.validator == "type" and error.validator_value == "number" and isinstance(error.instance, str):
        return f"key '{where}': {error.instance!r} is text in YAML; write a number with a point, e.g. 1.0e-3"
    message = " ".join(error.message.split())
    return f"key '{where}': {message}" if where else message


def _suggest(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean '{close[0]}'?" if close else f"; choose from: {', '.join(known) or 'none is there'}"
