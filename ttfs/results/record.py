"""The record: one JSON file a cell, the one truth from which tables, figures and the MLflow store
are made.

A record is provenance and rows. A row is one number: ``{metric, value, **dimensions}``, where
dimensions tell the numbers of one metric apart: a layer, a class, a draw, a step. A cell's folder
holds

- ``made.json``: what `make` made, with checksums of weights.pt and curve.csv;
- ``record.json`` where the cell succeeded, or ``failure.json`` where it did not: a failure is a
  result too;
- ``history/``: earlier records of the cell.
"""

import csv
import hashlib
import json
import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from ttfs.errors import UserError
from ttfs.files import atomic_write, checksum
from ttfs.metrics import METRICS
from ttfs.results.provenance import Provenance

SCHEMA = 2
RECORD, FAILURE, MADE, WEIGHTS, CURVE = (
    "record.json",
    "failure.json",
    "made.json",
    "weights.pt",
    "curve.csv",
)
CURVE_COLUMNS = (
    "train_loss",
    "train_accuracy",
    "validation_loss",
    "validation_accuracy",
    "learning_rate",
)
"""The columns of a ``curve.csv`` after ``epoch``, and the names of the live metrics in MLflow."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Made:
    """The files that `make` left in a cell's folder: ``files`` is {name: SHA-256 and size}."""

    ids: Mapping[str, Any]
    digest: str
    """Digest of configuration and code, that of the source included."""
    code: str
    config: Mapping[str, Any]
    data: str
    """Digest of the contents of the data set."""
    stamp: str | None
    """Digest of the names, sizes and times of its files."""
    source: str | None
    """SHA-256 of the weights it started from."""
    files: Mapping[str, Mapping[str, Any]]
    provenance: Provenance

    def to_json(self) -> str:
        """Return the content of ``made.json``."""
        return _sealed({"schema": SCHEMA, **asdict(self)})


@dataclass(frozen=True)
class Record:
    """The result of a cell. With an ``error`` it is a failure.

    ``config`` is the slice of the configuration that the numbers depend on. ``digests`` holds
    "stage" (configuration and code), "code", "data" and "weights" (SHA-256 of the network it is
    about). ``provenance`` is {stage: provenance}. Raises ValueError for a metric that `METRICS`
    does not know and for a value that is no finite number.
    """

    ids: Mapping[str, Any]
    provenance: Mapping[str, Provenance]
    rows: Sequence[Row] = ()
    error: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    digests: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for row in self.rows:
            _check_row(row)

    @property
    def name(self) -> str:
        """Place of the record below the store."""
        return name_of(self.ids)

    @property
    def status(self) -> Literal["ok", "failed"]:
        """``failed`` where there is an error, else ``ok``."""
        return "ok" if self.error is None else "failed"

    def value(self, metric: str, **dimensions: Any) -> float | None:
        """Return the value of the row with exactly these dimensions, None without one."""
        wanted = {"metric": metric, **dimensions}
        return next((r["value"] for r in self.rows if _key(r) == wanted), None)

    @property
    def metrics(self) -> dict[str, float]:
        """The values without dimensions, by metric."""
        return {row["metric"]: row["value"] for row in self.rows if len(row) == 2}

    @property
    def numbers(self) -> dict[str, float]:
        """The values of all rows, by metric and dimensions, such as "accuracy class=0"."""
        found = {}
        for row in self.rows:
            place = [f"{key}={value}" for key, value in dimensions(row).items()]
            found[" ".join([row["metric"], *place])] = row["value"]
        return found

    @property
    def unmade(self) -> bool:
        """Whether making the network failed: files beside the record are of an earlier one."""
        return self.error is not None and "make" in self.provenance

    @property
    def error_line(self) -> str:
        """The error in one line, for tables; empty where there is none."""
        return " ".join((self.error or "").split())

    def to_json(self) -> str:
        """Return the record as JSON text: sorted keys, a row a line, finite numbers only."""
        return _sealed({"schema": SCHEMA, "status": self.status, **asdict(self)})


def name_of(ids: Mapping[str, Any]) -> str:
    """Return the place, below the store, of the cell with these ids.

    >>> name_of({"dataset": "mnist", "model": "fc2", "method": "ann", "seed": 0})
    'mnist/fc2/ann/seed0'
    """
    if "study" in ids:
        return f"studies/{ids['study']}"
    own = f"{ids['dataset']}/{ids['model']}/{ids['method']}/seed{ids['seed']}"
    return f"{own}/hardware/{ids['hardware']}" if ids.get("hardware") else own


