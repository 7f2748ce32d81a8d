"""Metrics for unbalanced classes: each class counts the same, however many items it has."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ttfs.metrics.metric import Meter, Metric, Seen, Subject

if TYPE_CHECKING:
    from torch import Tensor

METRICS = (
    Metric(
        "balanced_accuracy", "Balanced accuracy", "%", ".2f", "higher", in_summary=False, place=20
    ),
    Metric("macro_f1", "Macro F1", "%", ".2f", "higher", in_summary=False, place=30),
)


def balanced_accuracy(confusion: "Tensor") -> float:
    """Return the mean recall in percent: 100 / K * sum over classes of n[c, c] / (items of c).

    `confusion` [classes, classes] counts items by class and answer. Classes without items do not
    count (Brodersen et al. 2010).

    >>> from torch import tensor
    >>> balanced_accuracy(tensor([[8, 0], [1, 1]]))
    75.0
    """
    items = confusion.sum(1).double()
    recall = confusion.diagonal()[items > 0] / items[items > 0]
    return 100.0 * recall.mean().item()


def macro_f1(confusion: "Tensor") -> float:
    """Return the mean F1 in percent: 100 / K * sum of 2 n[c, c] / (items of c + answers c).

    `confusion` [classes, classes] counts items by class and answer. Classes that are neither asked
    for nor answered do not count.

    >>> from torch import tensor
    >>> macro_f1(tensor([[2, 0], [1, 0]]))
    40.0
    """
    whole = (confusion.sum(0) + confusion.sum(1)).double()
    f1 = 2 * confusion.diagonal()[whole > 0] / whole[whole > 0]
    return 100.0 * f1.mean().item()


class Balanced(Meter):
    """Balanced accuracy and macro F1 over all items."""

    def __init__(self, subject: Subject):
        super().__init__(subject)
        self._pairs: Any = 0

    def update(self, seen: Seen) -> None:
        """Count pairs of label and answer."""
        classes = self.subject.classes
        pair = seen.labels.cpu() * classes + seen.logits.argmax(1).cpu()
        self._pairs = self._pairs + pair.bincount(minlength=classes * classes)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield both."""
        confusion = self._pairs.reshape(self.subject.classes, self.subject.classes)
        yield {"metric": "balanced_accuracy", "value": balanced_accuracy(confusion)}
        yield {"metric": "macro_f1", "value": macro_f1(confusion)}
