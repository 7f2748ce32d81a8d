"""Write docs/performance.md from the other benchmarks of speed.

    python benchmarks/performance.py [--seconds 10] [--networks 1000 5000] [--cells 12]

This takes about half an hour on two cores. It is `make bench`.
"""

import argparse
import datetime
import os
import sys
from importlib.metadata import version
from pathlib import Path

import cells
import peers
import speed
import torch

from ttfs.files import atomic_write
from ttfs.results.provenance import processor
from ttfs.stages.process import keep_freed_memory

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
PACKAGES = ("torch", "pytorch-lightning", "snakemake", "numpy")
TEXT = """\
# Performance

Written by `make bench` on {date}: {processor}, Python {python}, {versions}, one thread, float32.
The machine's load was {load:.1f} when it began; other work widens the quartiles. Times are of the
processor; two networks are timed in turn, and a ratio is the median over the turns, with its
quartiles. [Slurm and stores](cluster.md).

## Networks

The ReLU network is the limit: the same multiplications. On a chip, an inference is the forward pass
of a batch of a sweep (`benchmarks/speed.py`).

{times}

Memory is the peak of three train steps above that of the process before them, free memory handed
back.

{memory}

## Other spiking networks

A train step of a network of 784-256-10 neurons over that of the ReLU network; T is the number of
steps (`benchmarks/peers.py`).

{peers}

## Workflow

Processor seconds include all child processes (`benchmarks/cells.py`).

{workflow}
"""


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--models", nargs="+", choices=speed.SIZES, default=list(speed.SIZES))
    parser.add_argument("--seconds", type=float, default=10.0, help="for each ratio (%(default)s)")
    parser.add_argument("--networks", type=int, nargs="+", default=[1000, 5000])
    parser.add_argument("--cells", type=int, default=12, help="tiny cells to run (%(default)s)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    load = os.getloadavg()[0]
    memory = [row for model in options.models for row in speed.memory(model)]
    keep_freed_memory()  # as the stages of a run do; peaks above kept memory would mean nothing
    parts = {
        "memory": memory,
        "times": [
            row for model in options.models for row in speed.measure(model, "cpu", options.seconds)
        ],
        "peers": peers.rows([4, 8, 25], options.seconds),
        "workflow": cells.rows(options.networks, options.cells),
    }
    heads = {
        "memory": speed.MEMORY, "times": speed.TIMES,
        "peers": peers.TABLE, "workflow": cells.TABLE,
    }  # fmt: skip
    tables = {name: "\n".join([heads[name], *rows]) for name, rows in parts.items()}
    said = {
        "load": load,
        "date": datetime.date.today().isoformat(),
        "processor": processor(),
        "python": sys.version.split()[0],
        "versions": ", ".join(f"{name} {version(name)}" for name in PACKAGES),
    }
    atomic_write(PAGE, TEXT.format(**said, **tables))
    print(PAGE)


if __name__ == "__main__":
    main()
