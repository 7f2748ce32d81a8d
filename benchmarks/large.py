"""A folder of many small image files: seconds from the start of a stage to its first batch.

    python benchmarks/large.py [--files 1000000] [--folder /tmp/large]

The folder is made of few distinct images and hard links to them, and is removed at the end. A stage
takes the stamp of the files, lists and splits them and, for the first batch, decodes some. Seconds
of the clock, and of processors with the processes that decode; the memory is the largest so far.
"""

import argparse
import os
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ttfs.data import load
from ttfs.data.stamp import data_stamp
from ttfs.results.provenance import processor

SIDE, CLASSES, BATCH = 28, 1000, 128
TABLE = """\
| work | clock [s] | processor [s] | memory [MiB] |
|---|---|---|---|"""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--files", type=int, default=1_000_000, help="%(default)s")
    parser.add_argument("--folder", type=Path, help="where to make it; a temporary one if left out")
    options = parser.parse_args()
    print(f"{processor()}, Python {sys.version.split()[0]}, {options.files:,} files\n\n{TABLE}")
    place = Path(tempfile.mkdtemp(prefix="large-", dir=options.folder))
    os.environ["TTFS_DATA"] = str(place)
    try:
        timed("the files are made", make, place / "many", options.files)
        measure()
    finally:
        shutil.rmtree(place)


def make(folder: Path, files: int) -> None:
    """Write an image for each class, and hard links to it."""
    random = np.random.default_rng(0)
    for label in range(CLASSES):
        place = folder / f"{label:04}"
        place.mkdir(parents=True)
        first = place / "000000.png"
        pixels = random.integers(0, 256, (SIDE, SIDE), dtype=np.uint8)
        Image.fromarray(pixels).save(first)
        for number in range(1, files // CLASSES):
            os.link(first, place / f"{number:06}.png")


def measure() -> None:
    """Time each step of a stage until its second epoch."""
    config = {
        "id": "many", "source": {"folder": "many"}, "shape": [1, SIDE, SIDE],
        "classes": CLASSES, "test": 0.1, "validation": 0.1,
    }  # fmt: skip
    timed("stamp of the files", data_stamp, config)
    data = timed("data set", load, config)
    batches = data.train.batches(BATCH, torch.Generator().manual_seed(0), augment=True)
    epoch = iter(batches)
    timed("first batch", next, epoch)
    timed("the other batches of the epoch", lambda: sum(len(labels) for _, labels in epoch))
    timed("second epoch", lambda: sum(len(labels) for _, labels in batches))


def timed(name: str, work: Callable[..., Any], *arguments: Any) -> Any:
    """Print a row for the work; return what it returns."""
    before, start = spent(), time.perf_counter()
    result = work(*arguments)
    clock, processors = time.perf_counter() - start, spent() - before
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"| {name} | {clock:.2f} | {processors:.2f} | {memory:.0f} |", flush=True)
    return result


def spent() -> float:
    """Return the processor seconds of this process and its ended children."""
    of = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in of)


if __name__ == "__main__":
    main()
