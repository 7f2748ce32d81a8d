"""Metrics, one module each, found by its file; `docs/metrics/` works an example of each by hand.

A module holds `METRICS`, the names and looks of its numbers, the functions with their formulas,
and, where the number is gathered over a test set, a `Meter`. Reading the metrics imports no torch.
"""

from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from ttfs.metrics.accuracy import accuracy
from ttfs.metrics.agreement import agreement
from ttfs.metrics.energy import dense_energy, spiking_energy
from ttfs.metrics.first_spike import first_spike_latency
from ttfs.metrics.metric import Meter, Metric, Seen, Subject
from ttfs.metrics.spikes import spikes_per_neuron
from ttfs.metrics.synapses import fan_out, multiply_accumulates, synaptic_operations

__all__ = [
    "METRICS",
    "Meter",
    "Meters",
    "Metric",
    "Seen",
    "Subject",
    "accuracy",
    "agreement",
    "dense_energy",
    "fan_out",
    "first_spike_latency",
    "measure",
    "multiply_accumulates",
    "spikes_per_neuron",
    "spiking_energy",
    "synaptic_operations",
]

_MODULES = [
    import_module(f"ttfs.metrics.{path.stem}")
    for path in sorted(Path(__file__).parent.glob("[a-z]*.py"))
    if path.stem != "metric"
]
METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in sorted((m for module in _MODULES for m in module.METRICS), key=lambda m: m.place)
}
"""Every metric that a record may hold, in the order of the tables."""


class Meters:
    """All meters that a classifier has something for: they look at each batch, and give rows at the
    end.
    """

    def __init__(self, subject: Subject):
        self.subject = subject
        self._meters: list[Meter] | None = None

    def update(self, seen: Seen) -> None:
        """Add one batch of a test set."""
        if self._meters is None:
            offered = _offered(self.subject, seen)
            self._meters = [kind(self.subject) for kind in _meters() if kind.needs <= offered]
        for meter in self._meters:
            meter.update(seen)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the rows of all meters, and the facts."""
        for meter in self._meters or ():
            yield from meter.rows()
        for name, value in self.subject.facts.items():
            yield {"metric": name, "value": value}


def measure(subject: Subject, batches: Iterable[Seen]) -> Iterator[dict[str, Any]]:
    """Yield the rows of all meters that the classifier has something for, over the batches of a
    test set.
    """
    meters = Meters(subject)
    for seen in batches:
        meters.update(seen)
    yield from meters.rows()


def _meters() -> Iterator[type[Meter]]:
    for module in _MODULES:
        for value in vars(module).values():
            own = isinstance(value, type) and value.__module__ == module.__name__
            if own and issubclass(value, Meter):
                yield value


def _offered(subject: Subject, seen: Seen) -> set[str]:
    offered = {"reference"} if seen.reference is not None else set()
    offered |= {"fired"} if seen.fired is not None else set()
    offered |= {"latency"} & subject.facts.keys() if not subject.early else set()
    return offered | ({"fan_out"} if subject.fan_out is not None else set())
