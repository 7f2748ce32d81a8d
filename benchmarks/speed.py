"""What spikes and chips cost: time of a TTFS network over the time of the ReLU network it came
from.

    python benchmarks/speed.py [--models fc2 lenet5 vgg16] [--threads 1] [--device cpu] [--seconds
    20]

On a chip, an inference is what a sweep does for each batch of test images: the forward pass on
imperfect hardware.

Both run in turn, in one process, on the same images; the table gives the median time of an
inference and of a train step (forward, backward, SGD; in the TTFS network the windows grow too),
and the median over turns of the ratio TTFS / ReLU. Networks are built without batch norm and
dropout, which a TTFS network has not either: both do the same multiplications.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ttfs.config import read_named
from ttfs.hardware import Hardware, deploy
from ttfs.models import build
from ttfs.results.provenance import processor
from ttfs.snn import NEURONS, SpikingNetwork, WindowGrowth, convert

CLASSES = 10
SIZES = {
    "fc2": ((1, 28, 28), 128),
    "lenet5": ((1, 28, 28), 128),
    "vgg16": ((3, 32, 32), 16),
}  # image, batch

SWEPT = 500  # images in a batch of a sweep
CHIPS = {
    "b1, 4-bit time": Hardware(time_bits=4, time_rounding="nearest", window_quantile=0.99),
    "b1, 4-bit weights": Hardware(weight_bits=4),
    "b1, 2 % jitter": Hardware(jitter=0.02),
    "b1, all of these": Hardware(
        jitter=0.02, time_bits=4, time_rounding="nearest", weight_bits=4, window_quantile=0.99
    ),
}


def inference(network: nn.Module, images: Tensor, labels: Tensor) -> Callable[[], None]:
    """Return one inference, as a call."""

    def step() -> None:
        with torch.no_grad():
            network(images)

    return step


def train_step(network: nn.Module, images: Tensor, labels: Tensor) -> Callable[[], None]:
    """Return one train step, as a call."""
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-4)
    windows = WindowGrowth(network, 10.0) if isinstance(network, SpikingNetwork) else None
    if windows:
        windows.start()

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(network(images), labels).backward()
        optimizer.step()
        if windows:
            windows.grow()

    return step


def seconds(step: Callable[[], None], device: str) -> float:
    """Time one call, the work it left to the device included."""
    start = time.perf_counter()
    step()
    if device != "cpu":
        torch.accelerator.synchronize()
    return time.perf_counter() - start


def compare(
    relu: Callable[[], None], ttfs: Callable[[], None], device: str, budget: float
) -> tuple[float, float, int]:
    """Return the median seconds of the ReLU network, the median ratio TTFS / ReLU, and the number
    of turns.
    """
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


def measure(model: str, device: str, budget: float) -> Iterator[str]:
    """Yield the table's rows of one network."""
    shape, size = SIZES[model]
    torch.manual_seed(0)
    config = read_named("model", model, "--models") | {
        "batch_norm": "none",
        "dropout": 0.0,
    }
    relu = build(config, shape, CLASSES).to(device)
    images, labels = (
        torch.rand(size, *shape, device=device),
        torch.randint(0, CLASSES, (size,), device=device),
    )
    for neuron in NEURONS:
        for name, kind in (("inference", inference), ("train step", train_step)):
            ttfs = convert(relu, images, neuron)
            first, ratio, turns = compare(
                kind(relu, images, labels), kind(ttfs, images, labels), device, budget
            )
            yield (
                f"| {model} | {size} | {neuron} | {name} | {1e3 * first:.2f} | {ratio:.3f} | "
                f"{turns} |"
            )
    size = min(SWEPT, size * 4)
    images, labels = (
        torch.rand(size, *shape, device=device),
        torch.randint(0, CLASSES, (size,), device=device),
    )
    plain = inference(relu, images, labels)
    for name, hardware in CHIPS.items():
        chip = deploy(convert(relu, images), hardware, images)
        with (
            parametrize.cached()
        ):  # as in a sweep: few-bit weights are rounded once for all batches
            first, ratio, turns = compare(plain, inference(chip, images, labels), device, budget)
        yield (
            f"| {model} | {size} | {name} | inference | {1e3 * first:.2f} | {ratio:.3f} | {turns} |"
        )


def machine(device: str) -> str:
    """Return the name of the processor that does the work."""
    return processor() if device == "cpu" else torch.cuda.get_device_name(device)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--threads", type=int, default=1, help="torch threads")
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--seconds", type=float, default=20.0, help="time for each network and kind of step"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(
        f"{machine(arguments.device)}, {torch.get_num_threads()} threads, torch "
        f"{torch.__version__}, float32\n"
    )
    print("| model | batch | neuron | kind | ReLU [ms] | TTFS / ReLU | turns |")
    print("|---|---|---|---|---|---|---|")
    for model in arguments.models:
        for row in measure(model, arguments.device, arguments.seconds):
            print(row, flush=True)


if __name__ == "__main__":
    main()
