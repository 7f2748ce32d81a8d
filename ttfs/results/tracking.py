"""The MLflow view of the records. Only this module imports MLflow, and only when it has something
to write.

Records are the truth. Training logs live, and `publish` makes the store agree with the records,
whatever state it was in. The tag ``ttfs.cell`` of a run names its cell, and its hardware if it is
on one.
"""

import fcntl
import hashlib
import json
import logging
import os
import re
import sqlite3
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from ttfs.config import RESULTS, STORE, Cell
from ttfs.errors import UserError
from ttfs.results.frame import Results
from ttfs.results.record import Record, dimensions, read_curve

if TYPE_CHECKING:
    from mlflow.entities import Metric, Param, Run
    from mlflow.tracking import MlflowClient

CELL, DIGEST = "ttfs.cell", "ttfs.digest"
BUSY_SECONDS = 20.0
"""How long a writer waits for another one's lock on a SQLite store, as MLflow itself does."""
REBUILD = "delete the file and run `python -m ttfs publish <grid>`: it is rebuilt from the records"
SQLITE_CURE = "make its folder exist and be writable"
SERVER_CURE = "start that server, or unset MLFLOW_TRACKING_URI"
CURES = {
    "disk is full": "free some space and run the same command again",
    "No space left": "free some space and run the same command again",
    "autoflush": "another program holds its lock; wait for it, and run the same command again",
    "locked": "close what holds it and run the same command again",
    "not a database": REBUILD,
    "malformed": REBUILD,
    "out-of-date": "run `mlflow db upgrade` on it, or delete it and run `python -m ttfs publish "
    "<grid>`",
}
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}
os.environ.update(QUIET | dict(os.environ))  # before MLflow is imported, which reads them then


class Published(NamedTuple):
    """Counts of `publish`: runs in the store, those written now, and those deleted."""

    runs: int
    written: int
    deleted: int


def tracking_uri() -> str:
    """``MLFLOW_TRACKING_URI``, or else the SQLite file ``results/mlflow.db`` in the working
    directory.
    """
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{(RESULTS / 'mlflow.db').resolve()}"


def publish(results: Results) -> Published:
    """Make the store's experiment ``ttfs/<grid>`` agree with the records of a grid and the curves
    beside them.

    Afterwards there is one run per record. A run whose record and curve did not change stays;
    others are made anew, and live runs, duplicates and runs of cells without a record are deleted.
    Only a run still marked RUNNING whose cell has no record yet stays: it may be training now. Runs
    without the tag ``ttfs.cell`` are not touched. An old run is deleted after its successor is
    complete, so an interrupted publish loses nothing and may be repeated. Raises UserError if a
    curve cannot be read, or if the store is locked, damaged or out of reach.
    """
    with _readable_errors():
        client = _client()
        experiment = _experiment(client, results.grid.name)
        found = _runs_by_cell(client, experiment)
        written, surplus = 0, []
        for record in results.records:
            curve = [] if "hardware" in record.ids else read_curve(STORE / record.name)
            digest = hashlib.sha256((record.to_json() + json.dumps(curve)).encode()).hexdigest()
            runs = found.pop(record.name, [])
            current = [run for run in runs if _is_current(run, record, digest)][:1]
            if not current:
                _write_run(client, experiment, record, curve, digest)
                written += 1
            surplus += [run for run in runs if run not in current]
        surplus += [run for runs in found.values() for run in runs if run.info.status != "RUNNING"]
        for run in surplus:
            client.delete_run(run.info.run_id)
    return Published(len(results.records), written, len(surplus))


def _is_current(run: "Run", record: Record, digest: str) -> bool:
    """Whether a run is of the record, and whole: somebody may have deleted from the store."""
    wanted = {name for name, _ in _values(record)}
    return run.data.tags.get(DIGEST) == digest and wanted <= set(run.data.metrics)


