"""The walk over a ReLU network's graph that builds the TTFS network's graph beside it.

Everything between two ReLUs is affine, so it is folded into synapses. A value of the ReLU network
is carried in the TTFS network as `scale * raw + shift`, where raw is a node of the new graph; scale
and shift (batch norm after ReLU, inputs on [p, q]) wait until the next weights can take them in:

    W (scale * s + shift) + D  =  (W scale) s  +  (D + W shift)

where `W shift` is a map, different at the border, if W is zero-padded. Scales are per channel where
pooling needs it.
"""

import copy
import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn

from ttfs.errors import ConversionError
from ttfs.snn.b1 import Fire
from ttfs.snn.conversion.copying import Float64
from ttfs.snn.conversion.operations import (
    BATCH_NORMS,
    CONVOLUTIONS,
    IDENTITIES,
    MAX_POOLS,
    MEAN_POOLS,
    REARRANGING,
    Add,
    Clip,
    Concatenate,
    GlobalMax,
    Leaky,
    Rearrange,
    Scale,
    Unsupported,
    is_inplace,
    operation,
)
from ttfs.snn.conversion.tracing import shape
from ttfs.snn.graph import compute
from ttfs.snn.network import OUTPUT, SpikingNetwork
from ttfs.snn.pools import EarliestSpike
from ttfs.snn.synapses import Gather, OneToOne, Reshape, Synapses, scale_columns

RANKS = {  # dimensions of one image's value
    1: (nn.Linear,),
    2: (nn.Conv1d, nn.MaxPool1d, nn.AvgPool1d, nn.AdaptiveAvgPool1d, nn.AdaptiveMaxPool1d),
    3: (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d),
}


@dataclass
class _Value:
    """A value of the ANN: `scale * raw + shift`, after the pools of `pending`."""

    raw: fx.Node
    shape: tuple[int, ...]
    spikes: bool = False  # raw is charges of neurons, >= 0; else a weighted sum of them
    moved: bool = False  # raw is charges of spikes in another shape, which pooling can race as well
    scale: Tensor | None = None  # broadcasts to shape; None, as shift then is: 1
    shift: Tensor | None = None  # broadcasts to shape; None, as scale then is: 0
    owned: bool = (
        False  # raw comes from synapses nobody else reads: scale and shift may be folded into them
    )
    pending: list[EarliestSpike] = field(default_factory=list)  # max pools that wait for their ReLU


