"""compare: how two records, cells, grids or commits differ."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from ttfs.results.record import Record
from ttfs.results.state import difference
from ttfs.stages.lookup import find

SHOWN = 20
"""Lines of one list, at most."""


def compare(first: str, second: str) -> int:
    """Print the numbers, configuration, versions and origin in which two things differ.

    Two records are compared with each other; two grids or commits cell by cell.
    """
    before, after = find(first), find(second)
    if len(before) == len(after) == 1:
        _print(_two(next(iter(before.values())), next(iter(after.values()))))
        return 0
    shared = [name for name in before if name in after]
    changed = {name: differing(before[name].numbers, after[name].numbers) for name in shared}
    lines = [f"{name}: {'; '.join(list(found)[:3])}" for name, found in changed.items() if found]
    _print(some(lines))
    alone = [len(before) - len(shared), len(after) - len(shared)]
    print(
        f"{len(shared)} cells in both, {len(lines)} with other numbers; {alone[0]} only in "
        f"{first}, {alone[1]} only in {second}"
    )
    return 0


def _two(before: Record, after: Record) -> Iterator[str]:
    yield f"{before.name} → {after.name}"
    numbers = differing(before.numbers, after.numbers)
    yield "numbers: " + ("all equal" if not numbers else "")
    yield from (f"  {line}" for line in some(numbers))
    yield f"configuration: {difference(before.config, after.config, most=SHOWN) or 'equal'}"
    for name in ("data", "code", "weights"):
        same = before.digests.get(name) == after.digests.get(name)
        yield f"{name}: {'equal' if same else 'differ'}"
    old, new = (origin(record) for record in (before, after))
    yield f"origin: {difference(old, new, most=SHOWN) or 'equal'}"


def differing(old: Mapping[str, float], new: Mapping[str, float]) -> list[str]:
    """The numbers of two records that differ, those of the whole network first."""
    keys = sorted({*old, *new}, key=whole_first)
    return [f"{key} {' → '.join(_texts(old.get(key), new.get(key)))}" for key in keys
            if old.get(key) != new.get(key)]  # fmt: skip


def whole_first(key: str) -> tuple[int, str]:
    """Return the place of a number of a record: those of the whole network come first."""
    return key.count("="), key


def some(lines: Sequence[str], most: int = SHOWN) -> list[str]:
    """Return `most` lines at most, and how many more there are.

    >>> some(["a", "b", "c"], most=2)
    ['a', 'b', '… and 1 more']
    """
    more = [f"… and {len(lines) - most} more"] if len(lines) > most else []
    return [*lines[:most], *more]


def _texts(*values: float | None) -> list[str]:
    """Different numbers as texts, in full where ten digits do not tell them apart.

    >>> _texts(98.7, None), _texts(98.7, 98.70000000000002)
    (['98.7', 'none'], ['98.7', '98.70000000000002'])
    """
    short = ["none" if value is None else f"{value:.10g}" for value in values]
    return short if len({*short}) > 1 else [repr(value) for value in values]


def origin(record: Record) -> dict[str, object]:
    """Commit, versions and machine of each stage."""
    return {
        stage: {
            "commit": part.git_commit, "dirty": part.git_dirty, "processor": part.processor,
            "device": part.device, "threads": part.threads, "precision": part.precision,
            **part.versions,
        }
        for stage, part in record.provenance.items()
    }  # fmt: skip


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        print(line.rstrip())
