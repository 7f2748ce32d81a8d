"""A grid laid out into cells: networks to make, their sources, and the keys that their numbers
depend on.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from ttfs.config.variants import Variant, text_of, value_at
from ttfs.errors import UserError

if TYPE_CHECKING:
    from ttfs.methods import Kind

RESULTS = Path("results")
STORE = RESULTS / "cells"
Stage = Literal["make", "evaluate", "deploy", "study"]
"""The stages of cells."""
NO_MODEL = "none"
"""Stands for the model in the cells of kinds that use none."""
BUDGET = ("epochs", "batch_size", "augment")
"""Keys of a data set that a method may set itself."""
WORDS = ("title", "citation", "note")
"""Keys that change no number."""
FINE_TUNING = {
    "optimizer": "adam", "schedule": "cosine", "warmup": None, "bias_rate": 1.0,
    "averaging": "none", "select": "last", "patience": None,
}  # fmt: skip
"""Keys of training on a chip, beside its `tuning`; others are those of the network's training.

Weight decay of AdamW is another quantity than that of Adam, so networks of AdamW keep AdamW.
"""


@dataclass(frozen=True, order=True)
class Cell:
    """One thing that is measured: a network (or other classifier), or that network on a chip.

    A record, a folder of the store and an MLflow run stand for one cell.
    """

    dataset: str
    model: str
    method: str
    seed: int
    hardware: str = ""
    """The id of the chip; empty for the network itself."""

    @property
    def name(self) -> str:
        """Name of the cell, and its place below `results/cells`."""
        own = f"{self.dataset}/{self.model}/{self.method}/seed{self.seed}"
        return f"{own}/hardware/{self.hardware}" if self.hardware else own

    @property
    def folder(self) -> Path:
        """Folder of the cell, relative to the working directory."""
        return STORE / self.name

    @property
    def ids(self) -> dict[str, Any]:
        """The ids that name the cell in records and tables."""
        own = {
            "dataset": self.dataset,
            "model": self.model,
            "method": self.method,
            "seed": self.seed,
        }
        return own | ({"hardware": self.hardware} if self.hardware else {})

    @property
    def network(self) -> "Cell":
        """The cell of the network itself."""
        return replace(self, hardware="")

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, order=True)
class Study:
    """A study of a grid. It is a cell too, and has a record."""

    study: str

    @property
    def name(self) -> str:
        """Name of the study's cell, and its place below `results/cells`."""
        return f"studies/{self.study}"

    @property
    def folder(self) -> Path:
        """Folder of the study, relative to the working directory."""
        return STORE / self.name

    @property
    def ids(self) -> dict[str, Any]:
        """The id that names the study in records."""
        return {"study": self.study}

    def __str__(self) -> str:
        return self.name


class Block(NamedTuple):
    """Models of a data set, and methods that each of them is taken with."""

    models: tuple[str, ...]
    methods: tuple[str, ...]


