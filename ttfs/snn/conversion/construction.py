"""The graph of a TTFS network while it is built beside that of a ReLU network.

A value of the ReLU network is carried as `scale * raw + shift`, where raw is a node of the new
graph; scale and shift (batch norm after ReLU, inputs on [p, q]) wait until the next weights can
take them in:

    W (scale * s + shift) + D  =  (W scale) s  +  (D + W shift)

where `W shift` is a map, different at the border, if W is zero-padded. Scales are per channel where
pooling needs it.
"""

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn

from ttfs.errors import ConversionError
from ttfs.snn.b1 import Fire
from ttfs.snn.conversion.tracing import parts_of, shape
from ttfs.snn.conversion.values import Value, fold, on_channels
from ttfs.snn.synapses import OneToOne, Synapses


class Construction:
    """The TTFS network's graph under construction: modules get the names of the ANN's nodes."""

    def __init__(self, ann: fx.GraphModule, low: float, high: float):
        self.ann = ann
        self.names = {node.name for node in ann.graph.nodes}
        self.range = (low, high)
        self.graph = fx.Graph()
        self.modules: dict[str, nn.Module] = {}
        self.values: dict[fx.Node, Value] = {}
        self.parts: dict[fx.Node, list[tuple[Tensor, list[fx.Node]]]] = {}  # of a chunk or split
        self.device = next(node.meta["value"].device for node in ann.graph.nodes)

    def _input(self, node: fx.Node) -> Value:
        low, high = self.range
        value = Value(self.graph.placeholder(node.name), shape(node) or (), spikes=True)
        if (low, high) != (0.0, 1.0):
            one = self._ones(value)
            value.scale, value.shift = one * (high - low), one * low
        return value

    def _reader(self, node: fx.Node) -> Value:
        """Value of a node, as one of its readers sees it: shared if it is read more than once."""
        value = self.values[node]
        return value if _reads(node) <= 1 else dataclasses.replace(value, owned=False)

    def _settled(self, value: Value, node: fx.Node, pooled: bool = False) -> Value:
        """The value with scale 1 and shift 0: folded into the synapses it comes from, or into new
        one-to-one ones.
        """
        if value.pending and not pooled:
            value = self._pooled(value, node)
        if value.scale is None or value.shift is None:
            return value
        settled = dataclasses.replace(
            value, scale=None, shift=None, places=None, learns=False, spikes=False, moved=False
        )
        synapses = self.modules.get(str(value.raw.target))
        if value.owned and isinstance(synapses, Synapses) and value.per_channel:
            fold(synapses, value)
        else:
            one_to_one = OneToOne(value.scale.clone(), value.shift.clone(), value.learns)
            settled.raw = self._emit(node, one_to_one, value.raw, suffix="_scale")
        return settled

    def _pooled(self, value: Value, node: fx.Node) -> Value:
        """The value after the pools that wait for a ReLU which never came: max v = max relu(v) -
        min relu(-v).
        """
        if not value.pending:
            return value
        one = self._ones(value)
        return self._difference(node, *self._halves(node, value), one, value.shape)

    def _halves(self, node: fx.Node, value: Value) -> tuple[fx.Node, fx.Node]:
        """The charges of neurons for relu(v) and for relu(-v), before and after the pools that
        wait.
        """
        settled = self._settled(value, node, pooled=True)
        one = self._ones(settled)
        minus = self._emit(
            node, OneToOne(-one, 0 * one, learns=False), settled.raw, suffix="_minus"
        )
        halves = []
        for raw, suffix, sign in ((settled.raw, "_positive", 1.0), (minus, "_negative", -1.0)):
            raw = self._emit(node, Fire(), raw, suffix=suffix)
            for pool in value.pending:
                raced = pool if sign > 0 else pool.turned(-torch.ones_like(one))
                raw = self._emit(node, copy.deepcopy(raced), raw, suffix=f"{suffix}_pool")
            halves.append(raw)
        return halves[0], halves[1]

    def _difference(
        self,
        node: fx.Node,
        positive: fx.Node,
        negative: fx.Node,
        slope: Tensor,
        after: tuple[int, ...],
        learns: bool = False,
    ) -> Value:
        minus = OneToOne(-slope, 0 * slope, learns)
        scaled = self._emit(node, minus, negative, suffix="_scale")
        name = self._name(node, "_sum")
        joined = self.graph.create_node("call_function", torch.add, (positive, scaled), name=name)
        return Value(joined, after)

    def _in_one_window(self, node: fx.Node, charges: fx.Node) -> fx.Node:
        """The charges, of spikes that can race: those of several layers, each with its own window,
        pass one layer of neurons first.
        """
        if len(self._populations(charges)) == 1:
            return charges
        return self._emit(node, Fire(), charges, suffix="_relu")

    def _populations(self, charges: fx.Node) -> set[fx.Node]:
        """The layers of neurons, or the input, whose spikes these charges are of."""
        if charges.op == "placeholder" or isinstance(self.modules.get(str(charges.target)), Fire):
            return {charges}
        return set().union(*map(self._populations, charges.all_input_nodes))

    def _on_channels(self, node: fx.Node, value: Value) -> Value:
        return value if value.per_channel else self._settled(value, node)

    def _ones(self, value: Value) -> Tensor:
        """A one that broadcasts to the shape of a value."""
        return torch.ones([1] * len(value.shape), dtype=torch.float64, device=self.device)

    def _affine(
        self, node: fx.Node, value: Value, scale: Tensor, shift: Tensor, learns: bool = False
    ) -> Value:
        """scale * value + shift, for constants that broadcast to the shape of the value."""
        if not (on_channels(scale) and on_channels(shift)):
            value = self._pooled(value, node)  # the largest may be another value after it
        return value.affine(scale, shift, learns)

    def _is_branch(self, term: Any) -> bool:
        return isinstance(term, fx.Node) and term in self.values

    def _term(self, term: Any) -> Any:
        return term.meta["value"] if isinstance(term, fx.Node) else term

    def _learns(self, *terms: Any) -> bool:
        values = (self._term(term) for term in terms)
        return any(isinstance(value, Tensor) and value.requires_grad for value in values)

    def _is_held(self, term: Any) -> bool:
        """Whether a constant is a parameter or buffer of the network, so that its values may be
        others in a network of the same graph; those that a forward computes are not.
        """
        if not isinstance(term, fx.Node):
            return isinstance(term, nn.Parameter)
        computed = str(term.target).startswith("_tensor_constant")  # by torch.fx, as a buffer too
        return term.op == "get_attr" and not computed

    def _times(self, value: Value, scale: float, shift: float = 0.0) -> Value:
        """scale * value + shift, by plain numbers."""
        one = self._ones(value)
        return value.affine(one * scale, one * shift)

    def _emit(self, node: fx.Node, module: Any, source: fx.Node, suffix: str = "") -> fx.Node:
        """Add a module under the name of the ANN's node, or under one of its own if it has a
        suffix.
        """
        name = self._name(node, suffix)
        self.modules[name] = module
        return self.graph.create_node("call_module", name, (source,), name=name)

    def _join(self, node: fx.Node, function: Callable[..., Tensor], *arguments: Any) -> fx.Node:
        return self.graph.create_node("call_function", function, arguments, name=node.name)

    def _name(self, node: fx.Node, suffix: str) -> str:
        name = node.name + suffix
        while suffix and name in self.names:
            name += "_"
        self.names.add(name)
        return name

    def _refuse(self, node: fx.Node, module: Any, reason: str) -> "Value":
        kind = getattr(module, "name", type(module).__name__)
        where = node.target if node.op == "call_module" else node.name
        raise ConversionError(f"{where} ({kind}) cannot be mapped to TTFS: {reason}")


def _reads(node: fx.Node) -> int:
    """How often a node is read: a sum may take it twice, and each part of a chunk takes it."""
    read: list[fx.Node] = []
    for user in node.users:
        for _ in parts_of(user.meta.get("value")):
            fx.node.map_arg((user.args, user.kwargs), read.append)
    return read.count(node)
