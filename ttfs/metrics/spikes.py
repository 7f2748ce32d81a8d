"""Spikes per neuron: how many spikes a network spends."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ttfs.metrics._arguments import check_network
from ttfs.metrics.metric import Meter, Metric, Seen, Subject

if TYPE_CHECKING:
    from torch import Tensor

    from ttfs.snn import SpikingNetwork

METRICS = (
    Metric("spikes_per_neuron", "Spikes per neuron", "", ".3f", "lower", place=40),
    Metric("neurons", "Neurons", "", ",.0f", in_summary=False, place=910),
)


def spikes_per_neuron(snn: "SpikingNetwork", images: "Tensor") -> float:
    """Return spikes / neurons over the hidden layers, before pooling, as a mean over images [N,
    ...].

    Input pixels and the output layer, which does not spike, are left out (as in Stanojevic et al.
    2023). A TTFS neuron spikes at most once an image, so the value lies on [0, 1]; in an α1 network
    it is 1, for silence there is a spike at t_max.

    >>> import ttfs
    >>> from torch import nn, tensor
    >>> ann = nn.Sequential(nn.Linear(1, 2, bias=False), nn.ReLU(), nn.Linear(2, 2))
    >>> _ = ann[0].weight.data.copy_(tensor([[1.0], [-1.0]]))
    >>> snn = ttfs.convert(ann, tensor([[1.0]]))
    >>> spikes_per_neuron(snn, tensor([[0.5], [0.0]]))  # one of two neurons, for one of two images
    0.25
    """
    from ttfs.snn.network import check_weights

    check_network(snn, "spikes_per_neuron")
    if not len(images):
        raise ValueError("spikes_per_neuron: no images; give at least one")
    check_weights(snn, "spikes_per_neuron")
    logits, charges = snn.charges(images)
    if logits.isnan().any():  # NaN is above no threshold, and would count as silence
        raise ValueError("spikes_per_neuron: the logits hold NaN")
    spikes = sum(int(snn.fired(charges[name]).count_nonzero()) for name in snn.layers)
    neurons = sum(charges[name].numel() for name in snn.layers)
    return spikes / max(neurons, 1)


class Spikes(Meter):
    """Spikes / neurons over all hidden layers and for each, mean over the items."""

    needs = frozenset(("fired",))

    def __init__(self, subject: Subject):
        super().__init__(subject)
        self._spikes = dict.fromkeys(subject.hidden, 0)
        self._neurons = dict.fromkeys(subject.hidden, 0)
        self._items = 0

    def update(self, seen: Seen) -> None:
        """Count the spikes of one batch; tensors of counts are added up."""
        assert seen.fired is not None
        for name in self._spikes:
            spikes = seen.fired[name]
            counted = spikes.sum()
            self._spikes[name] += int(counted)
            self._neurons[name] = spikes[0].numel()
        self._items += len(seen.labels)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the mean of the network, and that of each layer with its neurons."""
        total = max(sum(self._neurons.values()) * self._items, 1)
        yield {"metric": "spikes_per_neuron", "value": sum(self._spikes.values()) / total}
        for name, count in self._spikes.items():
            value = count / (self._neurons[name] * self._items)
            yield {"metric": "spikes_per_neuron", "value": value, "layer": name}
            yield {"metric": "neurons", "value": self._neurons[name], "layer": name}
