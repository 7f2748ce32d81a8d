"""A metric, the answers that a meter sees, and the meter."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ttfs.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Metric:
    """How a number of a record is named, printed and summed up over seeds."""

    name: str
    label: str
    unit: str
    digits: str
    """Format specification of a printed value."""
    better: Literal["higher", "lower", ""] = ""
    over_seeds: Literal["mean", "max"] = "mean"
    in_summary: bool = True
    """Whether the summary has a column for it."""
    place: int = 1000
    """Columns come in this order."""

    @property
    def title(self) -> str:
        """Label, unit and direction, as the head of a column: ``Accuracy [%] ↑``."""
        unit = f" [{self.unit}]" if self.unit else ""
        return self.label + unit + {"higher": " ↑", "lower": " ↓", "": ""}[self.better]


@dataclass
class Seen:
    """The answers of a classifier for one batch."""

    labels: "Tensor"
    """Classes, int64 [N]."""
    logits: "Tensor"
    """[N, classes]; the largest is the answer."""
    reference: "Tensor | None" = None
    """Logits [N, classes] of the network that it should equal."""
    fired: "Mapping[str, Tensor] | None" = None
    """{population: spikes of each neuron [N, ...]}, whether (bool) or how many; pools for synapses
    with them.
    """

    def __post_init__(self) -> None:
        """Refuse NaN, whose argmax would count as an answer, and whose difference as none; infinite
        logits have none, either.
        """
        compared = self.reference is not None
        for name in ("logits", "reference"):
            values = getattr(self, name)
            if values is None or values.isfinite().all():
                continue
            if compared or values.isnan().any():
                kind = "NaN" if values.isnan().any() else "infinite"
                raise UserError(f"the {name} of the network are {kind}; train or convert it anew")


@dataclass
class Subject:
    """A classifier as meters see it."""

    classes: int
    hidden: Sequence[str] = ()
    """Names of the hidden layers of a spiking network, in order."""
    fan_out: "Mapping[str, Tensor] | None" = None
    """{population: synapses that leave each of its neurons [...]}."""
    analog: Collection[str] = ()
    """Populations whose values, not spikes, go through the synapses, as in a constant current."""
    facts: Mapping[str, float] = field(default_factory=dict)
    """Values that need no data."""
    early: bool = False
    """Whether it is read before all its inputs have come."""


class Meter(ABC):
    """Adds up the batches of a test set, and gives rows at the end."""

    needs: ClassVar[frozenset[str]] = frozenset()
    """What it needs: the fields "reference", "fired", "fan_out", and "latency", the fact of a
    network that is not read early.
    """

    def __init__(self, subject: Subject):
        self.subject = subject

    @abstractmethod
    def update(self, seen: Seen) -> None:
        """Add one batch."""

    @abstractmethod
    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield {metric, value, **dimensions}."""