class Walk:
    """One walk over the ANN's graph that builds the TTFS network's graph beside it, under the same
    names.
    """

    def __init__(self, ann: fx.GraphModule, low: float, high: float):
        self.ann = ann
        self.names = {node.name for node in ann.graph.nodes}
        self.range = (low, high)
        self.graph = fx.Graph()
        self.modules: dict[str, nn.Module] = {}
        self.values: dict[fx.Node, _Value] = {}
        self.parts: dict[fx.Node, list[tuple[Tensor, list[fx.Node]]]] = {}  # of a chunk or split
        self.device = next(node.meta["value"].device for node in ann.graph.nodes)

    def run(self) -> SpikingNetwork:
        """Visit each node of the ANN's graph in order and return the TTFS network."""
        for node in self.ann.graph.nodes:
            if node.op == "placeholder":
                self.values[node] = self._input(node)
                input_shape = self.values[node].shape
            elif node.op == "output":
                (logits,) = node.args
                if not isinstance(logits, fx.Node) or logits not in self.values:
                    raise ConversionError(
                        "the network returns something else than one tensor of logits"
                    )
                self.graph.output(self._settled(self.values[logits], logits).raw)
            elif node.op != "get_attr":
                self._call(node)
        body = fx.GraphModule(self.modules, self.graph).double()
        return SpikingNetwork(body, self.range, input_shape)

    def _input(self, node: fx.Node) -> _Value:
        low, high = self.range
        value = _Value(self.graph.placeholder(node.name), shape(node) or (), spikes=True)
        if (low, high) != (0.0, 1.0):
            one = torch.ones([1] * len(value.shape), dtype=torch.float64, device=self.device)
            value.scale, value.shift = one * (high - low), one * low
        return value

    def _call(self, node: fx.Node) -> None:
        module = operation(node, self.ann)
        sources = [source for source in node.all_input_nodes if source in self.values]
        if not sources and not any(source in self.parts for source in node.all_input_nodes):
            self._refuse(node, module, "it does not come from the input")
        if isinstance(module, (Rearrange, *REARRANGING)) or self._joins_positions(node, module):
            return self._rearrange(node, sources)
        first = node.all_input_nodes[0]
        if isinstance(module, Add):
            result = self._add(node, module)
        elif isinstance(module, Concatenate):
            result = self._concatenate(node, module)
        elif isinstance(module, Scale):
            result = self._scale(node, module, sources)
        else:
            result = self._apply(node, module, self._reader(first))
        self.values[node] = result
        if is_inplace(node, self.ann) and not isinstance(module, IDENTITIES):
            self.values[first] = result
        return None

    def _apply(self, node: fx.Node, module: Any, value: _Value) -> _Value:
        for rank, kinds in RANKS.items():
            if isinstance(module, kinds) and len(value.shape) != rank:
                takes = ["a vector", "channels x length", "channels x height x width"][rank - 1]
                self._refuse(
                    node, module, f"it takes {takes} an image, not shape {list(value.shape)}"
                )
        if isinstance(module, Unsupported):
            self._refuse(node, module, module.reason)
        if isinstance(module, nn.ReLU):
            return self._fire(node, value)
        if isinstance(module, Clip):
            return self._clip(node, module, value)
        if isinstance(module, Leaky):
            return self._leaky(node, module, value)
        if isinstance(module, MAX_POOLS):
            return self._max_pool(node, module, value)
        if isinstance(module, IDENTITIES):
            return value
        if isinstance(module, BATCH_NORMS):
            return self._batch_norm(node, module, value)
        value = self._pooled(value, node)
        if isinstance(module, CONVOLUTIONS):
            return self._synapses(node, module, self._on_channels(node, value))
        if isinstance(module, nn.Linear):
            return self._synapses(node, module, value)
        if isinstance(module, MEAN_POOLS):
            return self._mean_pool(node, module, self._on_channels(node, value))
        return self._refuse(node, module, "there is no exact TTFS counterpart")

    # ---- neurons ----

    def _fire(
        self, node: fx.Node, value: _Value, always: bool = False, ceiling: float = math.inf
    ) -> _Value:
        if value.spikes and value.scale is None and not always:
            return value  # the ReLU of what is already >= 0
        value = self._settled(value, node, pooled=True)
        raw = self._emit(
            node, Fire(ceiling=ceiling), value.raw, suffix="_relu" if node.name == OUTPUT else ""
        )
        for pool in value.pending:
            raw = self._emit(node, pool, raw, suffix="_pool")
        return _Value(raw, value.shape, spikes=True)

    def _clip(self, node: fx.Node, module: Clip, value: _Value) -> _Value:
        """min(max(v, low), high) = low + s, s of neurons that fire at the opening from high - low
        on.
        """
        low, high = module.low, module.high
        if low == -math.inf:  # high - relu(high - v)
            return _times(self._fire(node, _times(value, -1.0, high), True), -1.0, high)
        if (low, high) == (0.0, math.inf):
            return self._fire(node, value)
        shifted = _times(value, 1.0, -low) if low else value
        fired = self._fire(node, shifted, True, high - low)
        return _times(fired, 1.0, low) if low else fired

    def _leaky(self, node: fx.Node, module: Leaky, value: _Value) -> _Value:
        """relu(v) - slope relu(-v): two neurons each."""
        slope = module.slope.reshape(-1, *[1] * (len(value.shape) - 1))
        positive, negative = self._halves(node, value)
        return self._difference(node, positive, negative, slope, value.shape)

    def _halves(self, node: fx.Node, value: _Value) -> tuple[fx.Node, fx.Node]:
        """The charges of neurons for relu(v) and for relu(-v), before and after the pools that
        wait.
        """
        settled = self._settled(value, node, pooled=True)
        one = torch.ones([1] * len(settled.shape), dtype=torch.float64, device=self.device)
        minus = self._emit(node, OneToOne(-one, 0 * one), settled.raw, suffix="_minus")
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
    ) -> _Value:
        scaled = self._emit(node, OneToOne(-slope, 0 * slope), negative, suffix="_scale")
        name = self._name(node, "_sum")
        joined = self.graph.create_node("call_function", torch.add, (positive, scaled), name=name)
        return _Value(joined, after)

    def _pooled(self, value: _Value, node: fx.Node) -> _Value:
        """The value after the pools that wait for a ReLU which never came: max v = max relu(v) -
        min relu(-v).
        """
        if not value.pending:
            return value
        one = torch.ones([1] * len(value.shape), dtype=torch.float64, device=self.device)
        return self._difference(node, *self._halves(node, value), one, value.shape)

    def _max_pool(self, node: fx.Node, module: Any, value: _Value) -> _Value:
        if getattr(module, "return_indices", False):
            self._refuse(node, module, "return_indices=True has no meaning for spikes")
        value = self._on_channels(node, value)
        pool, after = copy.deepcopy(module), shape(node) or ()
        if isinstance(pool, GlobalMax) and not pool.keep:
            kept = (*after, *[1] * (len(value.shape) - 1))
            value = self._race(node, GlobalMax(True), value, kept, "_max")
            return self._reshape(node, self._pooled(value, node), after)
        return self._race(node, pool, value, after)

    def _race(
        self, node: fx.Node, pool: Any, value: _Value, after: tuple[int, ...], suffix: str = ""
    ) -> _Value:
        if value.spikes or value.moved:
            sign = None if value.scale is None else self._sign(value.scale)
            raw = self._emit(node, EarliestSpike(pool, sign), value.raw, suffix)
            return dataclasses.replace(value, raw=raw, shape=after)
        return dataclasses.replace(
            value, shape=after, pending=[*value.pending, EarliestSpike(pool)]
        )

    def _sign(self, scale: Tensor) -> Tensor:
        return torch.where(scale < 0, -1.0, 1.0).double()

    # ---- affine maps ----

    def _batch_norm(self, node: fx.Node, module: Any, value: _Value) -> _Value:
        if module.running_mean is None:
            self._refuse(
                node,
                module,
                "it normalises with the statistics of each batch (track_running_stats=False)",
            )
        column = [-1] + [1] * (len(value.shape) - 1)
        scale = (module.running_var.double() + module.eps).rsqrt()
        scale = scale if module.weight is None else scale * module.weight.double()
        shift = -module.running_mean.double() * scale
        shift = shift if module.bias is None else shift + module.bias.double()
        scale, shift = scale.detach().reshape(column), shift.detach().reshape(column)
        return dataclasses.replace(
            value,
            scale=scale if value.scale is None else scale * value.scale,
            shift=shift if value.shift is None else scale * value.shift + shift,
            pending=[pool.turned(self._sign(scale)) for pool in value.pending],
        )

    def _synapses(self, node: fx.Node, module: Any, value: _Value) -> _Value:
        weights = copy.deepcopy(module).double()
        after = shape(node) or ()
        bias_map = None
        if value.shift is not None:
            with torch.no_grad():
                shifted = weights(value.shift.expand(value.shape).unsqueeze(0))[0]
            if isinstance(weights, nn.Linear) or not any(_padding(weights)):
                weights.bias = nn.Parameter(shifted.reshape(after[0], -1)[:, 0].clone())
            else:
                bias_map, weights.bias = shifted, None
        if value.scale is not None:
            with torch.no_grad():
                scale_columns(weights, value.scale.reshape(-1))
        raw = self._emit(node, Synapses(weights, bias_map), value.raw)
        return _Value(raw, after, owned=True)

    def _mean_pool(self, node: fx.Node, module: Any, value: _Value) -> _Value:
        counts_border = getattr(module, "count_include_pad", False) and module.padding not in (
            0,
            (0,),
            (0, 0),
        )
        adds = getattr(module, "function", None) is torch.sum
        if adds or counts_border or getattr(module, "divisor_override", None) is not None:
            value = self._settled(value, node)  # the mean of a constant is not that constant
        raw, after = self._emit(node, copy.deepcopy(module), value.raw), shape(node) or ()
        scale, shift = (
            None if part is None else part.reshape(-1, *[1] * (len(after) - 1))
            for part in (value.scale, value.shift)
        )
        return _Value(raw, after, scale=scale, shift=shift)

    def _joins_positions(self, node: fx.Node, module: nn.Module) -> bool:
        """Whether it concatenates along another dimension than the channels."""
        if not isinstance(module, Concatenate):
            return False
        dim = (
            node.args[1]
            if len(node.args) > 1
            else node.kwargs.get("dim", node.kwargs.get("axis", 0))
        )
        return dim not in (1, -len(shape(node) or ()))

    def _rearrange(self, node: fx.Node, sources: list[fx.Node]) -> None:
        """Find out where each value goes by sending numbers through instead, for two images."""
        if node.args and node.args[0] in self.parts:
            which: Any = node.args[1]
            numbers, sources = self.parts[node.args[0]][which]  # type: ignore[index]
            self.values[node] = self._moved(node, numbers, sources)
            return
        first, total = {}, 0
        if node.op == "call_method" and str(node.target).endswith("_as"):
            sources = sources[:1]  # the other gives its shape or type
        for source in sources:
            size = math.prod(self.values[source].shape)
            places = torch.arange(
                total + 1, total + size + 1, dtype=torch.float64, device=self.device
            )
            first[source], total = places.reshape(self.values[source].shape), total + size
        images = {
            source: torch.stack([numbers, numbers + total]) for source, numbers in first.items()
        }
        args, kwargs = fx.node.map_arg(
            (node.args, node.kwargs), lambda source: images.get(source, source.meta["value"])
        )
        with Float64():  # numbers stay exact where values are cast
            found = compute(self.ann, node, args, kwargs)
        parts = found if isinstance(found, tuple | list) else [found]
        for part in parts:
            one, two = part[0], part[-1]
            if len(part) != 2 or not ((two == one + total) | ((one == 0) & (two == 0))).all():
                self._refuse(node, operation(node, self.ann), "it moves values between images")
            inside = (one >= 0) & (one <= total) & (one == one.round())
            if not inside.all():
                self._refuse(node, operation(node, self.ann), "it pads with another value than 0")
        if isinstance(found, tuple | list):
            self.parts[node] = [(part[0], sources) for part in parts]
        else:
            self.values[node] = self._moved(node, parts[0][0], sources)

    def _moved(self, node: fx.Node, numbers: Tensor, sources: list[fx.Node]) -> _Value:
        """The values of the sources at the places that the numbers say, counted from 1; 0 is a
        0.
        """
        values = [self._pooled(self._reader(source), node) for source in sources]
        if len(values) > 1:
            return self._moved_together(node, numbers, values)
        (value,), after = values, tuple(numbers.shape)
        index = numbers.flatten().long() - 1
        if torch.equal(index, torch.arange(math.prod(value.shape), device=index.device)):
            return self._reshape(node, value, after)
        scale, shift = (
            None
            if part is None
            else _moved_constant(part.expand(value.shape), index, neutral, after)
            for part, neutral in ((value.scale, 1.0), (value.shift, 0.0))
        )
        raw = self._emit(node, Gather(index, after), value.raw)
        moved = value.spikes or value.moved
        return _Value(raw, after, value.spikes, moved, scale, shift)

    def _moved_together(self, node: fx.Node, numbers: Tensor, values: list[_Value]) -> _Value:
        settled = [self._settled(value, node) for value in values]
        flat = [
            self._emit(node, Reshape([math.prod(v.shape)]), v.raw, suffix="_flat") for v in settled
        ]
        joined = self.graph.create_node("call_function", torch.cat, (flat, 1))
        raw = self._emit(node, Gather(numbers.flatten().long() - 1, numbers.shape), joined)
        return _Value(raw, tuple(numbers.shape), moved=all(v.spikes or v.moved for v in settled))

    def _reshape(self, node: fx.Node, value: _Value, after: tuple[int, ...]) -> _Value:
        scale, shift = (
            None if part is None else part.expand(value.shape).reshape(after)
            for part in (value.scale, value.shift)
        )
        if after == value.shape:
            return _Value(value.raw, after, value.spikes, value.moved, scale, shift)
        raw = self._emit(node, Reshape(after), value.raw)
        moved = value.spikes or value.moved
        return _Value(raw, after, moved=moved, scale=_compact(scale), shift=_compact(shift))

    def _scale(self, node: fx.Node, module: Scale, sources: list[fx.Node]) -> _Value:
        """The product with a constant."""
        constants = [self._term(term) for term in node.args if not self._is_branch(term)]
        if len(sources) != 1 or sum(map(self._is_branch, node.args)) != 1 or len(constants) > 1:
            self._refuse(node, module, "only the product with a constant can be mapped")
        if module.divide and not self._is_branch(node.args[0]):
            self._refuse(node, module, "the input comes below the line")
        value = self._reader(sources[0])
        factor: Tensor = self._like(node, constants[0] if constants else -1.0, value)
        if module.divide:
            factor = factor.reciprocal()
        return self._affine(value, factor, torch.zeros_like(factor))

    def _is_branch(self, term: Any) -> bool:
        return isinstance(term, fx.Node) and term in self.values

    def _term(self, term: Any) -> Any:
        return term.meta["value"] if isinstance(term, fx.Node) else term

    def _like(self, node: fx.Node, constant: Any, value: _Value) -> Tensor:
        """A constant with as many dimensions as one image's value, to be broadcast to it."""
        tensor = torch.as_tensor(constant, dtype=torch.float64, device=self.device).detach()
        ndim = len(value.shape)
        if tensor.dim() == ndim + 1 and tensor.shape[0] == 1:
            tensor = tensor[0]
        tensor = tensor.reshape([1] * (ndim - tensor.dim()) + list(tensor.shape))
        if tensor.dim() != ndim or torch.broadcast_shapes(tensor.shape, value.shape) != value.shape:
            self._refuse(node, operation(node, self.ann), "its constant has another shape")
        return tensor

    def _affine(self, value: _Value, scale: Tensor, shift: Tensor) -> _Value:
        """scale * value + shift."""
        if value.pending and not all(math.prod(part.shape[1:]) == 1 for part in (scale, shift)):
            raise ConversionError(
                "a constant that differs within a channel meets a max pool without ReLU"
            )
        return dataclasses.replace(
            value,
            scale=_compact(scale if value.scale is None else scale * value.scale),
            shift=_compact(shift if value.shift is None else scale * value.shift + shift),
            pending=[pool.turned(self._sign(scale)) for pool in value.pending],
        )

    def _add(self, node: fx.Node, module: Add) -> _Value:
        terms: list[Any] = [
            *node.args,
            *(term for key, term in node.kwargs.items() if key != "alpha"),
        ]
        alpha: Any = node.kwargs.get("alpha", 1)
        factor = module.sign * alpha
        if len(terms) != 2:
            self._refuse(node, module, f"it has {len(terms)} terms")
        one, other = terms
        if not self._is_branch(other) or not self._is_branch(one):
            branch, constant = (one, other) if self._is_branch(one) else (other, one)
            value = self._reader(branch)
            first = branch is one
            constant = self._like(node, self._term(constant), value)
            turn = torch.ones_like(constant) * (1.0 if first else factor)
            return self._affine(value, turn, constant * (factor if first else 1.0))
        values = {term: self._reader(term) for term in dict.fromkeys(terms)}
        shapes = [values[term].shape for term in terms]
        if shapes[0] != shapes[1]:
            self._refuse(
                node, module, f"its terms have shapes {list(shapes[0])} and {list(shapes[1])}"
            )
        if factor == 1:
            raws = {term: self._settled(value, node).raw for term, value in values.items()}
            return _Value(self._join(node, torch.add, raws[one], raws[other]), shapes[0])
        second = _times(dataclasses.replace(values[other], owned=False), float(factor))
        both = [self._settled(value, node).raw for value in (values[one], second)]
        return _Value(self._join(node, torch.add, *both), shapes[0])

    def _concatenate(self, node: fx.Node, module: Any) -> _Value:
        tensors: Any = node.args[0] if node.args else node.kwargs["tensors"]
        if not all(isinstance(part, fx.Node) and part in self.values for part in tensors):
            self._refuse(node, module, "it takes something that does not come from the input")
        parts = [self._pooled(self._reader(part), node) for part in tensors]
        raw = self._join(node, torch.cat, [part.raw for part in parts], 1)
        joined = _Value(raw, shape(node) or (), spikes=all(part.spikes for part in parts))
        if any(part.scale is not None for part in parts):
            joined.scale = _join_channels([(part.scale, part.shape) for part in parts], 1.0)
            joined.shift = _join_channels([(part.shift, part.shape) for part in parts], 0.0)
        return joined

    # ---- help ----

    def _reader(self, node: fx.Node) -> _Value:
        """Value of a node, as one of its readers sees it: shared if there are more."""
        value = self.values[node]
        return value if self._readers(node) <= 1 else dataclasses.replace(value, owned=False)

    def _readers(self, node: fx.Node) -> int:
        return sum(
            self._readers(user)
            if user.op != "output" and isinstance(operation(user, self.ann), IDENTITIES)
            else 1
            for user in node.users
        )

    def _on_channels(self, node: fx.Node, value: _Value) -> _Value:
        return value if self._per_channel(value) else self._settled(value, node)

    def _per_channel(self, value: _Value) -> bool:
        parts = [part for part in (value.scale, value.shift) if part is not None]
        return all(math.prod(part.shape[1:]) == 1 for part in parts)

    def _settled(self, value: _Value, node: fx.Node, pooled: bool = False) -> _Value:
        """The value with scale 1 and shift 0: folded into the synapses it comes from, or into new
        one-to-one ones.
        """
        if value.pending and not pooled:
            value = self._pooled(value, node)
        if value.scale is None or value.shift is None:
            return value
        settled = dataclasses.replace(value, scale=None, shift=None, spikes=False, moved=False)
        synapses = self.modules.get(str(value.raw.target))
        if value.owned and isinstance(synapses, Synapses) and self._per_channel(value):
            _fold(synapses, value.scale, value.shift)
        else:
            one_to_one = OneToOne(value.scale.clone(), value.shift.clone())
            settled.raw = self._emit(node, one_to_one, value.raw, suffix="_scale")
        return settled

    def _emit(self, node: fx.Node, module: Any, source: fx.Node, suffix: str = "") -> fx.Node:
        """Add a module under the name of the ANN's node, or under one of its own if it has a
        suffix.
        """
        name = self._name(node, suffix)
        self.modules[name] = module
        return self.graph.create_node("call_module", name, (source,), name=name)

    def _name(self, node: fx.Node, suffix: str) -> str:
        name = node.name + suffix
        while suffix and name in self.names:
            name += "_"
        self.names.add(name)
        return name

    def _join(self, node: fx.Node, function: Callable[..., Tensor], *arguments: Any) -> fx.Node:
        return self.graph.create_node("call_function", function, arguments, name=node.name)

    def _refuse(self, node: fx.Node, module: Any, reason: str) -> "_Value":
        kind = getattr(module, "name", type(module).__name__)
        where = node.target if node.op == "call_module" else node.name
        raise ConversionError(f"{where} ({kind}) cannot be mapped to TTFS: {reason}")


