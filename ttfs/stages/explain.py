"""explain: where a number comes from, and the one command that makes it again."""

import re
from collections.abc import Iterator
from contextlib import suppress
from decimal import Decimal, InvalidOperation

from ttfs.config import RESULTS, Cell, Grid, Study
from ttfs.errors import UserError
from ttfs.metrics import METRICS
from ttfs.results.record import RECORD, Record, read
from ttfs.results.state import State
from ttfs.results.tracking.runs import texts
from ttfs.stages.compare import some, whole_first
from ttfs.stages.lookup import every, grid_of, one, stage_of
from ttfs.stages.reproduce import stages

MATCHES = 10
"""Records of a number that are listed, at most."""
THOUSANDS = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?")
"""A number with commas, as tables print it."""


def explain(what: str) -> int:
    """Print record, configuration, data, commit, log and command of a record or cell; of a number,
    the records that hold it.
    """
    number = _number(what)
    if number is None:
        for line in _record(one(what)):
            print(line)
        return 0
    found = [line for _, line in sorted(_holders(number), key=lambda pair: pair[0])]
    if not found:
        raise UserError(f"{what}: no record has this number; tables have means, records have seeds")
    print("\n".join(some(found, MATCHES)))
    print("`ttfs explain <cell>` says where one of them comes from")
    return 0


def _number(text: str) -> Decimal | None:
    """A number with the digits that it is written with; None of another text.

    >>> _number("-87,935.40"), _number("1_000"), _number("1,00")
    (Decimal('-87935.40'), None, None)
    """
    if "_" in text:  # which Decimal would read over
        return None
    if THOUSANDS.fullmatch(text):
        text = text.replace(",", "")
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _record(record: Record) -> Iterator[str]:
    yield record.name
    numbers = record.numbers
    for key in sorted(numbers, key=whole_first):
        if not key.startswith("confusion"):  # a matrix: it stays in the record
            yield f"  {_shown(key, numbers[key])}"
    if record.error:
        yield f"  failed: {record.error}"
    yield "configuration:"
    for key, text in texts(record.config).items():
        yield f"  {key}: {text}"
    yield f"data: digest {record.digests.get('data')}"
    for stage, part in record.provenance.items():
        changed = ", files changed since" if part.git_dirty else ""
        precision = f", {part.precision}" if part.precision else ""
        yield (
            f"{stage}: commit {part.git_commit}{changed}, {part.finished}, "
            f"{part.wall_seconds:g} s, {part.processor}, {part.device}, {part.threads} "
            f"threads{precision}"
        )
    for log in sorted(RESULTS.glob(f"*/logs/{record.name}/*.log")):
        yield f"log: {log}"
    found = grid_of(record.name)
    if found is None:
        yield "no grid of configs/ has this cell, and no shipped one, so no command makes it again"
        return
    grid, cell = found
    changes = list(_since(record, grid, cell))
    yield from changes
    again = "made again" if changes else "the same numbers again"
    yield f"{again}: ttfs reproduce {grid.file} {record.name}"


def _since(record: Record, grid: Grid, cell: Cell | Study) -> Iterator[str]:
    """Why a number may differ if it is made again now, and how to have the code of then."""
    state, stage = State(grid), stage_of(cell)
    if record.digests.get("stage") != state.expected.digest(stage, cell):
        changed = state.change(stage, cell, record.config, record.digests.get("code"))
        last = max(record.provenance.values(), key=lambda part: part.finished)
        short = (last.git_commit or "")[:7]
        then = f"; the code of then: git worktree add ../ttfs-{short} {short}" if short else ""
        yield f"since then: {changed}, so numbers may differ{then}"
    elif moved := _moved(record, state, cell):
        yield f"since then: {moved}, so numbers may differ"
    if isinstance(cell, Cell) and cell.hardware and not _is_of(record, cell.network.name):
        yield f"since then: {cell.network.name} is another network, so numbers will differ"


def _moved(record: Record, state: State, cell: Cell | Study) -> str | None:
    """Why numbers may differ with the same configuration and code: the first stage that is due of
    all that the cell builds on, or what the record there now is of; None without one there.
    """
    if not (cell.folder / RECORD).exists():
        return None
    for stage, part in stages(state.grid, cell):
        if reason := state.reason(stage, part):
            return f"{stage} {part.name} is due ({reason})"
    now = read(cell.folder / RECORD)
    parts = [key for key in ("weights", "data") if record.digests.get(key) != now.digests.get(key)]
    return f"the cell has other {' and '.join(parts)}" if parts else None


def _is_of(chip: Record, network: str) -> bool:
    """Whether a chip has the network whose record is at hand; also where none is."""
    with suppress(UserError):
        return chip.digests.get("weights") == one(network).digests.get("weights")
    return True


def _shown(key: str, value: float) -> str:
    """A number of a record, by metric and dimensions, as tables print it and in full."""
    name, *place = key.split(" ", 1)
    metric = METRICS[name]
    return f"{' '.join([metric.title, *place])}: {value:{metric.digits}} ({value!r})"


def _holders(number: Decimal) -> Iterator[tuple[int, str]]:
    """Lines of the records with a value that is the number where it is rounded to its digits, each
    with its count of dimensions: numbers of whole networks are to come first.
    """
    digits = -int(number.as_tuple().exponent)
    for path, record in every():
        for key, value in record.numbers.items():
            if round(value, digits) == float(number):
                yield key.count("="), f"{path.parent}: {key} {value!r}"