def write(record: Record, folder: Path) -> Path:
    """Write a record into its cell's folder and return the file's path.

    Success is written to ``record.json``, and a ``failure.json`` is removed; a failure is written
    to ``failure.json``. An earlier record moves to ``history/``. Raises UserError if the folder
    cannot be written.
    """
    keep_history(folder)
    if record.status == "ok":
        atomic_write(folder / RECORD, record.to_json())
        (folder / FAILURE).unlink(missing_ok=True)
        return folder / RECORD
    atomic_write(folder / FAILURE, record.to_json())
    (folder / RECORD).unlink(missing_ok=True)
    return folder / FAILURE


def keep_history(folder: Path) -> None:
    """Copy the record of a folder to ``history/<finished>-<checksum>.json``, where it stays."""
    path = folder / RECORD
    if not path.exists():
        return
    content = path.read_bytes()
    with suppress(ValueError, KeyError, TypeError, AttributeError):
        provenance = json.loads(content)["provenance"]
        finished = max(str(part["finished"]) for part in provenance.values())
        stamp = "".join(c for c in finished[:19] if c.isdigit() or c == "T")
        atomic_write(folder / "history" / f"{stamp}-{checksum(content)[:8]}.json", content)


def earlier(folder: Path) -> Iterator[Record]:
    """Yield the earlier records of a cell, the last first, as `readable` does."""
    return readable(sorted((folder / "history").glob("*.json"), reverse=True))


def readable(history: Iterable[Path]) -> Iterator[Record]:
    """Yield earlier records. One that cannot be read is passed over, with a warning: no run would
    make it anew.
    """
    for path in history:
        try:
            yield read(path)
        except UserError as error:
            fault = str(error).rpartition("; ")[0]
            print(f"warning: {fault}; this earlier record is passed over", file=sys.stderr)


def read(path: Path, name: str | None = None) -> Record:
    """Read one record; with a `name`, it must be that of the cell.

    Raises UserError if the file is no record of this schema, was changed since it was written, or
    is of another cell.
    """
    content = _read_json(path, "record")
    try:
        status = content.pop("status")
        provenance = {
            stage: Provenance(**_texts(part)) for stage, part in content.pop("provenance").items()
        }
        record = Record(**content | {"provenance": provenance, "rows": tuple(content["rows"])})
        if record.status != status:
            raise ValueError(f"status {status!r} with error {record.error!r}")
        if not all(isinstance(value, str | int) for value in record.ids.values()):
            raise TypeError("ids are text and whole numbers")
        own = record.name
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise _unreadable(path, "record", error) from None
    if name is not None and own != name:
        raise UserError(
            f"{path}: is the record of {own}; run the workflow again, which makes its own"
        )
    return record


def told(failures: Iterable[Record]) -> Iterator[str]:
    """Yield a line for each error of the failures, its first; cells that fail alike are counted."""
    names: dict[str, list[str]] = {}
    for record in failures:
        error = (record.error or "").partition("\n")[0]
        names.setdefault(error, []).append(record.name)
    for error, of in names.items():
        more = f" and {len(of) - 1} more" if len(of) > 1 else ""
        yield f"{of[0]}{more}: {error[:300]}"


def read_made(folder: Path) -> Made:
    """Read ``made.json`` of a cell's folder. Raises UserError if it is missing, or no such file."""
    path = folder / MADE
    content = _read_json(path, "list of files")
    try:
        made = Made(**content | {"provenance": Provenance(**_texts(content["provenance"]))})
        if not all({"sha256", "bytes"} <= set(entry) for entry in made.files.values()):
            raise ValueError("files without checksums")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise _unreadable(path, "list of files", error) from None
    return made


