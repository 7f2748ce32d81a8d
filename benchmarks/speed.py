"""What spikes and chips cost: time of a spiking network over the time of the ReLU network it came
from.

    python benchmarks/speed.py [--models fc2 lenet5 vgg16] [--threads 1] [--device cpu] [--seconds
    20]

On a chip, an inference is what a sweep does for each batch of test images: the forward pass on
imperfect hardware.

Both run in turn, in one process, on the same images; the table gives the median time of an
inference and of a train step (forward, backward, SGD; in the TTFS network the windows grow too),
and the median over turns of the ratio to the ReLU network, with its quartiles. On a processor the
time is that of the processor, which other work on the machine changes little. Memory is the peak of
three train steps above that of the process before them. Networks are built without batch norm and
dropout, which a TTFS network has not either: both do the same multiplications. Leaky networks have
batch norm and T steps; rate-coded ones, which have no gradient, T steps.
"""

import argparse
import copy
import ctypes
import gc
import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ttfs.config import read_named
from ttfs.hardware import Hardware, deploy
from ttfs.models import build
from ttfs.results.provenance import processor
from ttfs.snn import NEURONS, SpikingNetwork, WindowGrowth, convert
from ttfs.stages.process import keep_freed_memory
from ttfs.timed import RateNetwork, convert_to_rate, to_leaky

CLASSES = 10
SIZES = {
    "fc2": ((1, 28, 28), 128),
    "lenet5": ((1, 28, 28), 128),
    "vgg16": ((3, 32, 32), 16),
    "resnet18": ((3, 32, 32), 16),
}  # image, batch

RESIDUAL = ("resnet18",)
"""Networks that B1 neurons alone can have: α1 neurons need a chain of layers."""
TIMES = """\
| model | batch | network | kind | ReLU [ms] | spiking / ReLU | quartiles | turns |
|---|---|---|---|---|---|---|---|"""
MEMORY = """\
| model | network | ReLU [MiB] | spiking / ReLU |
|---|---|---|---|"""
STEPS = (4, 10, 25)  # of networks that run for time steps
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
    """Time one call: of the processor, or by the clock with the work it left to a device."""
    clock = time.process_time if device == "cpu" else time.perf_counter
    start = clock()
    step()
    if device != "cpu":
        torch.accelerator.synchronize()
    return clock() - start


class Paired(NamedTuple):
    """Two calls timed in turn: the median seconds of the first, and the quartiles of second over
    first.
    """

    first: float
    quartiles: list[float]
    turns: int

    def __str__(self) -> str:
        low, median, high = self.quartiles
        return f"{1e3 * self.first:.2f} | {median:.3f} | {low:.3f}–{high:.3f} | {self.turns} |"


def compare(
    first: Callable[[], None], second: Callable[[], None], device: str, budget: float
) -> Paired:
    """Time two calls in turn for about so many seconds, each ten times at least."""
    for step in (first, second, first, second):
        seconds(step, device)  # warm caches and allocators
    turns: list[tuple[float, float]] = []
    end = time.perf_counter() + budget
    while len(turns) < 10 or time.perf_counter() < end:
        if len(turns) % 2:  # who goes first takes turns too
            two, one = seconds(second, device), seconds(first, device)
        else:
            one, two = seconds(first, device), seconds(second, device)
        turns.append((one, two))
    ratios = statistics.quantiles((two / one for one, two in turns), n=4)
    return Paired(statistics.median(one for one, _ in turns), ratios, len(turns))


def peak(step: Callable[[], None]) -> float:
    """Return the MiB by which three calls raise the largest memory of a process, which has handed
    back what was free: else the calls use what other networks left.
    """
    reader, writer = os.pipe()
    if os.fork() == 0:
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")  # the largest memory is that of now
        before = largest_memory()
        for _ in range(3):
            step()
        os.write(writer, str(largest_memory() - before).encode())
        os._exit(0)
    os.wait()
    with os.fdopen(reader) as said:
        os.close(writer)
        return float(said.read())


def largest_memory() -> float:
    """Return the largest memory that this process had, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (largest,) = [line.split()[1] for line in lines if line.startswith("VmHWM")]
    return int(largest) / 1024


def networks(model: str, relu: nn.Module, images: Tensor) -> Iterator[tuple[str, nn.Module]]:
    """Yield each spiking network that is made of a ReLU network, with its name."""
    for neuron in ("b1",) if model in RESIDUAL else NEURONS:
        yield neuron, convert(relu, images, neuron)
    for steps in STEPS:
        yield f"lif, T = {steps}", to_leaky(relu, images, steps)
        yield f"rate, T = {steps}", convert_to_rate(relu, images, steps=steps)


def trains(network: nn.Module) -> bool:
    """Return whether a network has a gradient."""
    return not isinstance(network, RateNetwork)


def made(model: str, device: str) -> tuple[nn.Module, Tensor, Tensor]:
    """Return a ReLU network, and a batch of images and labels."""
    shape, size = SIZES[model]
    torch.manual_seed(0)
    config = read_named("model", model, "--models") | {"batch_norm": "none", "dropout": 0.0}
    relu = build(config, shape, CLASSES).to(device)
    images = torch.rand(size, *shape, device=device)
    return relu, images, torch.randint(0, CLASSES, (size,), device=device)


def measure(model: str, device: str, budget: float) -> Iterator[str]:
    """Yield the table's rows of one network."""
    relu, images, labels = made(model, device)
    size, shape = len(images), images.shape[1:]
    for name, spiking in networks(model, relu, images):
        row = f"| {model} | {size} | {name}"
        pair = inference(relu, images, labels), inference(spiking.eval(), images, labels)
        yield f"{row} | inference | {compare(*pair, device, budget)}"
        if trains(spiking):
            plain = copy.deepcopy(relu)
            pair = train_step(plain, images, labels), train_step(spiking.train(), images, labels)
            yield f"{row} | train step | {compare(*pair, device, budget)}"
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
            timed = compare(plain, inference(chip, images, labels), device, budget)
        yield f"| {model} | {size} | {name} | inference | {timed}"


def memory(model: str) -> Iterator[str]:
    """Yield the rows of the memory of a network's training."""
    relu, images, labels = made(model, "cpu")
    plain = peak(train_step(relu, images, labels))
    for name, spiking in networks(model, relu, images):
        if trains(spiking):
            ratio = peak(train_step(spiking.train(), images, labels)) / plain
            yield f"| {model} | {name} | {plain:.0f} | {ratio:.3f} |"


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
    if arguments.device == "cpu":
        print(MEMORY)
        for model in arguments.models:
            for row in memory(model):
                print(row, flush=True)
        print()
    keep_freed_memory()  # as the stages of a run do; peaks above kept memory would mean nothing
    print(TIMES)
    for model in arguments.models:
        for row in measure(model, arguments.device, arguments.seconds):
            print(row, flush=True)


if __name__ == "__main__":
    main()
