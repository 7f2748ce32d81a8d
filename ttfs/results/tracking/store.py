"""The MLflow store: where it is, that it can be used, and one line for each fault of it."""

import fcntl
import logging
import os
import re
import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ttfs.config import RESULTS
from ttfs.errors import UserError
from ttfs.results.tracking.tags import CELL, KILLED, STATE

if TYPE_CHECKING:
    from mlflow.entities import Metric, Param, Run
    from mlflow.tracking import MlflowClient

BUSY_SECONDS = 20.0
"""How long a writer waits for another one's lock on a SQLite store, as MLflow itself does."""
REBUILD = "delete the file and run `python -m ttfs publish <grid>`: it is rebuilt from the records"
FIX_OF_FILE = "make its folder exist and be writable, and its path short"
FIX_OF_SERVER = "start that server, or unset MLFLOW_TRACKING_URI"
FIXES = {
    "disk is full": "free some space and run the same command again",
    "disk I/O error": "free some space, see that the disk works, and run the same command again",
    "No space left": "free some space and run the same command again",
    "autoflush": "another program holds its lock; wait for it, and run the same command again",
    "locked": "close what holds it and run the same command again",
    "not a database": REBUILD,
    "malformed": REBUILD,
    "_alembic_tmp": REBUILD,  # what making its tables left when it was cut off
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


def tracking_uri() -> str:
    """``MLFLOW_TRACKING_URI``, or else the SQLite file ``results/mlflow.db`` in the working
    directory.
    """
    named = os.environ.get("MLFLOW_TRACKING_URI")
    file = (RESULTS / "mlflow.db").resolve()
    if not named and "?" in str(file):
        raise UserError(
            f"MLflow store {file}: MLflow takes a file up to its '?' alone; rename the folder, or "
            "name a store in MLFLOW_TRACKING_URI"
        )
    return named or f"sqlite:///{file}"


def client() -> "MlflowClient":
    """Return a client of the store, which is made first if it is a SQLite file that is not there
    yet.
    """
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
    file = _file(uri)
    if file is not None:
        _ready(file)
    else:
        logging.getLogger("urllib3").setLevel(
            logging.ERROR
        )  # one error at the end, not a line per attempt
    return MlflowClient(tracking_uri=uri)


def _file(uri: str) -> Path | None:
    """The file of a SQLite store, without the options behind a `?`."""
    scheme, slashes, path = uri.partition(":///")
    return Path(path.partition("?")[0]) if (scheme, slashes) == ("sqlite", ":///") else None


def _ready(file: Path) -> None:
    """See that a SQLite store is there and can be read; make it if not, also in the place of an
    empty file, which whoever looks too early leaves there.

    MLflow's tables are made in another file that is then moved into place, under a lock: parallel
    first writers do not meet in a half-made store, and a kill leaves none behind. SQLite opens the
    file first: it says at once that a path is too long, where MLflow tries for minutes.
    """
    if not _is_made(file):
        from mlflow.tracking import MlflowClient

        file.parent.mkdir(parents=True, exist_ok=True)
        with file.with_name(f"{file.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not _is_made(file):
                fresh = file.with_name(f"{file.name}.new")
                for leftover in (fresh, Path(f"{fresh}-journal"), Path(f"{file}-journal")):
                    leftover.unlink(missing_ok=True)
                _look_into(fresh)
                MlflowClient(tracking_uri=f"sqlite:///{fresh}").search_experiments(max_results=1)
                fresh.rename(file)
    _look_into(file)


def _is_made(file: Path) -> bool:
    return file.exists() and file.stat().st_size > 0


def _look_into(file: Path) -> None:
    connection = sqlite3.connect(file, timeout=BUSY_SECONDS)
    try:
        connection.execute("SELECT count(*) FROM sqlite_master")
    finally:
        connection.close()


def experiment_of(client: "MlflowClient", grid: str) -> str:
    """Return the id of a grid's experiment, made or brought back from the bin if need be."""
    from mlflow.exceptions import MlflowException

    name = f"ttfs/{grid}"
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        try:
            return client.create_experiment(name, artifact_location=_artifacts(grid))
        except MlflowException:
            experiment = client.get_experiment_by_name(name)
            if experiment is None:  # it was not that another job was faster
                raise
    wanted, there = _artifacts(grid), experiment.artifact_location
    if wanted is not None and there.startswith("file:") and there != wanted:
        _take_along(experiment.experiment_id, there, wanted)
    if experiment.lifecycle_stage == "deleted":
        client.restore_experiment(experiment.experiment_id)
    return experiment.experiment_id


def _artifacts(grid: str) -> str | None:
    """Where the artifacts of a grid lie: beside a SQLite store; a server knows its own place."""
    file = _file(tracking_uri())
    return None if file is None else (file.resolve().parent / "mlflow-artifacts" / grid).as_uri()


def _take_along(experiment: str, old: str, new: str) -> None:
    """Let an experiment and its runs have their files where they are now: a SQLite store that was
    moved or copied would write to its old place. MLflow has no call for it.
    """
    file = _file(tracking_uri())
    assert file is not None
    with closing(sqlite3.connect(file, timeout=BUSY_SECONDS)) as store, store:
        store.execute(
            "UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?",
            (new, int(experiment)),
        )
        store.execute(
            "UPDATE runs SET artifact_uri = ? || substr(artifact_uri, ?) "
            "WHERE experiment_id = ? AND substr(artifact_uri, 1, ?) = ?",
            (new, len(old) + 1, int(experiment), len(old), old),
        )


def runs_by_cell(client: "MlflowClient", experiment: str) -> dict[str, list["Run"]]:
    """Return {cell: runs} of all runs of ours in an experiment, the latest first."""
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


def mark_killed(client: "MlflowClient", run: str) -> None:
    """End a run whose training was killed."""
    client.set_tag(run, STATE, KILLED)
    client.set_terminated(run, "KILLED")


def log(
    client: "MlflowClient",
    run: str,
    metrics: Sequence["Metric"] = (),
    params: Sequence["Param"] = (),
    tags: Mapping[str, str] | None = None,
) -> None:
    """Log in as few batches as MLflow's limits allow, 100 params and 1000 values of all kinds each;
    tags, of which there are few, come with the last one, and after its metrics and params.
    """
    from mlflow.entities import RunTag

    last = [RunTag(name, value) for name, value in (tags or {}).items()]
    size = 1000 - 100 - len(last)
    starts = range(max(-(-len(metrics) // size), -(-len(params) // 100), bool(last)))
    for place in starts:
        some = metrics[size * place : size * (place + 1)]
        few = params[100 * place : 100 * (place + 1)]
        client.log_batch(run, some, few, last if place == starts[-1] else ())


def at(step: int, seconds: float, metrics: Mapping[str, float]) -> list["Metric"]:
    """Return the metrics of one step at one time, in seconds since 1970."""
    from mlflow.entities import Metric

    return [
        Metric(name, float(value), int(1000 * seconds), step) for name, value in metrics.items()
    ]


def params_of(values: Mapping[str, str]) -> list["Param"]:
    """Return parameters, cut to the length that MLflow takes."""
    from mlflow.entities import Param

    return [Param(name, value[:6000]) for name, value in values.items()]


@contextmanager
def readable_errors() -> Iterator[None]:
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
        default = FIX_OF_FILE if uri.startswith("sqlite") else FIX_OF_SERVER
        fix = next((fix for symptom, fix in FIXES.items() if symptom in reason), default)
        raise UserError(without_password(f"MLflow store {uri}: {reason}; {fix}")) from None


def without_password(text: str) -> str:
    """Return a text whose addresses have no user and no password.

    >>> without_password("postgresql://me:secret@host/db: 3 runs")
    'postgresql://host/db: 3 runs'
    """
    return re.sub(r"//[^/@\s]*@", "//", text)
