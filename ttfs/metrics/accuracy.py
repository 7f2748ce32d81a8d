"""Accuracy: how often the answer is right."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ttfs.metrics._arguments import check_shape
from ttfs.metrics.confusion import Confusion
from ttfs.metrics.metric import Metric

if TYPE_CHECKING:
    from torch import Tensor

METRICS = (Metric("accuracy", "Accuracy", "%", ".2f", "higher", place=10),)


def accuracy(logits: "Tensor", labels: "Tensor") -> float:
    """Return the top-1 accuracy in percent: 100 / N * sum over items of [argmax of logits = label].

    Shapes: logits [N, classes], labels [N]. The first of equal logits wins. An item whose logits
    hold NaN has no answer, and is wrong. Raises ValueError for other shapes, and without items.

    >>> from torch import tensor
    >>> accuracy(tensor([[0.1, 0.9], [0.8, 0.2], [0.4, 0.6], [0.3, 0.7]]), tensor([1, 0, 0, 1]))
    75.0
    """
    check_shape(logits, ("N", "classes"), "accuracy: logits")
    check_shape(labels, logits.shape[:1], "accuracy: labels")
    right = (logits.argmax(1) == labels) & ~logits.isnan().any(1)
    return 100.0 * right.double().mean().item()


class Accuracy(Confusion):
    """Accuracy over all items and for each class, which is its recall."""

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the accuracy and that of each class."""
        counts = self.matrix
        right = counts.diagonal().double()
        total = counts.sum(1).double()
        mean = (right.sum() / total.sum()).item()
        yield {"metric": "accuracy", "value": 100.0 * mean}
        for label in range(len(counts)):
            if total[label]:
                share = (right[label] / total[label]).item()
                yield {"metric": "accuracy", "value": 100.0 * share, "class": label}
