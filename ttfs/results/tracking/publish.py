"""The store made to agree with the records."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ttfs.config import STORE
from ttfs.files import checksum, is_locked, locked
from ttfs.results.frame import Results
from ttfs.results.tracking.runs import Entry, curve_names, entries
from ttfs.results.tracking.store import (
    at,
    client,
    experiment_of,
    log,
    mark_killed,
    params_of,
    readable_errors,
    runs_by_cell,
)
from ttfs.results.tracking.tags import (
    CELL,
    CURRENT,
    CURVE,
    DIGEST,
    GRID,
    KILLED,
    LEVEL,
    LIVE,
    NOTE,
    PARENT,
    RECORD,
    STALE,
    STATE,
    SUPERSEDED,
    UNLISTED,
)
from ttfs.results.tracking.views import KIND, is_ours, saved, tag, views

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

LOCK = ".publish.lock"


class Published(NamedTuple):
    """Counts of `publish`: runs of records, those written now, those marked as superseded, and
    killed trainings marked so.
    """

    runs: int
    written: int
    superseded: int
    killed: int


def publish(results: Results) -> Published:
    """Make the store's experiment ``ttfs/<grid>`` agree with the records of a grid and the curves
    beside them.

    Afterwards there is one current run per record, one for each method with means over its seeds,
    and one with the grid's tables and figures. A run that did not change stays. The live run of a
    training becomes the run of its record. A run whose record was replaced stays too, marked as
    superseded; means, duplicates and torn runs do not. A run still marked RUNNING whose cell nobody
    works on is marked as killed. Runs without the tag ``ttfs.cell`` are not touched. An interrupted
    publish may be repeated; of several at once, one waits for the other. Raises UserError if a
    curve cannot be read, or if the store is locked, damaged or out of reach.
    """
    with locked(results.grid.folder / LOCK), readable_errors():
        return _Publication(client(), results).run()


class _Publication:
    """One publish of a grid."""

    def __init__(self, client: "MlflowClient", results: Results) -> None:
        self.client, self.results = client, results
        self.experiment = experiment_of(client, results.grid.name)
        self.entries = entries(results)
        self.stale = _stale(results, self.entries)
        self.found = runs_by_cell(client, self.experiment)
        self.ids: dict[str, str] = {}
        self.written = self.superseded = self.killed = 0

    def run(self) -> Published:
        records = {record.name for record in self.results.records}
        for entry in self.entries:
            self._agree(entry, counted=entry.cell in records)
        self._grid_run()
        for runs in self.found.values():  # of cells that the grid does not list, or without record
            for run in runs:
                self._retire(run, UNLISTED)
        self._describe()
        return Published(len(records), self.written, self.superseded, self.killed)

    def _agree(self, entry: Entry, counted: bool) -> None:
        """See that there is one current run of an entry."""
        runs = self.found.pop(entry.cell, [])
        own = next((run for run in runs if _is_whole(run, entry)), None)
        if own is not None:
            self.ids[entry.cell] = own.info.run_id
            self._tag(own, STATE, CURRENT)
            self._tag(own, STALE, self.stale[entry.cell])
        else:
            own = next((run for run in runs if _is_training_of(run, entry)), None)
            self.ids[entry.cell] = self._write(entry, own)
            self.written += counted
        for run in runs:
            kept = run is own or self._retire(run, SUPERSEDED, entry)
            if kept and entry.parent is not None:
                self._tag(run, PARENT, self.ids[entry.parent])

    def _write(self, entry: Entry, live: "Run | None") -> str:
        """Write one whole run, or complete the live run of its training."""
        parent = {} if entry.parent is None else {PARENT: self.ids[entry.parent]}
        tags = {CELL: entry.cell, LEVEL: entry.level, STATE: CURRENT, CURVE: entry.curve_digest}
        tags |= {**entry.tags, **parent, STALE: self.stale[entry.cell]}
        if live is None:
            started = int(1000 * entry.started)
            run = self.client.create_run(self.experiment, started, tags, entry.name).info.run_id
        else:
            run = live.info.run_id
        metrics = at(0, entry.finished, entry.metrics)
        if live is None:
            for row in entry.curve:
                metrics += at(int(row["epoch"]), entry.finished, curve_names(row))
        self._log_data(run, entry)
        if live is None:
            status = "FAILED" if entry.failed else "FINISHED"
            self.client.set_terminated(run, status, int(1000 * entry.finished))
        more = {} if live is None else tags
        log(self.client, run, metrics, params_of(entry.params), more | {DIGEST: entry.digest})
        return run

    def _log_data(self, run: str, entry: Entry) -> None:
        from mlflow.entities import Dataset, DatasetInput

        if entry.data is not None:
            name, digest = entry.data
            data = Dataset(name, digest, "local", f'{{"uri": "{name}"}}')
            self.client.log_inputs(run, [DatasetInput(data)])

    def _retire(self, run: "Run", state: str, entry: Entry | None = None) -> bool:
        """Mark a run that is no longer current and keep it, or delete it where it says nothing that
        another run does not say.
        """
        tags = run.data.tags
        if tags.get(STATE) in (SUPERSEDED, UNLISTED, KILLED):
            return True
        if run.info.status == "RUNNING" and tags.get(STATE) == LIVE:
            if not is_locked(STORE / tags[CELL] / ".lock"):
                mark_killed(self.client, run.info.run_id)
                self.killed += 1
            return True
        same = entry is not None and tags.get(RECORD) == entry.tags.get(RECORD)
        if DIGEST not in tags or RECORD not in tags or same:
            self.client.delete_run(run.info.run_id)
            return False
        self._tag(run, STATE, state)
        self.superseded += 1
        return True

    def _tag(self, run: "Run", name: str, value: str) -> None:
        if run.data.tags.get(name) != value:
            self.client.set_tag(run.info.run_id, name, value)

    def _grid_run(self) -> None:
        """The run that has the tables and figures of the grid as artifacts."""
        grid = self.results.grid
        files = sorted(_artifacts(grid.folder))
        content = "".join(f"{path.name} {checksum(path.read_bytes())}\n" for path in files)
        digest, cell = checksum(content.encode()), f"{GRID}/{grid.name}"
        runs = self.found.pop(cell, [])
        own = next((run for run in runs if run.data.tags.get(DIGEST) == digest), None)
        for run in runs:
            if run is not own:
                self.client.delete_run(run.info.run_id)
        if own is None and files:
            tags = {CELL: cell, LEVEL: GRID, STATE: CURRENT}
            name = f"tables and figures of {grid.name}"
            run = self.client.create_run(self.experiment, tags=tags, run_name=name).info.run_id
            for path in files:
                place = str(path.parent.relative_to(grid.folder))
                self.client.log_artifact(run, str(path), "" if place == "." else place)
            self.client.set_terminated(run)
            self.client.set_tag(run, DIGEST, digest)

    def _describe(self) -> None:
        """Description, kind and saved views of the experiment."""
        grid = self.results.grid
        made = int(1000 * max((entry.finished for entry in self.entries), default=time.time()))
        wanted = dict(tag(view, made) for view in views(self.entries)) | KIND
        wanted[NOTE] = (
            f"{grid.title}\n\nTo make all of it again: "
            f"`ttfs run {grid.file}`. Tables and figures are artifacts of the run "
            f"*tables and figures of {grid.name}*."
        )
        there = self.client.get_experiment(self.experiment).tags
        for name, content in saved(there).items():
            if is_ours(content) and name not in wanted:
                self.client.delete_experiment_tag(self.experiment, name)
        for name, value in wanted.items():
            if there.get(name) != value:
                self.client.set_experiment_tag(self.experiment, name, value)


def _stale(results: Results, entries: Sequence[Entry]) -> dict[str, str]:
    """{cell, or group of cells: why it is out of date}; "no" where it is not."""
    found = {entry.cell: results.stale.get(entry.cell, "no") for entry in entries}
    for entry in entries:
        if entry.parent is not None and entry.cell in results.stale:
            found[entry.parent] = f"{entry.cell}: {results.stale[entry.cell]}"
    return found


def _artifacts(folder: Path) -> Iterator[Path]:
    yield from (path for path in folder.glob("tables/*") if path.suffix in (".md", ".csv", ".tex"))
    yield from folder.glob("figures/*.svg")
    yield from folder.glob("index.html")


def _is_whole(run: "Run", entry: Entry) -> bool:
    """Whether a run is of the entry, and whole: somebody may have deleted from the store."""
    data = run.data
    wanted: Sequence[tuple[set, set]] = (
        (set(entry.metrics), set(data.metrics)),
        (set(entry.params), set(data.params)),
        (set(entry.tags), set(data.tags)),
        ({name for row in entry.curve[:1] for name in curve_names(row)}, set(data.metrics)),
    )
    return data.tags.get(DIGEST) == entry.digest and all(a <= b for a, b in wanted)


def _is_training_of(run: "Run", entry: Entry) -> bool:
    """Whether a live run is the training of an entry, from its first epoch to its last."""
    tags, params = run.data.tags, run.data.params
    if tags.get(STATE) != LIVE or DIGEST in tags or RECORD in tags:
        return False
    if any(entry.params.get(name, "")[:6000] != value for name, value in params.items()):
        return False  # MLflow lets no parameter change
    if entry.failed:
        return run.info.status == "FAILED"
    return run.info.status == "FINISHED" and tags.get(CURVE) == entry.curve_digest
