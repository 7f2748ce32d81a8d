"""Which cells of a grid are up to date with the configuration, the code and the data of now.

A cell is current if its files are whole and their digests are those that its stages would write
now. Nothing else counts: neither the memory of a workflow engine nor the times of files.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Any

from ttfs.config import Cell, Grid, Stage, Study, flat, kind_of
from ttfs.data.stamp import data_stamp
from ttfs.digest import code_digest, digest_of, kind_digest, modules_of
from ttfs.errors import UserError
from ttfs.models.stamp import model_stamp
from ttfs.results.record import MADE, RECORD, WEIGHTS, Made, Record, damaged, read, read_made

DATA = ("ttfs.data.dataset", "ttfs.models", "ttfs.seeds")
"""Modules behind the data, the model and the seeds that a job gives to each stage."""


class Expected:
    """The digests that the stages of a grid's cells would write now."""

    def __init__(self, grid: Grid):
        self.grid = grid
        self._made: dict[Cell, str] = {}
        self._stamps: dict[str, str | None] = {}

    def code(self, stage: Stage, cell: Cell | Study) -> str:
        """Return the digest of the code behind a stage of a cell; that of an imported model, and
        of how the network of its source is loaded, included.
        """
        if isinstance(cell, Study):
            content = self.grid.studies[cell.study]
            parts = [code_digest(f"ttfs.studies.{kind_of(content)}", *DATA)]
            return _with_models(parts, content[kind_of(content)].get("models", ()))
        kind = self.grid.methods[cell.method].config["kind"]
        rooms = (*DATA, *(modules_of("ttfs.metrics") if stage in ("evaluate", "deploy") else ()))
        parts = [kind_digest(stage, kind, *rooms)]
        source = self.grid.source(cell) if stage in ("make", "evaluate") else None
        if source is not None:
            parts.append(kind_digest("load", self.grid.methods[source.method].config["kind"]))
        model = self.grid.models.get(cell.model)
        return _with_models(parts, [model.config] if model else [])

    def digest(self, stage: Stage, cell: Cell | Study) -> str:
        """Return the digest of configuration and code of a stage, and of all stages that it builds
        on.
        """
        if isinstance(cell, Study):
            return digest_of(self.grid.study_slice(cell), self.code("study", cell))
        if stage == "make":
            return self._make(cell)
        slices = {"evaluate": self.grid.evaluate_slice, "deploy": self.grid.deploy_slice}
        return digest_of(slices[stage](cell), self.code(stage, cell), self._make(cell.network))

    def stamp(self, cell: Cell | Study) -> str | None:
        """Return the digest of names, sizes and times of the files of the cell's data set."""
        if isinstance(cell, Study):
            content = self.grid.studies[cell.study]
            config = content[kind_of(content)]["dataset"]
        else:
            config = self.grid.datasets[cell.dataset].config
        source = json.dumps(config["source"], sort_keys=True)
        if self._stamps.get(source) is None:  # data may be downloaded meanwhile
            self._stamps[source] = data_stamp(config)
        return self._stamps[source]

    def _make(self, cell: Cell) -> str:
        if cell not in self._made:
            source = self.grid.source(cell)
            parts = [self.code("make", cell)] + ([] if source is None else [self._make(source)])
            self._made[cell] = digest_of(self.grid.make_slice(cell), *parts)
        return self._made[cell]


def _with_models(parts: list[str], models: Iterable[Mapping[str, Any]]) -> str:
    """The digest of the code of parts and of imported models, if there are any."""
    stamps = [stamp for model in models if (stamp := model_stamp(model)) is not None]
    return digest_of({}, *parts, *stamps) if len(parts) + len(stamps) > 1 else parts[0]


