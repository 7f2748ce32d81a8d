"""explain: where a number comes from, and the one command that makes it again."""

from collections.abc import Iterator
from pathlib import Path

from ttfs.config import RESULTS
from ttfs.errors import UserError
from ttfs.metrics import METRICS
from ttfs.results.record import Record
from ttfs.results.tracking.runs import flat
from ttfs.stages.lookup import every, grid_of, one

MATCHES = 10
"""Records of a number that are listed, at most."""


def explain(what: str) -> int:
    """Print record, configuration, data, commit, log and command of a record or cell; of a number,
    the records that hold it.
    """
    try:
        number = float(what)
    except ValueError:
        for line in _record(one(what)):
            print(line)
        return 0
    found = list(_holders(what, number))
    if not found:
        raise UserError(f"{what}: no record has this number; tables have means, records have seeds")
    for line in found[:MATCHES]:
        print(line)
    if len(found) > MATCHES:
        print(f"… and {len(found) - MATCHES} more")
    print("`ttfs explain <cell>` says where one of them comes from")
    return 0


def _record(record: Record) -> Iterator[str]:
    yield record.name
    for name, value in record.metrics.items():
        yield f"  {METRICS[name].title}: {value:{METRICS[name].digits}} ({value!r})"
    if record.error:
        yield f"  failed: {record.error}"
    yield "configuration:"
    for key, text in flat(record.config).items():
        yield f"  {key}: {text}"
    yield f"data: digest {record.digests.get('data')}"
    for stage, part in record.provenance.items():
        changed = ", files changed since" if part.git_dirty else ""
        yield (
            f"{stage}: commit {part.git_commit}{changed}, {part.finished}, "
            f"{part.wall_seconds:g} s, {part.processor}, {part.device}, {part.threads} threads"
        )
    for log in sorted(RESULTS.glob(f"*/logs/{record.name}/*.log")):
        yield f"log: {log}"
    grid, _ = grid_of(record.name)
    yield f"the same numbers again: ttfs reproduce {grid.file} {record.name}"


def _holders(text: str, number: float) -> Iterator[str]:
    """Lines of the records with a number that is printed as the text."""
    digits = len(text.partition(".")[2])
    for path, record in every():
        for name, value in record.metrics.items():
            if round(value, digits) == number:
                yield f"{Path(path).parent}: {name} {value!r}"
