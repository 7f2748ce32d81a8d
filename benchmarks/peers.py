"""Train steps of other spiking networks beside a TTFS network of the same shape.

    python benchmarks/peers.py [--steps 4 8 25] [--seconds 5]

All are 784-256-10 networks on batches of 128 images. The networks of snnTorch (`Leaky`) and
SpikingJelly (`LIFNode`, all steps at once) see each image for T steps and sum the last layer's
outputs. Each is timed in turn with the ReLU network, in processor time. A row says so where a
library is not installed.
"""

import argparse
from collections.abc import Callable, Iterator
from importlib.metadata import version
from importlib.util import find_spec

import torch
from speed import compare, train_step
from torch import Tensor, nn

from ttfs.results.provenance import processor
from ttfs.snn import NEURONS, convert

PIXELS, HIDDEN, CLASSES, BATCH = 784, 256, 10, 128


class SnnTorch(nn.Module):
    """Leaky integrate-and-fire neurons of snnTorch, step by step."""

    def __init__(self, steps: int):
        super().__init__()
        import snntorch

        self.steps = steps
        self.first, self.last = nn.Linear(PIXELS, HIDDEN), nn.Linear(HIDDEN, CLASSES)
        self.neurons = snntorch.Leaky(beta=0.5)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits [N, classes] of images [N, 1, 28, 28]."""
        membrane, pixels = self.neurons.init_leaky(), images.flatten(1)
        logits = torch.zeros(())
        for _ in range(self.steps):
            spikes, membrane = self.neurons(self.first(pixels), membrane)
            logits = logits + self.last(spikes)
        return logits


class SpikingJelly(nn.Module):
    """Leaky integrate-and-fire neurons of SpikingJelly, all steps in one call."""

    def __init__(self, steps: int):
        super().__init__()
        from spikingjelly.activation_based import functional, layer, neuron

        self.steps, self.reset = steps, functional.reset_net
        self.body = nn.Sequential(
            layer.Linear(PIXELS, HIDDEN, step_mode="m"),
            neuron.LIFNode(tau=2.0, step_mode="m"),
            layer.Linear(HIDDEN, CLASSES, step_mode="m"),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits [N, classes] of images [N, 1, 28, 28]."""
        self.reset(self.body)
        return self.body(images.flatten(1).expand(self.steps, -1, -1)).sum(0)


PEERS: dict[str, Callable[[int], nn.Module]] = {
    "snntorch": SnnTorch,
    "spikingjelly": SpikingJelly,
}


def rows(steps: list[int], seconds: float) -> Iterator[str]:
    """Yield the table's rows."""
    torch.manual_seed(0)
    images = torch.rand(BATCH, 1, 28, 28)
    labels = torch.randint(0, CLASSES, (BATCH,))
    relu = nn.Sequential(
        nn.Flatten(), nn.Linear(PIXELS, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, CLASSES)
    )
    plain = train_step(relu, images, labels)
    for neuron in NEURONS:
        step = train_step(convert(relu, images, neuron), images, labels)
        yield f"| {neuron} | – | {compare(plain, step, 'cpu', seconds)}"
    for name, peer in PEERS.items():
        if find_spec(name) is None:
            yield f"| {name}: not installed | | | | | |"
            continue
        for count in steps:
            step = train_step(peer(count), images, labels)
            timed = compare(plain, step, "cpu", seconds)
            yield f"| {name} {version(name)} | {count} | {timed}"


TABLE = """\
| network | T | ReLU [ms] | over ReLU | quartiles | turns |
|---|---|---|---|---|---|"""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--steps", type=int, nargs="+", default=[4, 8, 25])
    parser.add_argument("--seconds", type=float, default=5.0, help="for each row (%(default)s)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{processor()}, 1 thread, torch {torch.__version__}\n\n{TABLE}")
    for row in rows(options.steps, options.seconds):
        print(row, flush=True)


if __name__ == "__main__":
    main()
