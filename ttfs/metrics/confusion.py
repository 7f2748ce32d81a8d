"""Confusion: how many items of each class got each answer."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ttfs.metrics.metric import Meter, Metric, Seen, Subject

if TYPE_CHECKING:
    from torch import Tensor

METRICS = (Metric("confusion", "Test items", "", ",.0f", in_summary=False, place=900),)


class Confusion(Meter):
    """The confusion matrix: a row for each pair of class and answer that occurs.

    Its value is the number of items of `class` that got the answer `predicted`. Meters whose
    numbers follow from the matrix are subclasses.
    """

    def __init__(self, subject: Subject):
        super().__init__(subject)
        self._pairs: Any = 0

    def update(self, seen: Seen) -> None:
        """Count pairs of label and answer."""
        classes = self.subject.classes
        pair = seen.labels.cpu() * classes + seen.logits.argmax(1).cpu()
        self._pairs = self._pairs + pair.bincount(minlength=classes * classes)

    @property
    def matrix(self) -> "Tensor":
        """Numbers of items [classes, classes] by label and answer."""
        return self._pairs.reshape(self.subject.classes, self.subject.classes)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the counts that are not 0."""
        for label, answer in self.matrix.nonzero().tolist():
            value = int(self.matrix[label, answer])
            yield {"metric": "confusion", "value": value, "class": label, "predicted": answer}
