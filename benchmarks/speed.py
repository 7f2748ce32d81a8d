"""What spikes cost: time of a TTFS network over the time of the ReLU network it came from.

    python benchmarks/speed.py [--models fc2 lenet5 vgg16] [--threads 1] [--device cpu] [--seconds 20]

Both run in turn, in one process, on the same images; the table gives the median time of an inference and of a train
step (forward, backward, SGD), and the median over turns of the ratio TTFS / ReLU. Batch norm is folded into the TTFS
network, so where the ReLU network has it the ratio can fall below 1.
"""

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ttfs.config import CONFIGS, read_yaml
from ttfs.models import build
from ttfs.snn import convert

CLASSES = 10
SIZES = {"fc2": ((1, 28, 28), 128), "lenet5": ((1, 28, 28), 128), "vgg16": ((3, 32, 32), 16)}  # image, batch


def inference(network: nn.Module, images: Tensor, labels: Tensor) -> Callable[[], None]:
    """Return one inference, as a call."""

    def step() -> None:
        with torch.no_grad():
            network(images)

    return step


def train_step(network: nn.Module, images: Tensor, labels: Tensor) -> Callable[[], None]:
    """Return one train step, as a call."""
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-4)

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(network(images), labels).backward()
        optimizer.step()

    return step


def seconds(step: Callable[[], None], device: str) -> float:
    """Time one call, the work it left to the device included."""
    start = time.perf_counter()
    step()
    if device != "cpu":
        torch.accelerator.synchronize()
    return time.perf_counter() - start


def compare(relu: Callable[[], None], ttfs: Callable[[], None], device: str, budget: float) -> tuple[float, float, int]:
    """Return the median seconds of the ReLU network, the median ratio TTFS / ReLU, and the number of turns."""
    for step in (relu, ttfs, relu, ttfs):
        seconds(step, device)  # warm caches and allocators
    turns: list[tuple[float, float]] = []
    end = time.perf_counter() + budget
    while len(turns) < 10 or time.perf_counter() < end:
        if len(turns) % 2:  # who goes first takes turns too
            second, first = seconds(ttfs, device), seconds(relu, device)
        else:
            first, second = seconds(relu, device), seconds(ttfs, device)
        turns.append((first, second))
    ratio = statistics.median(second / first for first, second in turns)
    return statistics.median(first for first, _ in turns), ratio, len(turns)


def measure(model: str, device: str, budget: float) -> str:
    """Return the table's row of one network."""
    shape, size = SIZES[model]
    torch.manual_seed(0)
    relu = build(read_yaml(CONFIGS / "models" / f"{model}.yaml", "model"), shape, CLASSES).to(device)
    images, labels = torch.rand(size, *shape, device=device), torch.randint(0, CLASSES, (size,), device=device)
    cells = [model, str(size)]
    for mode, kind in ((False, inference), (True, train_step)):
        ttfs = convert(relu.train(mode), images)
        first, ratio, turns = compare(kind(relu, images, labels), kind(ttfs, images, labels), device, budget)
        cells += [f"{1e3 * first:.2f}", f"{ratio:.3f}", str(turns)]
    return f"| {' | '.join(cells)} |"


def machine(device: str) -> str:
    """Return the name of the processor that does the work."""
    if device != "cpu":
        return torch.cuda.get_device_name(device)
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--threads", type=int, default=1, help="torch threads")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seconds", type=float, default=20.0, help="time for each network and kind of step")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"{machine(arguments.device)}, {torch.get_num_threads()} threads, torch {torch.__version__}, float32\n")
    kinds = " | ".join(f"{kind}, ReLU [ms] | TTFS / ReLU | turns" for kind in ("inference", "train step"))
    print(f"| model | batch | {kinds} |\n|---|---|---|---|---|---|---|---|")
    for model in arguments.models:
        print(measure(model, arguments.device, arguments.seconds), flush=True)


if __name__ == "__main__":
    main()