@dataclass(frozen=True)
class Grid:
    """A checked grid: its settings, its points by id, published values.

    In a study the names of its data set and models are replaced by their checked files.
    """

    name: str
    settings: dict[str, Any]
    datasets: dict[str, Variant] = field(repr=False)
    models: dict[str, Variant] = field(repr=False)
    methods: dict[str, Variant] = field(repr=False)
    hardware: dict[str, Variant] = field(default_factory=dict, repr=False)
    studies: dict[str, dict[str, Any]] = field(default_factory=dict, repr=False)
    published: list[dict[str, Any]] = field(default_factory=list, repr=False)
    own: dict[str, tuple[Block, ...]] = field(default_factory=dict, repr=False)
    """{data set: its entries}, an entry with its models and methods; of one that is not here, those
    of the grid.
    """
    file: str = field(default="", repr=False, compare=False)
    """The grid's file, as it was named."""

    @property
    def title(self) -> str:
        """The title that the grid file gives, or else the name."""
        return self.settings.get("title") or self.name

    @property
    def folder(self) -> Path:
        """Folder of the grid's tables and figures, relative to the working directory."""
        return RESULTS / self.name

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """The cells of networks, in the order of the grid file, each once."""
        found: dict[Cell, None] = {}
        for dataset in self.datasets:
            for block in self.blocks(dataset):
                axes = (block.models, self.settings["seeds"], block.methods)
                for model, seed, method in itertools.product(*axes):
                    own = model if self.kind(method).uses_model else NO_MODEL
                    found[Cell(dataset, own, method, seed)] = None
        return tuple(found)

    @cached_property
    def deployments(self) -> tuple[Cell, ...]:
        """The cells of networks on hardware."""
        chosen = self.settings["deployed"] or [m for m in self.methods if self.kind(m).deployable]
        networks = (cell for cell in self.cells if cell.method in chosen)
        pairs = itertools.product(networks, self.hardware)
        return tuple(replace(cell, hardware=hardware) for cell, hardware in pairs)

    @cached_property
    def study_cells(self) -> tuple[Study, ...]:
        """The cells of studies."""
        return tuple(Study(name) for name in self.studies)

    @cached_property
    def every(self) -> tuple[Cell | Study, ...]:
        """All cells: of networks, of networks on hardware, of studies."""
        return (*self.cells, *self.deployments, *self.study_cells)

    def find(self, name: str) -> Cell | Study:
        """Return the cell of a name; raise UserError if the grid has none."""
        for cell in self.every:
            if cell.name == name:
                return cell
        close = get_close_matches(name, [cell.name for cell in self.every], n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise UserError(
            f"grid {self.name} has no cell {name!r}; {hint}`python -m ttfs check` lists them"
        )

    def kind(self, method: str) -> "Kind":
        """Return the kind of classifier that a method makes."""
        from ttfs.methods import kind

        return kind(self.methods[method].config["kind"])

    def source(self, cell: Cell) -> Cell | None:
        """Return the cell whose network this one starts from; None for one made from scratch."""
        name = self.methods[cell.method].config.get("source")
        return None if name is None else replace(cell, method=name, hardware="")

    def blocks(self, dataset: str) -> tuple[Block, ...]:
        """Return the entries of a data set: models, and methods that each of them is taken with."""
        return self.own.get(dataset, (Block(tuple(self.models), tuple(self.methods)),))

    @property
    def reference(self) -> str:
        """The method that differences are taken against; "" without one."""
        named = self.settings["reference"]
        return named or ("ann" if "ann" in self.methods else "")

    @cached_property
    def references(self) -> dict[str, str]:
        """{data set: method} that differences are taken against there.

        Where a data set does not list the reference, it is the first method there of the same file,
        e.g. with another learning rate.
        """
        if not self.reference:
            return {}
        file = self.methods[self.reference].config["id"]
        found = {}
        for dataset in self.datasets:
            methods = itertools.chain(*(block.methods for block in self.blocks(dataset)))
            alike = [m for m in methods if self.methods[m].config["id"] == file]
            if alike:
                found[dataset] = self.reference if self.reference in alike else alike[0]
        return found

    @property
    def reference_name(self) -> str:
        """The name of the reference, for heads of tables: of its file, where data sets have
        references of their own.
        """
        names = set(self.references.values()) or {self.reference}
        return names.pop() if len(names) == 1 else self.methods[self.reference].config["id"]

    @cached_property
    def varied(self) -> dict[str, tuple[str, ...]]:
        """The dotted keys that vary, by noun."""
        nouns = {
            "dataset": self.datasets,
            "model": self.models,
            "method": self.methods,
            "hardware": self.hardware,
        }
        return {
            noun: tuple(dict.fromkeys(key for point in points.values() for key in point.varied))
            for noun, points in nouns.items()
        }

    def columns(self, cell: Cell) -> dict[str, str]:
        """Return {column: value as text} of each key that varies in the grid, for one cell.

        The keys of a budget have the values that the method learns with, be they its own or those
        of its data set.
        """
        method = self._method(cell)
        budget = {key: value for key, value in (method.get("train") or {}).items() if key in BUDGET}
        configs = {
            "dataset": self.datasets[cell.dataset].config | budget,
            "model": self.models[cell.model].config if cell.model != NO_MODEL else {},
            "method": self.methods[cell.method].config | method,
            "hardware": self.hardware[cell.hardware].config if cell.hardware else {},
        }
        found = {}
        for noun, keys in self.varied.items():
            for key in keys:
                value = value_at(configs[noun], key)
                absent = not configs[noun] or (value is None and not _has(configs[noun], key))
                if isinstance(value, Mapping):
                    empty = "default" if noun == "hardware" else "none"
                    words = (
                        k if isinstance(v, Mapping) else f"{k}={text_of(v)}"
                        for k, v in value.items()
                        if v is not None
                    )
                    value = ", ".join(words) or empty
                if column(key) not in found or not absent:  # kinds name one thing by two keys
                    found[column(key)] = "" if absent else text_of(value)
        return found

    # ---- keys that numbers depend on ----

    def make_slice(self, cell: Cell) -> dict[str, Any]:
        """Return the part of the configuration that the network of a cell depends on."""
        method = self._method(cell)
        method.pop("check", None)  # of the evaluation
        return self._common(cell) | {"method": method}

    def evaluate_slice(self, cell: Cell) -> dict[str, Any]:
        """Return the part of the configuration that the record of a cell depends on."""
        return self._common(cell) | {"method": self._method(cell)}

    def deploy_slice(self, cell: Cell) -> dict[str, Any]:
        """Return the part of the configuration that the numbers of a network on a chip depend
        on.
        """
        chip = _without((*WORDS, "id"), self.hardware[cell.hardware].config)
        tuning = chip.pop("tuning")
        own = {key: self._method(cell)[key] for key in ("threads", "device")}
        content = self._common(cell) | own | {"hardware": chip, "tuned": tuning is not None}
        if tuning is None:
            return content
        trained: Cell | None = cell.network
        while trained is not None and not self.methods[trained.method].config.get("train"):
            trained = self.source(trained)
        if trained is None:
            raise UserError(
                f"{cell.name}: fine-tuning takes the settings of a training, and neither its "
                "method nor a source of it has one; give the method a block train"
            )
        train = self._method(trained)["train"]
        decoupled = {"optimizer": "adamw"} if train["optimizer"] == "adamw" else {}
        augment = {"augment": _augment(train["augment"], tuning["augment"])}
        return content | {"train": train | FINE_TUNING | decoupled | tuning | augment}

    def study_slice(self, study: Study) -> dict[str, Any]:
        """Return the part of the configuration that the numbers of a study depend on."""
        content = self.studies[study.study]
        kind = kind_of(content)
        own = content[kind]
        files: dict[str, Any] = {"dataset": _without((*BUDGET, *WORDS), own["dataset"])}
        if "models" in own:
            files["models"] = [_without(WORDS, model) for model in own["models"]]
        return {kind: own | files, "threads": content["threads"]}

    def _common(self, cell: Cell) -> dict[str, Any]:
        common: dict[str, Any] = {
            "dataset": _without((*BUDGET, *WORDS), self.datasets[cell.dataset].config),
            "seed": cell.seed,
        }
        if cell.model != NO_MODEL:
            common["model"] = _without(WORDS, self.models[cell.model].config)
        return common

    def _method(self, cell: Cell) -> dict[str, Any]:
        """A method's options, with the budget of its data set where it sets none."""
        dataset = self.datasets[cell.dataset].config
        method = _without((*WORDS, "id"), self.methods[cell.method].config)
        if method.get("devices") == 1:
            del method["devices"]  # records are older than this key, and one device is as before
        if method.get("train"):
            own = method["train"]
            method["train"] = own | {
                "epochs": own["epochs"] or dataset["epochs"],
                "batch_size": own["batch_size"] or dataset["batch_size"],
                "augment": _augment(dataset["augment"], own["augment"]),
            }
        return method


def column(key: str) -> str:
    """Return the name of a varied key as the head of a column.

    >>> column("train.activity_l1"), column("tuning.epochs"), column("augment.shift")
    ('activity_l1', 'tuning.epochs', 'augment.shift')
    """
    return key.removeprefix("train.")


def kind_of(study: Mapping[str, Any]) -> str:
    """Return the kind of a study: the name of its block."""
    return next(key for key in study if key not in (*WORDS, "id", "threads"))


def _augment(usual: Any, own: Any) -> dict[str, Any]:
    """The augmentation of a method on a data set, or of a fine-tuning after a training: its own
    keys take the place of the usual ones; "none" is off.
    """
    if own == "none" or (usual == "none" and own is None):
        return {}
    return ({} if usual in (None, "none") else usual) | (own or {})


def _has(config: Mapping[str, Any], key: str) -> bool:
    *path, last = key.split(".")
    block = value_at(config, ".".join(path)) if path else config
    return isinstance(block, Mapping) and last in block


def _without(keys: Sequence[str], content: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in content.items() if key not in keys}
