"""The answers of a classifier on the whole test split, and the rows that any network has."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ttfs.methods._job import Job, Row
from ttfs.metrics import Seen, Subject, accuracy, measure
from ttfs.metrics.selection import kept_epoch

BATCH = 500


@torch.no_grad()
def answers(answer: Callable[[Tensor], Tensor | Seen], job: Job) -> Iterator[Seen]:
    """Yield the answers of a classifier for each batch of the test split, on the CPU.

    `answer` maps items [N, ...] to logits, or to a `Seen` whose labels are still to be filled in.
    """
    with parametrize.cached():  # few-bit weights are rounded once, not for each batch
        for items, labels in job.data.test.batches(BATCH, device=job.device):
            found = answer(items)
            seen = found if isinstance(found, Seen) else Seen(labels, found)
            seen.labels, seen.logits = labels.cpu(), seen.logits.cpu()
            yield seen


def test_accuracy(answer: Callable[[Tensor], Tensor], job: Job) -> float:
    """Return the accuracy in percent of a function from items [N, ...] to logits."""
    seen = list(answers(answer, job))
    logits, labels = torch.cat([s.logits for s in seen]), torch.cat([s.labels for s in seen])
    return accuracy(logits, labels)


def trained(job: Job) -> dict[str, float]:
    """Return the epoch that a training kept and its validation accuracy; nothing where nothing was
    trained.
    """
    curve = job.curve()
    return kept_epoch(curve, job.options["train"]["select"]) if curve else {}


def measure_relu(network: nn.Module, job: Job) -> list[Row]:
    """Return the rows of a ReLU network."""
    parameters = sum(p.numel() for p in network.parameters())
    subject = Subject(job.data.classes, facts=trained(job) | {"parameters": parameters})
    network = network.to(job.device).eval()
    return list(measure(subject, answers(network, job)))