def file_entry(path: Path) -> dict[str, Any]:
    """Return the SHA-256 and the size of a file, as ``made.json`` holds them."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return {"sha256": digest.hexdigest(), "bytes": path.stat().st_size}


def damaged(
    folder: Path, files: Mapping[str, Mapping[str, Any]], listed: str, closely: bool = False
) -> str | None:
    """Return which file of a folder is missing or changed, None if all are as they were written.

    `listed` is the name of the file that lists them, and is written after them. Sizes are compared;
    checksums too of files that are newer than the list, or of all if `closely`.
    """
    for name, entry in files.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        found, written = path.stat(), (folder / listed).stat().st_mtime_ns
        if found.st_size != entry["bytes"]:
            return f"{name} was changed since it was made"
        look = closely or found.st_mtime_ns > written
        if look and file_entry(path)["sha256"] != entry["sha256"]:
            return f"{name} was changed since it was made"
    return None


def read_curve(folder: Path) -> list[dict[str, float]]:
    """Return the rows of a cell's ``curve.csv``, one an epoch; empty if the cell has none.

    Raises UserError if it is torn, or has other columns or values that are not finite.
    """
    path = folder / CURVE
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, strict=True))
        found = [{str(name): float(value) for name, value in row.items()} for row in rows]
        for row in found:
            if tuple(row) != ("epoch", *CURVE_COLUMNS):
                raise ValueError(f"columns {', '.join(row)}")
            if not all(map(math.isfinite, row.values())):
                raise ValueError("a value that is not finite")
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise UserError(f"{path}: not a readable curve ({error}); run the workflow again") from None
    return found


def curve_text(rows: Sequence[Mapping[str, float]]) -> str:
    """Return the content of ``curve.csv``."""
    lines = [",".join(("epoch", *CURVE_COLUMNS))]
    lines += [",".join(f"{row[name]:.10g}" for name in ("epoch", *CURVE_COLUMNS)) for row in rows]
    return "\n".join(lines) + "\n"


def dimensions(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the dimensions of a row: all keys but metric and value."""
    return {key: value for key, value in row.items() if key not in ("metric", "value")}


def _key(row: Row) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key != "value"}


def _check_row(row: Any) -> None:
    if not isinstance(row, Mapping) or not {"metric", "value"} <= set(row):
        raise ValueError("a row is no {metric, value, …}")
    if row["metric"] not in METRICS:
        raise ValueError(f"unknown metric {row['metric']!r}: add a module to ttfs/metrics")
    value = row["value"]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{row['metric']} is {str(value)[:40]!r}, no finite number")
    for key, part in dimensions(row).items():
        if not isinstance(part, str | int | float):
            raise ValueError(f"dimension {key!r} is {str(part)[:40]!r}, no text or number")


def _texts(provenance: Any) -> dict[str, Any]:
    """The content of a provenance, if each value is of its type."""
    fields = dict(provenance)
    for key in ("platform", "processor", "device", "finished"):
        if not isinstance(fields[key], str):
            raise TypeError(f"{key} is no text")
    if isinstance(fields["wall_seconds"], bool) or not isinstance(
        fields["wall_seconds"], int | float
    ):
        raise TypeError("wall_seconds is no number")
    if not isinstance(fields["versions"], Mapping):
        raise TypeError("versions is no list of packages")
    from datetime import datetime

    datetime.fromisoformat(fields["finished"])
    return fields


def _sealed(content: dict[str, Any]) -> str:
    """JSON text that ends in the checksum of the text before it."""
    body = _dump(content)
    return body[:-2] + f',\n  "checksum": "{checksum(body.encode())}"\n}}\n'


def _dump(content: Mapping[str, Any]) -> str:
    """JSON, sorted, indented by 2; each row of ``rows`` on one line."""
    rows = content.get("rows")
    rest = {key: value for key, value in content.items() if key != "rows"}
    text = json.dumps(rest, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    if rows is None:
        return text
    lines = ",\n".join(
        "    " + json.dumps(row, ensure_ascii=False, allow_nan=False) for row in rows
    )
    return text[:-2] + f',\n  "rows": [\n{lines}\n  ]\n}}'


def _read_json(path: Path, what: str) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text, parse_constant=_refuse_constant)
        seal = content.pop("checksum")
        schema = content.pop("schema")
        if schema != SCHEMA:
            raise ValueError(f"schema {schema} where this version of ttfs reads schema {SCHEMA}")
        body = text[: text.rindex(',\n  "checksum"')] + "\n}"
        if checksum(body.encode()) != seal:
            raise ValueError("it was changed since it was written")
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise _unreadable(path, what, error) from None
    return content


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no finite number")


def _unreadable(path: Path, what: str, error: Exception) -> UserError:
    reason = f"missing key {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
    return UserError(
        f"{path}: not a readable {what} ({reason[:200]}); run the workflow again, which makes it "
        "anew"
    )
