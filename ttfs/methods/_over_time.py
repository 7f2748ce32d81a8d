"""What is measured of networks that run for T time steps: after T, and at each power of two."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ttfs.methods._answers import BATCH
from ttfs.methods._job import Job, Row
from ttfs.metrics import Meters, Seen, Subject
from ttfs.timed import TimedNetwork
from ttfs.timed.network import AT_ONCE


def powers_of_two(largest: int) -> list[int]:
    """Return 1, 2, 4, ... below a number, and the number.

    >>> powers_of_two(10)
    [1, 2, 4, 8, 10]
    """
    return [*(2**n for n in range(largest.bit_length()) if 2**n < largest), largest]


@torch.no_grad()
def measure_over_steps(
    network: TimedNetwork,
    passes: Sequence[Sequence[int]],
    reference: nn.Module | None,
    fan_out: Mapping[str, Tensor] | None,
    facts: Mapping[str, Any],
    job: Job,
) -> list[Row]:
    """Return the rows of a network on the whole test split.

    Those after the most steps have no further dimension; each number of steps has rows of the
    network as a whole, with the dimension `step`.

    Args:
        network: it may have other thresholds in each pass.
        passes: numbers of steps, rising; those of one pass are measured as it goes on.
        reference: gives the logits that the network should come near to.
        fan_out: synapses that leave each neuron, by population.
        facts: values that need no data.
        job: whose test split it is.
    """
    network = network.to(job.device).eval()
    subject = Subject(job.data.classes, tuple(network.layers), fan_out, network.analog)
    meters = {steps: Meters(subject) for numbers in passes for steps in numbers}
    for items, labels in job.data.test.batches(BATCH, device=job.device):
        wanted = reference(items).cpu() if reference is not None else None
        for numbers in passes:
            size = max(1, AT_ONCE // numbers[-1])
            for place in range(0, len(items), size):
                part = slice(place, place + size)
                seen = network.observe(items[part], numbers[-1])
                own = wanted[part] if wanted is not None else None
                for steps in numbers:
                    logits = seen.logits[steps - 1].cpu()
                    found = Seen(labels[part].cpu(), logits, own, seen.fired(steps))
                    meters[steps].update(found)
    last = max(meters)
    rows = list(meters[last].rows())
    rows += [{"metric": name, "value": value} for name, value in facts.items()]
    rows.append({"metric": "time_steps", "value": last})
    for steps, meter in meters.items():
        rows += [{**row, "step": steps} for row in meter.rows() if len(row) == 2]
    return rows