class LiveRun:
    """The run of a cell while it trains: ``with LiveRun(grid, cell, config) as live: ...
    live.log(epoch, metrics)``.

    Leaving the block ends the run, as FAILED if by an exception. If the store fails, training goes
    on: one warning on stderr, and no further attempt; `publish` writes the run later, from the
    record.
    """

    def __init__(self, grid: str, cell: Cell, config: Mapping[str, Any]) -> None:
        self.grid, self.cell, self.config = grid, cell, config
        self._works = True

    def __enter__(self) -> Self:
        self._attempt(self._start)
        return self

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Log the metrics of one step (epoch) in one batch."""
        self._attempt(
            lambda: _log(self._client, self._run, metrics=_at(step, time.time(), metrics))
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        status = "FAILED" if kind else "FINISHED"
        self._attempt(lambda: self._client.set_terminated(self._run, status))

    def _start(self) -> None:
        self._client = _client()
        experiment = _experiment(self._client, self.grid)
        run = self._client.create_run(
            experiment, tags={CELL: str(self.cell)}, run_name=self.cell.name
        )
        self._run = run.info.run_id
        _log(self._client, self._run, params=_params(self.cell.ids, self.config))

    def _attempt(self, step: Callable[[], None]) -> None:
        if not self._works:
            return
        try:
            with _readable_errors():
                step()
        except Exception as error:  # whatever a view does, it must not stop a training
            self._works = False
            print(f"warning: no live curves in MLflow, training goes on: {error}", file=sys.stderr)


def _client() -> "MlflowClient":
    """A client of the store, which is made first if it is a SQLite file that is not there yet."""
    from mlflow.tracking import MlflowClient

    uri = tracking_uri()
    if uri.rstrip("/") == "sqlite:":
        raise UserError(
            f"MLFLOW_TRACKING_URI={uri}: names no file; write sqlite:///<path>, or unset it"
        )
    if uri.startswith("file:") or uri.startswith("/"):
        raise UserError(
            f"MLFLOW_TRACKING_URI={uri}: MLflow keeps no runs in folders any more; write "
            "sqlite:///<path>, or unset it"
        )
    if uri.startswith("sqlite:///"):
        _ready(Path(uri.removeprefix("sqlite:///")))
    else:
        logging.getLogger("urllib3").setLevel(
            logging.ERROR
        )  # one error at the end, not a line per attempt
    return MlflowClient(tracking_uri=uri)


def _ready(file: Path) -> None:
    """See that a SQLite store is there and can be read; make it if not.

    MLflow's tables are made in another file that is then moved into place, under a lock: parallel
    first writers do not meet in a half-made store, and a kill leaves none behind.
    """
    if not file.exists():
        from mlflow.tracking import MlflowClient

        file.parent.mkdir(parents=True, exist_ok=True)
        with file.with_name(f"{file.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not file.exists():
                fresh = file.with_name(f"{file.name}.new")
                for leftover in (fresh, Path(f"{fresh}-journal"), Path(f"{file}-journal")):
                    leftover.unlink(missing_ok=True)
                MlflowClient(tracking_uri=f"sqlite:///{fresh}").search_experiments(max_results=1)
                fresh.rename(file)
    connection = sqlite3.connect(file, timeout=BUSY_SECONDS)
    try:
        connection.execute("SELECT count(*) FROM sqlite_master")
    finally:
        connection.close()


def _experiment(client: "MlflowClient", grid: str) -> str:
    """Id of the grid's experiment, made or brought back from the bin if need be."""
    from mlflow.exceptions import MlflowException

    name = f"ttfs/{grid}"
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        try:
            return client.create_experiment(name)
        except MlflowException:
            experiment = client.get_experiment_by_name(name)
            if experiment is None:  # it was not that another job was faster
                raise
    if experiment.lifecycle_stage == "deleted":
        client.restore_experiment(experiment.experiment_id)
    return experiment.experiment_id


def _runs_by_cell(client: "MlflowClient", experiment: str) -> dict[str, list["Run"]]:
    runs: dict[str, list[Run]] = defaultdict(list)
    token = None
    while True:
        page = client.search_runs([experiment], max_results=1000, page_token=token)
        for run in page:
            if CELL in run.data.tags:
                runs[run.data.tags[CELL]].append(run)
        token = page.token
        if not token:
            return runs