class State:
    """The stages of a grid that are due, by its files."""

    def __init__(self, grid: Grid):
        self.grid = grid
        self.expected = Expected(grid)
        self._makes: dict[Cell, str | None] = {}

    @cached_property
    def due(self) -> dict[tuple[Stage, Cell | Study], str]:
        """{(stage, cell): reason} of each stage that is due, in the order of the grid."""
        found: dict[tuple[Stage, Cell | Study], str] = {}
        for cell in self.grid.cells:
            if reason := self.make_reason(cell):
                found["make", cell] = reason
            if reason := self.evaluate_reason(cell):
                found["evaluate", cell] = reason
        for cell in self.grid.deployments:
            if reason := self.deploy_reason(cell):
                found["deploy", cell] = reason
        for study in self.grid.study_cells:
            if reason := self.study_reason(study):
                found["study", study] = reason
        return found

    @cached_property
    def stale(self) -> dict[str, str]:
        """{name: reason} of each cell whose record is out of date: the reason of its first stage
        that is due, the cause.
        """
        found: dict[str, str] = {}
        for (_, cell), reason in self.due.items():
            if (cell.folder / RECORD).exists():
                found.setdefault(cell.name, reason)
        return found

    def reason(self, stage: Stage, cell: Any) -> str | None:
        """Return why a stage of a cell is to run, None if it is current."""
        reasons: dict[str, Callable[[Any], str | None]] = {
            "make": self.make_reason,
            "evaluate": self.evaluate_reason,
            "deploy": self.deploy_reason,
            "study": self.study_reason,
        }
        return reasons[stage](cell)

    def make_reason(self, cell: Cell) -> str | None:
        """Return why the network of a cell is to be made."""
        if cell not in self._makes:
            self._makes[cell] = self._make_reason(cell)
        return self._makes[cell]

    def evaluate_reason(self, cell: Cell) -> str | None:
        """Return why the network of a cell is to be evaluated."""
        if self.make_reason(cell):
            return "its network is made"
        return self._record_reason("evaluate", cell, read_made(cell.folder))

    def deploy_reason(self, cell: Cell) -> str | None:
        """Return why the network of a cell is to go onto its hardware."""
        if self.make_reason(cell.network):
            return "its network is made"
        return self._record_reason("deploy", cell, read_made(cell.network.folder))

    def study_reason(self, study: Study) -> str | None:
        """Return why a study is to run."""
        record = _record(study)
        if isinstance(record, str):
            return record
        if record.digests.get("stage") != self.expected.digest("study", study):
            code = record.digests.get("code")
            return self.change("study", study, record.config, code)
        stamp = self.expected.stamp(study)
        if stamp is not None and record.digests.get("stamp") not in (None, stamp):
            return "the files of its data set changed"
        return damaged(study.folder, record.digests.get("files", {}), RECORD)

    def _make_reason(self, cell: Cell) -> str | None:
        source = self.grid.source(cell)
        if source is not None and self.make_reason(source):
            return "its source is made"
        try:
            made = read_made(cell.folder)
        except UserError as error:
            return _short(error)
        if made.digest != self.expected.digest("make", cell):
            return self.change("make", cell, made.config, made.code)
        stamp = self.expected.stamp(cell)
        if stamp is not None and made.stamp not in (None, stamp):
            return "the files of its data set changed"
        if source is not None and made.source != _weights(source):
            return "its source is another network than it was"
        return damaged(cell.folder, made.files, MADE)

    def _record_reason(self, stage: Stage, cell: Cell, made: Made) -> str | None:
        record = _record(cell)
        if isinstance(record, str):
            return record
        if reason := other(record, made):
            return reason
        if record.digests.get("stage") != self.expected.digest(stage, cell):
            return self.change(stage, cell, record.config, record.digests.get("code"))
        return damaged(cell.folder, record.digests.get("files", {}), RECORD)

    def change(self, stage: Stage, cell: Any, config: Mapping[str, Any], code: Any) -> str:
        """Say in words why the digest of a stage changed."""
        slices: dict[str, Callable[[Any], Mapping[str, Any]]] = {
            "make": self.grid.make_slice,
            "evaluate": self.grid.evaluate_slice,
            "deploy": self.grid.deploy_slice,
            "study": self.grid.study_slice,
        }
        same = code == self.expected.code(stage, cell)
        found = difference(config, slices[stage](cell))
        return found or ("what it comes from changed" if same else "its code changed")


def other(record: Record, made: Made) -> str | None:
    """Return how a record is not of the network, and of the data, that a `Made` is about.

    Weights may be the same with other data: other labels in the test split train nothing.
    """
    if record.digests.get("weights") != made.files.get(WEIGHTS, {}).get("sha256"):
        return "its record is of another network"
    if record.digests.get("data") not in (None, made.data):
        return "its record is of other data"
    return None


def difference(old: Mapping[str, Any], new: Mapping[str, Any], most: int = 3) -> str:
    """Return in words how two configurations differ, with `most` keys at most; nothing where they
    are equal. 1 and 1.0 differ, as in digests.

    >>> difference({"dataset": {"epochs": 4}}, {"dataset": {"epochs": 6}})
    'dataset.epochs 4 → 6'
    >>> difference({"range": [0, 1]}, {"range": [0.0, 1.0]})
    'range [0, 1] → [0.0, 1.0]'
    """
    before, after = flat(old), flat(new)
    changes = []
    for key in sorted({*before, *after}):
        if json.dumps(before.get(key)) != json.dumps(after.get(key)):
            changes.append(f"{key} {_word(before, key)} → {_word(after, key)}")
    more = f", and {len(changes) - most} more" if len(changes) > most else ""
    return ", ".join(changes[:most]) + more


def _word(flat: Mapping[str, Any], key: str) -> str:
    return json.dumps(flat[key], ensure_ascii=False)[:40] if key in flat else "nothing"


def _record(cell: Cell | Study) -> Record | str:
    """The record of a cell, or why there is none."""
    path = cell.folder / RECORD
    if not path.exists():
        return "it failed" if (cell.folder / "failure.json").exists() else "it has no record"
    try:
        return read(path, cell.name)
    except UserError as error:
        return _short(error)


def _weights(cell: Cell) -> str | None:
    try:
        return read_made(cell.folder).files[WEIGHTS]["sha256"]
    except (UserError, KeyError):
        return None


def _short(error: UserError) -> str:
    reason = str(error)
    return "it is not made yet" if "No such file" in reason else reason.rpartition("; ")[0]