def _times(value: _Value, scale: float, shift: float = 0.0) -> _Value:
    """scale * value + shift, by plain numbers; scale is negative where no pool waits."""
    ndim = len(value.shape)
    device = None if value.scale is None else value.scale.device
    one = torch.ones([1] * ndim, dtype=torch.float64, device=device)
    pools = [pool.turned(-one) for pool in value.pending]
    return dataclasses.replace(
        value,
        scale=one * scale if value.scale is None else scale * value.scale,
        shift=one * shift if value.shift is None else scale * value.shift + shift,
        pending=pools if scale < 0 else value.pending,
    )


def _compact(part: Tensor | None) -> Tensor | None:
    """A constant with one value a channel, where it is the same all over each channel."""
    if part is None or part.dim() < 2 or math.prod(part.shape[1:]) == 1:
        return part
    first = part.reshape(len(part), -1)[:, :1].reshape(-1, *[1] * (part.dim() - 1))
    return first if torch.equal(first.expand_as(part), part) else part


def _moved_constant(
    part: Tensor, index: Tensor, neutral: float, after: tuple[int, ...]
) -> Tensor | None:
    """A scale or shift [...] at the places of the index; neutral where it is -1."""
    taken = part.reshape(-1)[index.clamp(min=0)]
    return _compact(torch.where(index < 0, neutral, taken).reshape(after))


