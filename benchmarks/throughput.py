"""How fast networks train, beside how fast the machine multiplies matrices.

    python benchmarks/throughput.py [--models airbench-64 vgg16] [--precision bfloat16 float32]
        [--shape 3 32 32] [--threads 2] [--images 4096] [--epochs 4] [--device cpu] [--profile]

Each network trains by `ttfs.training.fit` on noise, with optimizer, augmentation and averaging of
the method that the grids train it with. The table gives images a second, the median over epochs but
the first, each with a validation of 100 images; operations a second, 6 for each multiply-accumulate
of a forward pass (2 forward, 4 backward); and their share of those in a product of two 4096×4096
matrices of the same precision.
`--profile` prints the operators that take the most time, and their share.
"""

import argparse
import os
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import speed
import torch
from torch import nn
from torch.profiler import profile
from torch.utils.flop_counter import FlopCounterMode

from ttfs.config import read_named
from ttfs.data import DataSet
from ttfs.data.augment import Augment
from ttfs.data.inputs import InMemory
from ttfs.data.splits import Split
from ttfs.methods._precision import has_bfloat16
from ttfs.models import build
from ttfs.stages.process import keep_freed_memory
from ttfs.training import fit

METHODS = {
    "airbench-64": "ann-airbench",
    "airbench-128": "ann-airbench",
    "airbench-128-residual": "ann-airbench",
    "resnet9": "ann-airbench",
    "resnet18-cifar": "ann-onecycle",
    "resnet20": "ann-onecycle",
    "resnet56": "ann-onecycle",
    "vgg16": "ann-onecycle",
    "vgg16-bn": "ann-onecycle",
}
CLASSES = 10
SIDE = 4096  # of the matrices
SHOWN = 12  # operators
HEAD = """\
| network | multiply-accumulates [M] | precision | images/s | GFLOP/s | of the matrix product |
|---|---|---|---|---|---|"""


def matrix_rate(precision: str, device: str) -> float:
    """Return the operations a second of a product of two square matrices: the best of five."""
    kind = getattr(torch, precision)
    left, right = (torch.rand(SIDE, SIDE, device=device).to(kind) for _ in range(2))

    def product() -> float:
        begun = clock(device)
        left @ right
        return clock(device) - begun

    product()
    return 2 * SIDE**3 / min(product() for _ in range(5))


def noise(shape: tuple[int, ...], images: int, augment: dict[str, Any]) -> DataSet:
    """Return a data set of noise, with 100 images for validation, whose time counts too."""

    def split(count: int) -> Split:
        pixels = torch.randint(256, (count, *shape), dtype=torch.uint8)
        labels = torch.randint(CLASSES, (count,))
        return Split(InMemory(pixels), labels, Augment(**augment), None, CLASSES)

    return DataSet(split(images), split(100), split(1), shape, CLASSES, (0.0, 1.0), "noise")


def forward_operations(network: nn.Module, shape: tuple[int, ...]) -> int:
    """Return the operations of a forward pass of one image, 2 for each multiply-accumulate."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.eval()(torch.rand(1, *shape))
    return counter.get_total_flops()


def seconds_an_epoch(
    network: nn.Module, data: DataSet, config: dict[str, Any], device: str
) -> float:
    """Train, and return the median of the epochs but the first."""
    ends: list[float] = []
    fit(
        network.train(), data, config, ("throughput",), device, lambda _: ends.append(clock(device))
    )
    return statistics.median(after - before for before, after in pairwise(ends))


def clock(device: str) -> float:
    """Return the seconds now, once a device has done what it was given."""
    if device != "cpu":
        torch.accelerator.synchronize()
    return time.perf_counter()


def measure(model: str, limit: float, options: argparse.Namespace, precision: str) -> str:
    """Return the row of a network."""
    shape = tuple(options.shape)
    torch.manual_seed(0)
    network = build(read_named("model", model, "--models"), shape, CLASSES)
    operations = forward_operations(network, shape)
    config = read_named("method", METHODS[model], "")["train"]
    config |= {"precision": precision, "epochs": options.epochs}
    data = noise(shape, options.images, config["augment"])
    with operators(options.profile):
        network = network.to(options.device)
        rate = options.images / seconds_an_epoch(network, data, config, options.device)
    done = 3 * operations * rate
    return (
        f"| {model} | {operations / 2e6:.0f} | {precision} | {rate:,.0f} | {done / 1e9:,.0f} | "
        f"{done / limit:.2f} |"
    )


@contextmanager
def operators(asked: bool) -> Iterator[None]:
    """Print the operators that take the most time of a block, if asked."""
    if not asked:
        yield
        return
    with profile() as profiled:
        yield
    table = profiled.key_averages().table(sort_by="self_cpu_time_total", row_limit=SHOWN)
    print(table, flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--models", nargs="+", choices=METHODS, default=list(METHODS))
    precisions = ("bfloat16", "float32")
    parser.add_argument(
        "--precision", nargs="+", choices=precisions, help="(those that the device has units for)"
    )
    parser.add_argument("--shape", nargs=3, type=int, default=[3, 32, 32], metavar=["C", "H", "W"])
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="(%(default)s)")
    parser.add_argument("--images", type=int, default=4096, help="of an epoch (%(default)s)")
    parser.add_argument("--epochs", type=int, default=4, help="(%(default)s)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--profile", action="store_true", help="print where the time goes")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    keep_freed_memory()  # as the stages of a run do
    print(
        f"{speed.machine(options.device)}, {options.threads} threads, torch {torch.__version__}\n"
    )
    print(HEAD)
    units = precisions if has_bfloat16(options.device) else ("float32",)
    for precision in options.precision or units:
        limit = matrix_rate(precision, options.device)
        print(f"| product of matrices | – | {precision} | – | {limit / 1e9:,.0f} | 1 |", flush=True)
        for model in options.models:
            print(measure(model, limit, options, precision), flush=True)


if __name__ == "__main__":
    main()
