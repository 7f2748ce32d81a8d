"""Metrics for unbalanced classes: each class counts the same, however many items it has."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ttfs.metrics.confusion import Confusion
from ttfs.metrics.metric import Metric

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


class Balanced(Confusion):
    """Balanced accuracy and macro F1 over all items."""

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield both."""
        yield {"metric": "balanced_accuracy", "value": balanced_accuracy(self.matrix)}
        yield {"metric": "macro_f1", "value": macro_f1(self.matrix)}
