"""Energy: an estimate from the published costs of operations."""

from collections.abc import Iterator
from typing import Any

from ttfs.metrics.metric import Meter, Metric, Seen, Subject
from ttfs.metrics.synapses import synaptic_operations

ADD_ENERGY = 0.9
"""Energy of a 32-bit floating-point addition in 45 nm CMOS at 0.9 V, in pJ (Horowitz, ISSCC 2014).
"""

MULTIPLY_ENERGY = 3.7
"""Energy of a 32-bit floating-point multiplication in 45 nm CMOS at 0.9 V, in pJ (Horowitz, ISSCC
2014).
"""

METRICS = (
    Metric("synaptic_operations", "Synaptic operations", "per item", ",.0f", "lower", place=70),
    Metric("energy", "Energy", "nJ", ",.1f", "lower", place=80),
    Metric("ann_energy", "Energy of the ANN", "nJ", ",.1f", "lower", place=90),
)


def spiking_energy(operations: float) -> float:
    """Return the energy of synaptic operations in nJ: operations x 0.9 pJ, an addition each.

    An estimate from operation costs alone (Horowitz, ISSCC 2014, 45 nm): memory, neurons and
    leakage are not in it.

    >>> spiking_energy(100_000)
    90.0
    """
    return operations * ADD_ENERGY / 1000.0


def dense_energy(operations: float) -> float:
    """Return the energy of multiply-accumulates in nJ: operations x (3.7 + 0.9) pJ. See
    `spiking_energy`.

    >>> round(dense_energy(1000), 3)
    4.6
    """
    return operations / 1000.0 * (MULTIPLY_ENERGY + ADD_ENERGY)


class SynapticOperations(Meter):
    """Synaptic operations of an item and their energy, mean over the items.

    The operation of a spike is an addition; that of an analog value a multiplication, too.
    """

    needs = frozenset(("fired", "fan_out"))

    def __init__(self, subject: Subject):
        super().__init__(subject)
        self._additions = self._products = 0.0
        self._items = 0

    def update(self, seen: Seen) -> None:
        """Add the operations of one batch."""
        assert seen.fired is not None
        assert self.subject.fan_out is not None
        counts, analog = self.subject.fan_out, self.subject.analog
        values = {name: count for name, count in counts.items() if name in analog}
        spikes = {name: count for name, count in counts.items() if name not in analog}
        self._products += synaptic_operations(seen.fired, values).sum().item()
        self._additions += synaptic_operations(seen.fired, spikes).sum().item()
        self._items += len(seen.labels)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield operations and energy."""
        additions, products = self._additions / self._items, self._products / self._items
        yield {"metric": "synaptic_operations", "value": additions + products}
        yield {"metric": "energy", "value": spiking_energy(additions) + dense_energy(products)}
