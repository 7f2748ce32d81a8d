"""The memory that a network needs at the least, before any work."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from ttfs.errors import UserError
from ttfs.memory import gib, memory
from ttfs.methods import Job
from ttfs.models import build

BYTES = 4
"""Of a float32."""
COPIES = 2
"""Of the weights while inputs are computed: gradients where they are trained, else those of the
TTFS network.
"""
COPIES_AT_END = 4
"""Of trained weights: gradients, and the file before it is written, twice."""


@dataclass(frozen=True)
class Size:
    """Numbers that a network holds: its weights, and for each input the values that are kept for
    the backward pass, the most that one module gives, and the outputs of ReLU modules.
    """

    weights: int
    kept: int
    largest: int
    neurons: int

    def values(self, trained: bool, steps: int = 0) -> int:
        """Return the values of an input that are there at the same time, at the least; a network
        that is trained through time keeps the potential and the spike of a neuron in each step.
        """
        return max(self.kept, 2 * steps * self.neurons) if trained else self.largest

    def needed(self, items: int, trained: bool, narrow: bool = False, steps: int = 0) -> int:
        """Return the bytes of weights and of one batch of `items` inputs, whose values are bfloat16
        where `narrow`, or those at the end of a training, if these are more.
        """
        width = BYTES // 2 if narrow else BYTES
        batch = BYTES * COPIES * self.weights + width * items * self.values(trained, steps)
        return max(batch, BYTES * COPIES_AT_END * self.weights) if trained else batch


def size_of(config: Mapping[str, Any], shape: tuple[int, ...], classes: int) -> Size | None:
    """Return the size of a network that takes no memory itself (torch's device `meta`).

    None for imported modules, whose code is not run for this. Raises UserError where the network
    cannot be built, or its numbers cannot be counted.
    """
    if "module" in config:
        return None
    try:
        with torch.device("meta"), torch.random.fork_rng(devices=[]):
            network = build(config, shape, classes).eval()
            one, two = (_kept(network, torch.empty(number, *shape)) for number in (1, 2))
            outputs, neurons = [0], [0]
            for module in network.modules():
                if not list(module.children()):
                    module.register_forward_hook(_counting(outputs))
                if isinstance(module, nn.ReLU):
                    module.register_forward_hook(_counting(neurons))
            network(torch.empty(1, *shape))
    except (RuntimeError, OverflowError, TypeError) as error:
        reason = " ".join(str(error).split())[:100]
        raise UserError(
            f"model '{config['id']}' is larger than any memory ({reason}); lower its sizes, or "
            "those of the inputs"
        ) from None
    weights = sum(value.numel() for value in network.parameters())
    kept = two - one  # weights and statistics are kept once
    return Size(weights, kept, max(outputs), sum(neurons))


def _kept(network: nn.Module, inputs: Tensor) -> int:
    """Return the values that autograd keeps for the backward pass; masks and places are none."""
    counts: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if tensor.is_floating_point():
            counts[storage._cdata] = storage.nbytes() // tensor.element_size()
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        answers = network(inputs)  # what is kept lives as long, so that no storage comes twice
    del answers
    return sum(counts.values())


def check_memory(
    size: Size | None,
    items: int,
    trained: bool,
    where: str,
    narrow: bool = False,
    steps: int = 0,
) -> None:
    """Raise UserError, which begins with `where`, if a network needs more memory than there is."""
    if size is None:
        return
    needed, there = size.needed(items, trained, narrow, steps), memory()
    if needed > there:
        values = f"{size.values(trained, steps):,} values of each of {items} inputs"
        raise UserError(
            f"{where}: needs at least {gib(needed)} of memory, for {size.weights:,} weights and "
            f"{values}, and there are {gib(there)}; take a smaller network, smaller inputs or a "
            "smaller batch_size"
        )


def check_job(job: Job) -> None:
    """Raise UserError if the network of a job needs more memory than there is; a GPU is not
    looked at.
    """
    if not job.kind.uses_model or job.device != "cpu":
        return
    size = size_of(job.grid.models[job.cell.model].config, job.data.shape, job.data.classes)
    trained = bool(job.options.get("train"))
    items = min(job.train["batch_size"], len(job.data.train)) if trained else 1
    narrow = trained and job.train["precision"] == "bfloat16"
    steps = job.options.get("steps", 0)
    check_memory(size, items, trained, job.cell.name, narrow, steps)


def _counting(counts: list[int]) -> Any:
    def count(module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            counts.append(output.numel())

    return count
