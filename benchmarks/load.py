"""How a large grid weighs on planning and tables, and many writers on a fresh MLflow store.

    python benchmarks/load.py --cells 300 5010 --writers 16

Records are made up: each cell of a grid of so many seeds has the record that its stages would
write, without having run. Prints seconds of `snakemake --dry-run`, `ttfs why` and `ttfs tables`,
and how many of the writers' metrics the store holds.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from kit.records import PROVENANCE, made_up
from kit.sandbox import Sandbox

from ttfs.config import Cell, Grid, load_grid
from ttfs.files import atomic_write
from ttfs.results.record import MADE, WEIGHTS, Made, Record, file_entry, write
from ttfs.results.state import Expected

METHODS = ("ann", "b1-converted")
CHIP = "weight_bits=4"
EPOCHS = 20


def main() -> int:
    """Return the exit status: 0 if all is planned as up to date, and no metric was lost."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--cells", type=int, nargs="*", default=[300, 5010], help="%(default)s")
    parser.add_argument("--writers", type=int, default=16, help="at once (%(default)s)")
    options = parser.parse_args()
    good = True
    for cells in options.cells:
        with tempfile.TemporaryDirectory() as folder:
            good &= _plan(Sandbox(Path(folder, "large")).build(), cells)
    if options.writers:
        with tempfile.TemporaryDirectory() as folder:
            good &= _write_at_once(Sandbox(Path(folder, "store")).build(), options.writers)
    return 0 if good else 1


def _plan(sandbox: Sandbox, cells: int) -> bool:
    seeds = list(range(cells // 3))  # a ReLU network, a TTFS network, and that on a chip
    sandbox.edit("configs/tiny.yaml", "seeds: [0]", f"seeds: {seeds}")
    started = time.monotonic()
    os.chdir(sandbox.folder)
    grid = load_grid("configs/tiny.yaml")
    _make_up(grid)
    print(f"{len(grid.every)} cells; records written in {time.monotonic() - started:.1f} s")
    good = True
    commands = {
        "ttfs why": ["-m", "ttfs", "why", "configs/tiny.yaml"],
        "ttfs tables": ["-m", "ttfs", "tables", "configs/tiny.yaml"],
        "snakemake --dry-run": sandbox.command("--dry-run", target="tables")[1:],
    }
    for name, words in commands.items():
        started = time.monotonic()
        status, said = sandbox.call(words)
        print(f"  {name:20} {time.monotonic() - started:6.1f} s, exit status {status}", flush=True)
        good &= status == 0 and (name != "ttfs why" or "up to date" in said)
    return good


def _make_up(grid: Grid) -> None:
    """Write the files that the stages of all cells would leave."""
    expected = Expected(grid)
    for cell in grid.cells:
        source = grid.source(cell)
        entry = None if source is None else file_entry(source.folder / WEIGHTS)["sha256"]
        atomic_write(cell.folder / WEIGHTS, f"the weights of {cell.name}")
        files = {WEIGHTS: file_entry(cell.folder / WEIGHTS)}
        made = Made(
            cell.ids, expected.digest("make", cell), expected.code("make", cell),
            grid.make_slice(cell), "data", expected.stamp(cell), entry, files, PROVENANCE,
        )  # fmt: skip
        atomic_write(cell.folder / MADE, made.to_json())
        write(_record(grid, expected, cell, files), cell.folder)
    for cell in grid.deployments:
        files = {WEIGHTS: file_entry(cell.network.folder / WEIGHTS)}
        write(_record(grid, expected, cell, files), cell.folder)


def _record(grid: Grid, expected: Expected, cell: Cell, files: dict) -> Record:
    stage, content = ("deploy", grid.deploy_slice) if cell.hardware else ("evaluate", None)
    digests = {
        "stage": expected.digest(stage, cell),
        "code": expected.code(stage, cell),
        "data": "data",
        "weights": files[WEIGHTS]["sha256"],
        "files": {},
    }
    rows = made_up(cell.method).rows
    if cell.hardware:
        rows = [{**row, "network": "ttfs", "draw": 0} for row in rows if len(row) == 2]
    config = (content or grid.evaluate_slice)(cell)
    return Record(cell.ids, {"make": PROVENANCE, stage: PROVENANCE}, rows, None, config, digests)


WRITER = """
import sys
from ttfs.config import Cell
from ttfs.results.record import CURVE_COLUMNS
from ttfs.results.tracking import LiveRun
with LiveRun("tiny", Cell("digits", "fc2", "ann", int(sys.argv[1])), {}) as live:
    for epoch in range(int(sys.argv[2])):
        live.log(epoch, {name: float(epoch) for name in CURVE_COLUMNS})
"""
COUNT = """
import sqlite3
rows = sqlite3.connect("results/mlflow.db").execute("select count(*) from metrics").fetchone()
print(rows[0])
"""


def _write_at_once(sandbox: Sandbox, writers: int) -> bool:
    started = time.monotonic()
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(number), str(EPOCHS)],
            cwd=sandbox.folder, env=sandbox.environment, stderr=subprocess.PIPE, text=True,
        )
        for number in range(writers)
    ]  # fmt: skip
    said = [run.communicate()[1] for run in runs]
    for warning in sorted({text.strip().rpartition("\n")[2] for text in said}):
        print(f"  said: {warning[:300]}")
    failed = _failed(runs, said)
    found = int(sandbox.python(COUNT))
    wanted = writers * EPOCHS * 5
    print(
        f"{writers} writers on a fresh store: {found} of {wanted} metrics in "
        f"{time.monotonic() - started:.0f} s, {failed} failed"
    )
    return found == wanted and not failed


def _failed(runs: Sequence[subprocess.Popen], said: Sequence[str]) -> int:
    broken = [text for run, text in zip(runs, said, strict=True) if run.returncode]
    for text in broken[:1]:
        print(text[-2000:])
    return len(broken)


if __name__ == "__main__":
    sys.exit(main())