def _fold(synapses: Synapses, scale: Tensor, shift: Tensor) -> None:
    """Replace the synapses' W and D by scale W and scale D + shift."""
    weights: Any = synapses.weights
    scale, shift = scale.reshape(-1), shift.reshape(-1)
    with torch.no_grad():
        weights.weight.mul_(scale.reshape(-1, *[1] * (weights.weight.dim() - 1)))
        if synapses.bias_map is not None:
            column = [-1] + [1] * (synapses.bias_map.dim() - 1)
            synapses.bias_map.mul_(scale.reshape(column)).add_(shift.reshape(column))
        else:
            bias = shift if weights.bias is None else weights.bias * scale + shift
            weights.bias = nn.Parameter(bias.expand(weights.weight.shape[0]).clone())


def _join_channels(columns: list[tuple[Tensor | None, tuple[int, ...]]], neutral: float) -> Tensor:
    """Concatenate the scales or shifts of branches of the given shapes along the channels."""
    device = next(column.device for column, _ in columns if column is not None)
    neutrals = [
        torch.full([1] * len(after), neutral, dtype=torch.float64, device=device)
        for _, after in columns
    ]
    tensors = [
        other if column is None else column
        for (column, _), other in zip(columns, neutrals, strict=True)
    ]
    rest = torch.broadcast_shapes(*(tensor.shape[1:] for tensor in tensors))
    return torch.cat(
        [t.expand(after[0], *rest) for t, (_, after) in zip(tensors, columns, strict=True)]
    )


def _padding(convolution: Any) -> tuple[int, ...]:
    """Zero padding of a convolution; none where the border repeats the image."""
    if convolution.padding_mode != "zeros" or convolution.padding == "valid":
        return (0,)
    if convolution.padding == "same":
        return tuple(
            d * (k - 1) for d, k in zip(convolution.dilation, convolution.kernel_size, strict=True)
        )
    return tuple(convolution.padding)
