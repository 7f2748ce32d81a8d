"""Accuracy: how often the answer is right."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ttfs.metrics.metric import Meter, Metric, Seen, Subject

if TYPE_CHECKING:
    from torch import Tensor

METRICS = (
    Metric("accuracy", "Accuracy", "%", ".2f", "higher", place=10),
    Metric("confusion", "Test items", "", ",.0f", in_summary=False, place=900),
)


def accuracy(logits: "Tensor", labels: "Tensor") -> float:
    """Return the top-1 accuracy in percent: 100 / N * sum over items of [argmax of logits = label].

    Shapes: logits [N, classes], labels [N]. The first of equal logits wins.

    >>> from torch import tensor
    >>> accuracy(tensor([[0.1, 0.9], [0.8, 0.2], [0.4, 0.6], [0.3, 0.7]]), tensor([1, 0, 0, 1]))
    75.0
    """
    return 100.0 * (logits.argmax(1) == labels).double().mean().item()


class Accuracy(Meter):
    """Accuracy over all items, for each class (its recall), and the confusion matrix.

    `confusion` has a row for each pair of class and answer that occurs: how many items of `class`
    were given the answer `predicted`.
    """

    def __init__(self, subject: Subject):
        super().__init__(subject)
        self._pairs: Any = 0

    def update(self, seen: Seen) -> None:
        """Count pairs of label and answer."""
        classes = self.subject.classes
        pair = seen.labels.cpu() * classes + seen.logits.argmax(1).cpu()
        self._pairs = self._pairs + pair.bincount(minlength=classes * classes)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the accuracy, that of each class, and the counts."""
        classes = self.subject.classes
        counts = self._pairs.reshape(classes, classes)  # [label, answer]
        right = counts.diagonal().double()
        total = counts.sum(1).double()
        mean = (right.sum() / total.sum()).item()
        yield {"metric": "accuracy", "value": 100.0 * mean}
        for label in range(classes):
            if total[label]:
                share = (right[label] / total[label]).item()
                yield {"metric": "accuracy", "value": 100.0 * share, "class": label}
        for label, answer in counts.nonzero().tolist():
            value = int(counts[label, answer])
            yield {"metric": "confusion", "value": value, "class": label, "predicted": answer}
