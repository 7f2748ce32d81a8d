"""Agreement and logit difference: how like another network a network is."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ttfs.metrics._arguments import check_shape
from ttfs.metrics.accuracy import accuracy
from ttfs.metrics.metric import Meter, Metric, Seen, Subject

if TYPE_CHECKING:
    from torch import Tensor

METRICS = (
    Metric("agreement", "Agreement", "%", ".2f", "higher", place=20),
    Metric(
        "logit_difference", "Largest relative logit difference", "", ".1e", "lower", "max", place=30
    ),
)


def agreement(logits: "Tensor", reference: "Tensor") -> float:
    """Return the share of items, in percent, for which both networks answer the same class.

    100 / N * sum over items of [argmax of logits = argmax of reference]; both [N, classes]. It says
    whether a mapping is faithful, which equal accuracies do not: two networks can be wrong on
    different items. NaN is no answer, and agrees with none. Raises ValueError for other shapes.

    >>> from torch import tensor
    >>> agreement(tensor([[2.0, 1.0], [0.0, 1.0]]), tensor([[5.0, 3.0], [1.0, 0.0]]))
    50.0
    """
    check_shape(logits, ("N", "classes"), "agreement: logits")
    check_shape(reference, logits.shape, "agreement: logits of the reference")
    answers = reference.argmax(1).where(~reference.isnan().any(1), -1)
    return accuracy(logits, answers)


class Agreement(Meter):
    """Agreement with the reference network, and max |logit - reference| / max |reference| over all
    items.
    """

    needs = frozenset(("reference",))

    def __init__(self, subject: Subject):
        super().__init__(subject)
        self._items = 0
        self._same = 0
        self._off = self._largest = 0.0

    def update(self, seen: Seen) -> None:
        """Compare one batch."""
        assert seen.reference is not None
        self._items += len(seen.logits)
        self._same += int((seen.logits.argmax(1) == seen.reference.argmax(1)).sum())
        self._off = max(self._off, (seen.logits - seen.reference).abs().max().item())
        self._largest = max(self._largest, seen.reference.abs().max().item())

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield both."""
        yield {"metric": "agreement", "value": 100.0 * (self._same / self._items)}
        yield {"metric": "logit_difference", "value": self._off / (self._largest or 1.0)}
