"""First-spike latency: when the answer is there if output neurons spike too."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ttfs.metrics._arguments import check_shape
from ttfs.metrics.metric import Meter, Metric, Seen, Subject

if TYPE_CHECKING:
    from torch import Tensor

METRICS = (
    Metric(
        "first_spike_latency", "First-spike latency", "τ_c", ".2f", "lower",
        in_summary=False, place=55,
    ),
)  # fmt: skip


def first_spike_latency(largest: "Tensor", latency: float) -> float:
    """Return the mean time of the first output spike: latency + 1 / N * sum over items of
    (θ - V), in tau_c.

    V [N] is the largest logit of each item, and the threshold θ the largest of all. From `latency`
    on the potentials of the output neurons rise by 1 a tau_c, so the one of the largest logit
    spikes first (`SpikingNetwork.first_spike`). Raises ValueError for another shape.

    >>> from torch import tensor
    >>> first_spike_latency(tensor([1.0, 2.0]), latency=2.5)
    3.0
    """
    check_shape(largest, ("N",), "first_spike_latency: largest logits")
    largest = largest.double()
    return latency + (largest.max() - largest).mean().item()


class FirstSpike(Meter):
    """The mean over the items."""

    needs = frozenset(("latency",))

    def __init__(self, subject: Subject):
        super().__init__(subject)
        self._largest: list[Tensor] = []

    def update(self, seen: Seen) -> None:
        """Keep the largest logit of each item of one batch."""
        self._largest.append(seen.logits.amax(1))

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the mean."""
        import torch

        value = first_spike_latency(torch.cat(self._largest), self.subject.facts["latency"])
        yield {"metric": "first_spike_latency", "value": value}
