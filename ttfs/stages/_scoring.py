"""How right a network is, on the whole test split."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.utils import parametrize

from ttfs.metrics import accuracy
from ttfs.stages._job import Job


@torch.no_grad()
def test_accuracy(answer: Callable[[Tensor], Tensor], job: Job) -> float:
    """Accuracy in percent of what maps images [N, ...] to logits on the job's device."""
    batches = job.data.test.batches(500, device=job.device)
    with parametrize.cached():  # few-bit weights are rounded once, not for each batch
        parts = [(answer(images).cpu(), labels.cpu()) for images, labels in batches]
    logits, labels = (torch.cat(part) for part in zip(*parts, strict=True))
    return accuracy(logits, labels)