def _write_run(
    client: "MlflowClient",
    experiment: str,
    record: Record,
    curve: Sequence[Mapping[str, float]],
    digest: str,
) -> None:
    """Write one whole run. The digest comes last: a run without it is not complete and will be
    replaced.
    """
    finished = max(
        datetime.fromisoformat(part.finished).timestamp() for part in record.provenance.values()
    )
    started = finished - sum(part.wall_seconds for part in record.provenance.values())
    run = client.create_run(experiment, int(1000 * started), _tags(record), record.name).info.run_id
    metrics = _at(0, finished, dict(_values(record)))
    for row in curve:
        metrics += _at(
            int(row["epoch"]), finished, {name: row[name] for name in row if name != "epoch"}
        )
    _log(client, run, metrics, _params(record.ids, record.config))
    client.set_terminated(
        run, "FINISHED" if record.status == "ok" else "FAILED", int(1000 * finished)
    )
    client.set_tag(run, DIGEST, digest)


def _values(record: Record) -> Iterator[tuple[str, float]]:
    """Yield the numbers of a record under MLflow's names: the metric, then its dimensions; means
    over draws.

    The confusion matrix stays in the record.
    """
    drawn: dict[str, list[float]] = defaultdict(list)
    for row in record.rows:
        if row["metric"] != "confusion":
            place = {key: value for key, value in dimensions(row).items() if key != "draw"}
            words = [
                str(value) if key in ("layer", "network") else f"{key}-{value}"
                for key, value in place.items()
            ]
            drawn["/".join([row["metric"], *words])].append(row["value"])
    for name, values in drawn.items():
        yield name, statistics.fmean(values)


def _tags(record: Record) -> dict[str, str]:
    provenance = list(record.provenance.values())[-1]
    tags = {
        CELL: record.name,
        "ttfs.status": record.status,
        "ttfs.data_digest": record.digests.get("data"),
        "ttfs.code_digest": record.digests.get("code"),
        "ttfs.git_dirty": provenance.git_dirty,
        "ttfs.device": provenance.device,
        "ttfs.processor": provenance.processor,
        "mlflow.source.git.commit": provenance.git_commit,
        "mlflow.note.content": record.error,  # the description, shown at the top of the run's page
    }
    tags |= {f"version.{name}": version for name, version in provenance.versions.items()}
    return {name: str(value) for name, value in tags.items() if value is not None}


def _params(ids: Mapping[str, Any], config: Mapping[str, Any]) -> list["Param"]:
    from mlflow.entities import Param

    own = {name: str(value) for name, value in ids.items()}
    return [Param(name, value[:6000]) for name, value in (_flat(config) | own).items()]


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested keys joined by dots, values as text.

    >>> _flat({"train": {"epochs": 3, "optimizer": "adam", "augment": None}})
    {'train.epochs': '3', 'train.optimizer': 'adam', 'train.augment': 'null'}
    """
    flat: dict[str, str] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value if isinstance(value, str) else json.dumps(value)
    return flat


def _at(step: int, seconds: float, metrics: Mapping[str, float]) -> list["Metric"]:
    from mlflow.entities import Metric

    return [
        Metric(name, float(value), int(1000 * seconds), step) for name, value in metrics.items()
    ]


def _log(
    client: "MlflowClient",
    run: str,
    metrics: Sequence["Metric"] = (),
    params: Sequence["Param"] = (),
) -> None:
    """Log in as few batches as MLflow's limits allow: 100 params and 1000 metrics each."""
    for start in range(0, len(params), 100):
        client.log_batch(run, params=params[start : start + 100])
    for start in range(0, len(metrics), 1000):
        client.log_batch(run, metrics=metrics[start : start + 1000])


@contextmanager
def _readable_errors() -> Iterator[None]:
    """Turn each error of a store into one line that names the store and the fix."""
    try:
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError
    except ImportError as error:
        raise UserError(
            f"MLflow cannot be imported ({error}); install the package with its dependencies"
        ) from None
    try:
        yield
    except (MlflowException, SQLAlchemyError, sqlite3.Error, OSError, ImportError) as error:
        uri = tracking_uri()
        reason = str(error).strip().split("\n")[0][:200]
        default = SQLITE_CURE if uri.startswith("sqlite") else SERVER_CURE
        cure = next((cure for symptom, cure in CURES.items() if symptom in reason), default)
        message = f"MLflow store {uri}: {reason}; {cure}"
        raise UserError(re.sub(r"//[^/@\s]*@", "//", message)) from None  # without a password
