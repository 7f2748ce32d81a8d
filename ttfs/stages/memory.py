"""The memory that a network needs at the least, and the memory that there is, before any work."""

import os
import resource
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ttfs.errors import UserError
from ttfs.methods import Job
from ttfs.models import build

GROUP_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
"""Files that hold the limit of the control group, of version 2 and 1."""
BYTES = 4
"""Of a float32."""
COPIES = {True: 4, False: 2}
"""Copies of the weights: where trained, gradients and two moments too; else the TTFS network's."""


@dataclass(frozen=True)
class Size:
    """Numbers that a network holds: its weights, and for each input the values of all modules."""

    weights: int
    activations: int

    def needed(self, items: int, trained: bool) -> int:
        """Return the bytes of the weights, copies included, and of one batch of `items` inputs."""
        return BYTES * (COPIES[trained] * self.weights + items * self.activations)


def size_of(config: Mapping[str, Any], shape: tuple[int, ...], classes: int) -> Size | None:
    """Return the size of a network that takes no memory itself (torch's device `meta`).

    None for imported modules, whose code is not run for this. Raises UserError where the network
    cannot be built, or its numbers cannot be counted.
    """
    if "module" in config:
        return None
    try:
        with torch.device("meta"), torch.random.fork_rng(devices=[]), torch.no_grad():
            network = build(config, shape, classes).eval()
            activations = [torch.Size(shape).numel()]
            for module in network.modules():
                if not list(module.children()):
                    module.register_forward_hook(_counting(activations))
            network(torch.empty(1, *shape))
    except (RuntimeError, OverflowError, TypeError) as error:
        reason = " ".join(str(error).split())[:100]
        raise UserError(
            f"model '{config['id']}' is larger than any memory ({reason}); lower its sizes, or "
            "those of the inputs"
        ) from None
    return Size(sum(value.numel() for value in network.parameters()), sum(activations))


def check_memory(size: Size | None, items: int, trained: bool, where: str) -> None:
    """Raise UserError, which begins with `where`, if a network needs more memory than there is."""
    if size is None:
        return
    needed, there = size.needed(items, trained), memory()
    if needed > there:
        raise UserError(
            f"{where}: needs at least {_gib(needed)} of memory, for {size.weights:,} weights and "
            f"{size.activations:,} values of each of {items} inputs, and there are {_gib(there)}; "
            "take a smaller network, smaller inputs or a smaller batch_size"
        )


def check_job(job: Job) -> None:
    """Raise UserError if the network of a job needs more memory than there is; a GPU is not
    looked at.
    """
    if not job.kind.uses_model or job.device != "cpu":
        return
    size = size_of(job.grid.models[job.cell.model].config, job.data.shape, job.data.classes)
    train = job.options.get("train")
    items = min(train["batch_size"], len(job.data.train)) if train else 1
    check_memory(size, items, bool(train), job.cell.name)


def memory() -> int:
    """Return the bytes that a process may use: the machine's, or a lower limit on it."""
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY:
        found.append(limit)
    for path in GROUP_LIMITS:
        with suppress(OSError, ValueError):  # "max" is no limit
            found.append(int(path.read_text()))
    return min(found)


def _counting(counts: list[int]) -> Any:
    def count(module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            counts.append(output.numel())

    return count


def _gib(count: int) -> str:
    return f"{count / 2**30:,.1f} GiB"
