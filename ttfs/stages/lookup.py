"""Records by the names that a user has for them: a file, a folder, a cell, a grid, a commit."""

import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path

from ttfs.config import RESULTS, STORE, Cell, Grid, Stage, Study, load_grid
from ttfs.config.read import grid_path, grid_paths
from ttfs.errors import UserError
from ttfs.results.frame import collect
from ttfs.results.record import FAILURE, RECORD, Record, read, readable

PUBLISHED = RESULTS / "published"
STORES = (STORE, PUBLISHED / "cells")
"""Where records lie; the first that has a cell is taken."""
CELLS = ("*/*/*/*", "*/*/*/*/hardware/*", "studies/*")
"""Patterns of the folders of cells in a store. They follow links, as `**` does not."""
COMMIT = re.compile(r"[0-9a-f]{7,40}")


def find(name: str) -> dict[str, Record]:
    """Return {cell: record} of a record's file or folder, a cell, a grid, or a commit.

    A grid is named by its file or its id; a commit, by seven or more digits, stands for all records
    that it made, earlier ones too. Raises UserError if nothing has this name.
    """
    path = _path(name)
    if path is not None:
        record = read(path)
        return {record.name: record}
    grid = grid_path(name)
    if grid.suffix == ".yaml" and grid.is_file():
        return {record.name: record for record in collect(load_grid(grid)).records}
    found = dict(_of_commit(name)) if COMMIT.fullmatch(name) else {}
    if not found:
        raise UserError(
            f"{name}: no record, cell, grid or commit of this name; name a folder of "
            f"{STORE}, a grid such as configs/quick.yaml, or a commit"
        )
    return found


def one(name: str) -> Record:
    """Return the one record of a name. Raises UserError if there are several."""
    found = find(name)
    if len(found) > 1:
        raise UserError(f"{name}: stands for {len(found)} records; name one, such as {min(found)}")
    return next(iter(found.values()))


def _path(name: str) -> Path | None:
    """The file of a record that is named by itself, its folder, or its cell."""
    if name.endswith(".json") and Path(name).is_file():
        return Path(name)
    folders = [Path(name), *(store / name for store in STORES)]
    candidates = (folder / file for folder in folders for file in (RECORD, FAILURE))
    return next((path for path in candidates if path.is_file()), None)


def every() -> Iterator[tuple[Path, Record]]:
    """Yield all records of the store and of what is published, each cell once."""
    seen: set[str] = set()
    for store in STORES:
        for path in _files(store, RECORD):
            name = str(path.parent.relative_to(store))
            if name not in seen:
                seen.add(name)
                yield path, read(path)


def _files(store: Path, pattern: str) -> list[Path]:
    """The files of a pattern in all cells of a store, folders that are links included."""
    return sorted(path for cell in CELLS for path in store.glob(f"{cell}/{pattern}"))


def _of_commit(commit: str) -> Iterator[tuple[str, Record]]:
    for store in reversed(STORES):  # of a cell's records the last counts
        before = readable(_files(store, "history/*.json"))
        for record in chain(before, map(read, _files(store, RECORD))):
            commits = [part.git_commit or "" for part in record.provenance.values()]
            if any(one.startswith(commit) for one in commits):
                yield record.name, record


def grid_of(name: str) -> tuple[Grid, Cell | Study] | None:
    """Return a grid that has a cell: one that ran here, or else one of configs/, or a shipped one.

    None without one; a grid that cannot be read is passed over.
    """
    ran = [path.read_text(errors="replace").strip() for path in sorted(RESULTS.glob("*/.grid"))]
    for file in dict.fromkeys([*map(grid_path, ran), *grid_paths()]):
        with suppress(UserError):  # its own verbs say what is wrong with it
            grid = load_grid(file)
            cell = next((cell for cell in grid.every if cell.name == name), None)
            if cell is not None:
                return grid, cell
    return None


def stage_of(cell: Cell | Study) -> Stage:
    """Return the stage that writes the record of a cell."""
    if isinstance(cell, Study):
        return "study"
    return "deploy" if cell.hardware else "evaluate"
