"""The workflow's cost beside the networks': starts, planning, tables, and many tiny cells.

    python benchmarks/cells.py [--networks 1000 5000] [--cells 12]

Times are processor seconds, children included, which other work on the machine changes little.
The plan is `snakemake -n` on a grid of so many networks of which nothing is made: two jobs each.
The tables are those of the first number of networks, each with a made-up record. The tiny cells
are networks trained for one epoch on the digits; a run of some and a run of half as many give the
cost of one more, from which follows that of a thousand. The share of starts is the time of a run
that has nothing to do, of the server that imports torch, and, for each stage, of one that finds its
cell current, over the time of the whole run.
"""

import argparse
import ctypes
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from kit.records import made_up
from kit.sandbox import Sandbox

from ttfs.results.provenance import processor
from ttfs.results.record import write
from ttfs.stages.server import SERVER

GRID = """\
datasets: [digits]
models: [fc2]
methods: [ann]
seeds: [{seeds}]
"""
TABLE = """\
| work | processor [s] | wall [s] |
|---|---|---|"""
VERBS = (["--help"], ["show", "configs/tiny{cells}.yaml"], ["check", "configs/tiny{cells}.yaml"])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--networks", type=int, nargs="+", default=[1000, 5000])
    parser.add_argument("--cells", type=int, default=12, help="tiny cells to run (%(default)s)")
    options = parser.parse_args()
    print(f"{processor()}, Python {sys.version.split()[0]}\n")
    print(TABLE)
    for row in rows(options.networks, options.cells):
        print(row, flush=True)


def rows(networks: Sequence[int], cells: int) -> Iterator[str]:
    """Yield the table's rows."""
    ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER: a server's time counts here, too
    with tempfile.TemporaryDirectory() as folder:
        sandbox = Sandbox(Path(folder, "sandbox")).build()
        sandbox.edit("configs/datasets/digits.yaml", "epochs: 2", "epochs: 1")
        yield from planned(sandbox, networks)
        yield from tiny(sandbox, cells)
        for words in VERBS:
            filled = [word.format(cells=cells) for word in words]
            times = sorted(timed(sandbox, "-m", "ttfs", *filled) for _ in range(5))
            yield row(f"`ttfs {words[0]}`, median of 5", times[2])


def planned(sandbox: Sandbox, networks: Sequence[int]) -> Iterator[str]:
    """Yield rows of grids of many networks."""
    for count in networks:
        _write_grid(sandbox, "many", count)
        words = ("--dry-run", "--quiet", "all")
        taken = timed(sandbox, *sandbox.command(*words, grid="configs/many.yaml")[1:])
        yield row(f"plan of {count} networks, `snakemake -n`", taken)
    _write_grid(sandbox, "many", networks[0])
    for seed in range(networks[0]):
        write(made_up(seed=seed), sandbox.cell(f"ann/seed{seed}"))
    taken = timed(sandbox, "-m", "ttfs", "tables", "configs/many.yaml")
    yield row(f"tables of {networks[0]} networks", taken)


def tiny(sandbox: Sandbox, cells: int) -> Iterator[str]:
    """Yield rows of a run of tiny cells, of a thousand, and of the share of starts."""
    shutil.rmtree(sandbox.folder / "results")
    taken = {}
    for count in (cells // 2, cells):
        _write_grid(sandbox, f"tiny{count}", count, first=1000 * count)
        taken[count] = timed(sandbox, *sandbox.command(grid=f"configs/tiny{count}.yaml")[1:])
        yield row(f"{count} tiny cells, whole run", taken[count])
    (few, _), (many, _) = taken.values()  # wall times are too unsteady for a difference
    cost = (many - few) / (cells - cells // 2)
    yield row("one more tiny cell", (cost, float("nan")))
    thousand = many + cost * (1000 - cells)
    yield row("1,000 tiny cells, extrapolated", (thousand, float("nan")))
    nothing = timed(sandbox, *sandbox.command(grid=f"configs/tiny{cells}.yaml")[1:])[0]
    server, stages = served(sandbox, cells, 1), served(sandbox, cells, 11)
    starts = nothing + server + 2 * cells * (stages - server) / 10
    yield row("a run that has nothing to do", (nothing, float("nan")))
    yield row("server and one stage of a current cell", (server, float("nan")))
    yield row("one more stage of a current cell", ((stages - server) / 10, float("nan")))
    yield f"| share of starts, {cells} tiny cells | {starts / many:.0%} | |"


def served(sandbox: Sandbox, cells: int, requests: int) -> float:
    """Return the processor seconds of a server and of stages that find their cell current."""
    before = _spent()
    run = subprocess.Popen(["sleep", "600"])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "socket")
        grid = f"configs/tiny{cells}.yaml"
        words = [sys.executable, "-m", "ttfs", "serve", str(path), str(run.pid), grid]
        quiet = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
        server = subprocess.Popen(words, cwd=sandbox.folder, env=sandbox.environment, **quiet)
        while not path.exists():
            time.sleep(0.05)
        cell = f"digits/fc2/ann/seed{1000 * cells}"
        for _ in range(requests):
            subprocess.run(
                [sys.executable, "-m", "ttfs", "evaluate", grid, cell],
                cwd=sandbox.folder, env=sandbox.environment | {SERVER: str(path)}, check=True,
            )  # fmt: skip
        run.kill()
        run.wait()
        server.wait()
    return _spent() - before


def timed(sandbox: Sandbox, *words: str) -> tuple[float, float]:
    """Run Python; return the processor and wall seconds, those of processes left behind too."""
    before, start = _spent(), time.perf_counter()
    environment = sandbox.environment | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *words], cwd=sandbox.folder, env=environment,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    wall = time.perf_counter() - start
    assert done.returncode == 0, words
    while True:
        try:
            os.wait()
        except ChildProcessError:
            return _spent() - before, wall


def row(name: str, taken: tuple[float, float]) -> str:
    """Return a row of the table."""
    processor, wall = (f"{value:.2f}" if value == value else "" for value in taken)
    return f"| {name} | {processor} | {wall} |"


def _spent() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _write_grid(sandbox: Sandbox, name: str, count: int, first: int = 0) -> None:
    seeds = ", ".join(str(first + seed) for seed in range(count))
    sandbox.write(f"configs/{name}.yaml", GRID.format(seeds=seeds))


if __name__ == "__main__":
    main()
