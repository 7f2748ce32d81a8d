"""How exact conversion is: each network of configs/models, with random batch-norm statistics,
inputs on [-3, 3].

    python benchmarks/exactness.py [--models fc2 lenet5 ...] [--images 32] [--simulate 1] [--seed 0]

Prints a table of the largest logit difference to the ReLU network, as a share of the largest logit,
in float32 and float64; the largest difference in spike time between the closed form and the
event-driven simulator, in tau_c; and the share of neurons that cross their threshold before their
window opens. Exit status 1 if a bound is broken.
"""

import argparse
import copy
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ttfs.config import known, read_named
from ttfs.models import build
from ttfs.snn import SpikingNetwork, convert, relative_difference, simulate

LOW, HIGH, CLASSES = -3.0, 3.0, 10
FLOAT32, FLOAT64, TIME = 1e-4, 1e-10, 1e-9  # bounds: share of the logit scale, and tau_c
GRAY, COLOR, DIGIT = (1, 28, 28), (3, 32, 32), (1, 8, 8)
SHAPES = {
    "fc": GRAY,
    "lenet": GRAY,
    "vgg16-small": GRAY,
    "cnn": DIGIT,
}  # by the start of the id; others in color


@dataclass(frozen=True)
class Row:
    """What was measured of one network."""

    model: str
    float32: float
    float64: float
    times: float
    early: float
    seconds: float

    @property
    def exact(self) -> bool:
        """Whether every bound holds; NaN breaks it."""
        return self.float32 <= FLOAT32 and self.float64 <= FLOAT64 and self.times <= TIME

    def __str__(self) -> str:
        exact = "yes" if self.exact else "NO"
        numbers = (
            f"{self.float32:.1e} | {self.float64:.1e} | {self.times:.1e} | {100 * self.early:.1f} %"
        )
        return f"| {self.model} | {numbers} | {self.seconds:.0f} | {exact} |"


def network(model: str) -> tuple[nn.Module, tuple[int, int, int]]:
    """Return the network in `eval()` with the statistics a trained one might have, half of its
    scales negative.
    """
    shape = next((shape for start, shape in SHAPES.items() if model.startswith(start)), COLOR)
    ann = build(read_named("model", model, "--models"), shape, CLASSES)
    for norm in ann.modules():
        if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d) and norm.running_mean is not None:
            sign = torch.randint(0, 2, norm.weight.shape) * 2 - 1
            norm.weight.data.uniform_(0.5, 1.5).mul_(sign)
            norm.bias.data.normal_(0, 0.5)
            norm.running_mean.normal_(0, 0.5)
            norm.running_var = torch.empty_like(norm.running_mean).uniform_(0.5, 2)
    return ann.eval(), shape


@torch.no_grad()
def measure(model: str, images: int, simulated: int) -> Row:
    """Measure one network on as many images, and simulate the first of them."""
    start = time.perf_counter()
    ann, shape = network(model)
    batch = torch.rand(images, *shape) * (HIGH - LOW) + LOW
    differences = {}
    for dtype in (torch.float32, torch.float64):
        twin, inputs = copy.deepcopy(ann).to(dtype), batch.to(dtype)
        snn = convert(twin, inputs, input_range=(LOW, HIGH))
        differences[dtype] = relative_difference(snn(inputs), twin(inputs))
    del ann, twin
    times, early = simulation_error(snn, inputs[:simulated])
    seconds = time.perf_counter() - start
    return Row(model, differences[torch.float32], differences[torch.float64], times, early, seconds)


def simulation_error(snn: SpikingNetwork, images: Tensor) -> tuple[float, float]:
    """Return the largest difference in spike time and the early-fire rate; silence counts as a
    spike at t_max.
    """
    seen, closed = simulate(snn, images), snn.spike_times(images)
    errors = [
        (seen.spike_times[name].clamp(max=t_max) - closed[name].clamp(max=t_max)).abs().max().item()
        for name, (_, t_max) in snn.windows.items()
    ]
    return max(errors), seen.early_fire_rate


def rows(arguments: argparse.Namespace) -> Iterator[Row]:
    """Measure network after network, each from the same seed."""
    for model in arguments.models:
        torch.manual_seed(arguments.seed)
        yield measure(model, arguments.images, arguments.simulate)


def main() -> int:
    """Print the table as it grows; return 1 if a bound is broken."""
    models = known("model")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--models",
        nargs="+",
        choices=models,
        default=models,
        metavar="MODEL",
        help=", ".join(models),
    )
    parser.add_argument(
        "--images", type=int, default=32, help="images compared with the ReLU network"
    )
    parser.add_argument("--simulate", type=int, default=1, help="images simulated event by event")
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of weights, statistics and images"
    )
    arguments = parser.parse_args()
    print(
        f"| model | float32 (≤ {FLOAT32:g}) | float64 (≤ {FLOAT64:g}) | times (≤ {TIME:g} τ_c) | "
        "early | s | exact |"
    )
    print("|---|---|---|---|---|---|---|")
    exact = True
    for row in rows(arguments):
        print(row, flush=True)
        exact &= row.exact
    return 0 if exact else 1


if __name__ == "__main__":
    sys.exit(main())
