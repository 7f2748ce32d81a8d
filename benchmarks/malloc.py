"""What it saves that malloc keeps freed memory (`ttfs.stages.process.keep_freed_memory`).

    python benchmarks/malloc.py [--rounds 16] [--steps 10]

For each network two processes, with and without, take train steps in turn. The table gives the
median over rounds of the ratio of their processor times with its quartiles, and the peak memory of
both.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from resource import RUSAGE_SELF, getrusage

NETWORKS = ("fc2, relu", "fc2, b1", "fc2, alpha1", "lenet5, relu", "lenet5, b1", "lenet5, lif")
TABLE = """\
| network | with / without | quartiles | peak without [MiB] | peak with [MiB] |
|---|---|---|---|---|"""


def train_step(name: str) -> Callable[[], None]:
    """Return a train step of a batch of 128 drawn images, as a call."""
    import torch
    import torch.nn.functional as F

    from ttfs.config import read_named
    from ttfs.models import build
    from ttfs.snn import convert
    from ttfs.timed import to_leaky

    torch.set_num_threads(1)
    torch.manual_seed(0)
    model, neuron = name.split(", ")
    images, labels = torch.rand(128, 1, 28, 28), torch.randint(0, 10, (128,))
    network = build(read_named("model", model, "benchmark"), (1, 28, 28), 10).train()
    if neuron == "lif":
        network = to_leaky(network, images, steps=4)
    elif neuron != "relu":
        network = convert(network, images, neuron=neuron)
    optimizer = torch.optim.Adam(network.parameters(), 1e-5)

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(network(images), labels).backward()
        optimizer.step()

    return step


def answer(name: str, keep: bool, steps: int, pipe: Connection) -> None:
    """Send seconds of processor time and the peak in MiB for each word received."""
    from ttfs.stages.process import keep_freed_memory

    if keep:
        keep_freed_memory()
    step = train_step(name)
    while pipe.recv():
        started = time.process_time()
        for _ in range(steps):
            step()
        pipe.send((time.process_time() - started, getrusage(RUSAGE_SELF).ru_maxrss / 1024))


def row(name: str, rounds: int, steps: int) -> str:
    """Return a row of the table."""
    context = get_context("spawn")
    ends, processes = [], []
    for keep in (False, True):
        here, there = context.Pipe()
        processes.append(context.Process(target=answer, args=(name, keep, steps, there)))
        processes[-1].start()
        ends.append(here)
    ratios, peaks = [], [0.0, 0.0]
    for number in range(rounds):
        seconds = [0.0, 0.0]
        for which in (0, 1) if number % 2 else (1, 0):
            ends[which].send(True)
            seconds[which], peaks[which] = ends[which].recv()
        if number:  # the first warms up
            ratios.append(seconds[1] / seconds[0])
    for end, process in zip(ends, processes, strict=True):
        end.send(False)
        process.join()
    low, middle, high = statistics.quantiles(ratios, n=4)
    return f"| {name} | {middle:.3f} | {low:.3f}–{high:.3f} | {peaks[0]:.0f} | {peaks[1]:.0f} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=16, help="turns (%(default)s)")
    parser.add_argument("--steps", type=int, default=10, help="train steps a turn (%(default)s)")
    options = parser.parse_args()
    print(TABLE)
    for name in NETWORKS:
        print(row(name, options.rounds, options.steps), flush=True)


if __name__ == "__main__":
    main()
