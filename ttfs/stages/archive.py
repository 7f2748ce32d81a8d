"""archive: the records and tables of a grid, as small text files that git keeps."""

from collections import defaultdict
from pathlib import Path

from ttfs.config import STORE, Grid
from ttfs.errors import UserError
from ttfs.files import atomic_write
from ttfs.results import tables
from ttfs.results.frame import Results, collect
from ttfs.results.record import RECORD, Record, keep_history, read
from ttfs.stages.lookup import PUBLISHED
from ttfs.stages.study import TABLE

LARGEST_TABLE = 2**20
"""Bytes of a study's table that git shall keep; of a larger one the record has a summary."""


def archive(grid: Grid, mixed: bool = False) -> None:
    """Copy the records of a grid to results/published/cells/ and write its tables beside them.

    An archived record that differs moves to its cell's history/. Nothing is removed before all is
    checked.

    A study's table above 1 MiB is left out, which is said.

    Raises UserError where a cell has no record, or one that is out of date, and, unless `mixed`,
    where seeds of one group come from different code, or a record from files that differ from their
    commit.
    """
    results = collect(grid)
    _check_complete(grid, results)
    if not mixed:
        _check_versions(results)
    for record in results.records:
        _copy(record, PUBLISHED / "cells" / record.name)
    tables.write(Results(grid, results.records), PUBLISHED / grid.name / "tables")
    print(f"{PUBLISHED}: {len(results.records)} records; {PUBLISHED / grid.name / 'tables'}")


def _copy(record: Record, goal: Path) -> None:
    if (goal / RECORD).exists() and read(goal / RECORD) != record:
        keep_history(goal)
    atomic_write(goal / RECORD, record.to_json())
    if "study" in record.ids:
        table = (STORE / record.name / TABLE).read_bytes()
        if len(table) <= LARGEST_TABLE:
            atomic_write(goal / TABLE, table)
        else:
            (goal / TABLE).unlink(missing_ok=True)
            print(f"{record.name}: its table has {len(table):,} bytes and is left out")


def _check_complete(grid: Grid, results: Results) -> None:
    good = {record.name for record in results.records if record.status == "ok"}
    missing = [cell.name for cell in grid.every if cell.name not in good]
    if missing:
        raise UserError(
            f"grid {grid.name}: {len(missing)} cells have no record, {missing[0]} is the first; "
            "run the workflow first"
        )
    if results.stale:
        name, reason = next(iter(results.stale.items()))
        raise UserError(
            f"{name}: its record is out of date with configuration, code or data ({reason}); "
            "run the workflow first"
        )


def _check_versions(results: Results) -> None:
    """Raise UserError where code without a commit made a record, or different code the seeds of a
    mean.
    """
    groups: dict[str, dict[str, str]] = defaultdict(dict)
    for record in results.records:
        for stage, part in record.provenance.items():
            if part.git_dirty or part.git_commit is None:
                state = (
                    "files that differ from their commit" if part.git_dirty else "code outside git"
                )
                raise UserError(
                    f"{record.name}: {stage} ran with {state}; commit and run again, or archive "
                    "--mixed"
                )
        ids = [str(value) for key, value in record.ids.items() if key != "seed"]
        groups["/".join(ids)][record.name] = str(record.digests.get("code"))
    for group, versions in groups.items():
        if len(set(versions.values())) > 1:
            raise UserError(
                f"{group}: its seeds come from {len(set(versions.values()))} versions of the code; "
                "run them with one, or archive --mixed"
            )
