"""The walk over a ReLU network's graph that builds the TTFS network's graph beside it.

Everything between two ReLUs is affine, so it is folded into synapses; `construction` says how
values are carried.
"""

import copy
import dataclasses
import math
from typing import Any

import torch
from torch import Tensor, fx, nn

from ttfs.errors import ConversionError
from ttfs.snn.b1 import Fire
from ttfs.snn.conversion.arguments import arguments
from ttfs.snn.conversion.operations import (
    BATCH_NORMS,
    CONVOLUTIONS,
    IDENTITIES,
    MAX_POOLS,
    MEAN_POOLS,
    REARRANGING,
    TRANSPOSED,
    Add,
    Bound,
    Clip,
    Concatenate,
    Extremum,
    GlobalMax,
    Largest,
    Leaky,
    Rearrange,
    Scale,
    Unsupported,
)
from ttfs.snn.conversion.reading import is_inplace, operation
from ttfs.snn.conversion.rearranging import Rearranging
from ttfs.snn.conversion.tracing import shape
from ttfs.snn.conversion.transposed import as_convolution, spread
from ttfs.snn.conversion.values import (
    Value,
    bias_learns,
    compact,
    join_channels,
    padding,
    sign_of,
)
from ttfs.snn.network import OUTPUT, SpikingNetwork
from ttfs.snn.pools import EarliestSpike
from ttfs.snn.synapses import Spread, Synapses, scale_columns

RANKS = {  # dimensions of one image's value
    1: (nn.Linear,),
    2: (
        nn.Conv1d, nn.ConvTranspose1d, nn.MaxPool1d, nn.AvgPool1d, nn.AdaptiveAvgPool1d,
        nn.AdaptiveMaxPool1d,
    ),
    3: (
        nn.Conv2d, nn.ConvTranspose2d, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d,
        nn.AdaptiveMaxPool2d,
    ),
}  # fmt: skip


class Walk(Rearranging):
    """One walk over the ANN's graph that builds the TTFS network's graph beside it, under the same
    names.
    """

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

    def _call(self, node: fx.Node) -> None:
        module = operation(node, self.ann)
        sources = [source for source in node.all_input_nodes if source in self.values]
        if not sources and not any(source in self.parts for source in node.all_input_nodes):
            self._refuse(node, module, "it does not come from the input")
        if isinstance(module, Unsupported):
            self._refuse(node, module, module.reason)
        if isinstance(module, (Rearrange, *REARRANGING)) or self._joins_positions(node, module):
            return self._rearrange(node, sources)
        first = node.all_input_nodes[0]
        if isinstance(module, Add):
            result = self._add(node, module)
        elif isinstance(module, Concatenate):
            result = self._concatenate(node, module)
        elif isinstance(module, Extremum):
            result = self._extremum(node, module)
        elif isinstance(module, Scale):
            result = self._scale(node, module, sources)
        else:
            result = self._apply(node, module, self._reader(next(iter(sources), first)))
        self.values[node] = result
        if is_inplace(node, self.ann):
            self.values[first] = result
        return None

    def _apply(self, node: fx.Node, module: Any, value: Value) -> Value:
        for rank, kinds in RANKS.items():
            if isinstance(module, kinds) and len(value.shape) != rank:
                takes = ["a vector", "channels x length", "channels x height x width"][rank - 1]
                self._refuse(
                    node, module, f"it takes {takes} an image, not shape {list(value.shape)}"
                )
        if isinstance(module, nn.ReLU):
            return self._fire(node, value)
        if isinstance(module, Clip):
            return self._clip(node, module, value)
        if isinstance(module, Bound):
            return self._bound(node, module, value)
        if isinstance(module, Leaky):
            return self._leaky(node, module, value)
        if isinstance(module, MAX_POOLS):
            return self._max_pool(node, module, value)
        if isinstance(module, Largest):
            return self._largest(node, module, value)
        if isinstance(module, IDENTITIES):
            return value
        if isinstance(module, BATCH_NORMS):
            return self._batch_norm(node, module, value)
        value = self._pooled(value, node)
        if isinstance(module, TRANSPOSED):
            return self._transposed(node, module, value)
        if isinstance(module, CONVOLUTIONS):
            return self._synapses(node, module, self._on_channels(node, value))
        if isinstance(module, nn.Linear):
            return self._synapses(node, module, value)
        if isinstance(module, MEAN_POOLS):
            return self._mean_pool(node, module, self._on_channels(node, value))
        return self._refuse(node, module, "there is no exact TTFS counterpart")

    # ---- neurons ----

    def _fire(self, node: fx.Node, value: Value, ceiling: float = math.inf) -> Value:
        if value.spikes and value.scale is None and ceiling == math.inf:
            return value  # the ReLU of what is already >= 0
        value = self._settled(value, node, pooled=True)
        raw = self._emit(
            node, Fire(ceiling=ceiling), value.raw, suffix="_relu" if node.name == OUTPUT else ""
        )
        for pool in value.pending:
            raw = self._emit(node, copy.deepcopy(pool), raw, suffix="_pool")
        return Value(raw, value.shape, spikes=True)

    def _clip(self, node: fx.Node, module: Clip, value: Value) -> Value:
        """min(max(v, low), high) = low + s, s of neurons that fire at the opening from high - low
        on.
        """
        low, high = module.low, module.high
        if low == -math.inf:  # high - relu(high - v)
            return self._times(self._fire(node, self._times(value, -1.0, high)), -1.0, high)
        if (low, high) == (0.0, math.inf):
            return self._fire(node, value)
        shifted = self._times(value, 1.0, -low) if low else value
        fired = self._fire(node, shifted, high - low)
        return self._times(fired, 1.0, low) if low else fired

    def _bound(self, node: fx.Node, module: Bound, value: Value) -> Value:
        """max(v, c) = c + relu(v - c), and min(v, c) = c - relu(c - v)."""
        held = any(map(self._is_held, (*node.args, *node.kwargs.values())))
        constant = self._like(node, module.constant, value, held)
        sign = compact(torch.ones_like(constant)) * (-1.0 if module.smaller else 1.0)
        fired = self._fire(node, self._affine(node, value, sign, -sign * constant))
        return self._affine(node, fired, sign, constant)

    def _leaky(self, node: fx.Node, module: Leaky, value: Value) -> Value:
        """relu(v) - slope relu(-v): two neurons each."""
        slope = module.slope.reshape(-1, *[1] * (len(value.shape) - 1))
        positive, negative = self._halves(node, value)
        return self._difference(node, positive, negative, slope, value.shape, module.learns)

    def _max_pool(self, node: fx.Node, module: Any, value: Value) -> Value:
        if getattr(module, "return_indices", False):
            self._refuse(node, module, "return_indices=True has no meaning for spikes")
        value = self._on_channels(node, value)
        pool, after = copy.deepcopy(module), shape(node) or ()
        if isinstance(pool, GlobalMax) and not pool.keep:
            kept = (*after, *[1] * (len(value.shape) - 1))
            value = self._race(node, GlobalMax(True), value, kept, "_max")
            return self._reshape(node, self._pooled(value, node), after)
        return self._race(node, pool, value, after)

    def _extremum(self, node: fx.Node, module: Extremum) -> Value:
        """Both branches side by side, and the larger of each two; min(v, w) = -max(-v, -w)."""
        sources = [term for term in arguments(node).values() if isinstance(term, fx.Node)]
        shapes = [self.values[source].shape for source in sources]
        if shapes[0] != shapes[1]:
            self._refuse(node, module, f"it has shapes {list(shapes[0])} and {list(shapes[1])}")
        numbers = torch.arange(1, 2 * math.prod(shapes[0]) + 1, device=self.device)
        pair = self._moved(node, numbers.reshape(2, *shapes[0]), sources)
        if not module.smaller:
            return self._largest(node, Largest((1,)), pair)
        return self._times(self._largest(node, Largest((1,)), self._times(pair, -1.0)), -1.0)

    def _largest(self, node: fx.Node, module: Largest, value: Value) -> Value:
        """The earliest spike over dimensions; of potentials max relu(v) - min relu(-v)."""
        value, after = self._settled(value, node), shape(node) or ()
        kept = tuple(module(torch.empty(1, *value.shape, device="meta")).shape[1:])
        if value.spikes or value.moved:
            charges = self._in_one_window(node, value.raw)
            raw = self._emit(node, EarliestSpike(module), charges, suffix="_max")
            return self._reshape(node, Value(raw, kept, moved=True), after, "_shape")
        waiting = dataclasses.replace(value, pending=[EarliestSpike(module)])
        halves = self._halves(node, waiting)
        joined = self._difference(node, *halves, self._ones(value), kept)
        return self._reshape(node, joined, after, "_shape")

    def _race(
        self, node: fx.Node, pool: Any, value: Value, after: tuple[int, ...], suffix: str = ""
    ) -> Value:
        if value.spikes or value.moved:
            sign = None if value.scale is None else sign_of(value.scale)
            charges = self._in_one_window(node, value.raw) if value.moved else value.raw
            raw = self._emit(node, EarliestSpike(pool, sign), charges, suffix)
            return dataclasses.replace(value, raw=raw, shape=after)
        return dataclasses.replace(
            value, shape=after, pending=[*value.pending, EarliestSpike(pool)]
        )

    # ---- affine maps ----

    def _batch_norm(self, node: fx.Node, module: Any, value: Value) -> Value:
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
        learns = any(parameter.requires_grad for parameter in module.parameters())
        return value.affine(scale.detach().reshape(column), shift.detach().reshape(column), learns)

    def _synapses(self, node: fx.Node, module: Any, value: Value) -> Value:
        weights = copy.deepcopy(module).double()
        after = shape(node) or ()
        bias_map = None
        if value.shift is not None:
            learns = bias_learns(weights, value)
            with torch.no_grad():
                shifted = weights(value.shift.expand(value.shape).unsqueeze(0))[0]
            if isinstance(weights, nn.Linear) or not any(padding(weights)):
                folded = shifted.reshape(after[0], -1)[:, 0].clone()
                weights.bias = nn.Parameter(folded, learns)
            else:
                bias_map, weights.bias = nn.Parameter(shifted, learns), None
        if value.scale is not None:
            with torch.no_grad():
                scale_columns(weights, value.scale.reshape(-1))
        raw = self._emit(node, Synapses(weights, bias_map), value.raw)
        return Value(raw, after, owned=True)

    def _transposed(self, node: fx.Node, module: Any, value: Value) -> Value:
        """The inputs apart by the stride, zeros between and around them, and a convolution."""
        value = self._settled(value, node)
        numbers = spread(module, value.shape, shape(node) or ()).to(self.device)
        after = tuple(numbers.shape)
        raw = self._emit(node, Spread(numbers.flatten() - 1, after), value.raw, suffix="_spread")
        return self._synapses(node, as_convolution(module), Value(raw, after))

    def _mean_pool(self, node: fx.Node, module: Any, value: Value) -> Value:
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
        return Value(raw, after, scale=scale, shift=shift, learns=value.learns)

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

    def _scale(self, node: fx.Node, module: Scale, sources: list[fx.Node]) -> Value:
        """The product with a constant."""
        rounding = node.kwargs.get("rounding_mode")
        if rounding is not None:
            self._refuse(node, module, f"it rounds values (rounding_mode={rounding!r})")
        terms = _terms(node, "rounding_mode")
        constants = [term for term in terms if not self._is_branch(term)]
        if len(sources) != 1 or sum(map(self._is_branch, terms)) != 1 or len(constants) > 1:
            self._refuse(node, module, "only the product with a constant can be mapped")
        if module.divide and not self._is_branch(terms[0]):
            self._refuse(node, module, "the input comes below the line")
        value = self._reader(sources[0])
        factor: Tensor = self._like(node, constants[0] if constants else -1.0, value)
        if module.divide:
            factor = factor.reciprocal()
        nothing = compact(torch.zeros_like(factor))
        return self._affine(node, value, factor, nothing, self._learns(*constants))

    def _like(self, node: fx.Node, term: Any, value: Value, held: bool = False) -> Tensor:
        """A constant with as many dimensions as one image's value, to be broadcast to it."""
        tensor = torch.as_tensor(self._term(term), dtype=torch.float64, device=self.device).detach()
        ndim = len(value.shape)
        if tensor.dim() == ndim + 1 and torch.equal(tensor, tensor[:1].expand_as(tensor)):
            tensor = tensor[0]  # the same for each image
        tensor = tensor.reshape([1] * (ndim - tensor.dim()) + list(tensor.shape))
        if tensor.dim() != ndim or torch.broadcast_shapes(tensor.shape, value.shape) != value.shape:
            self._refuse(node, operation(node, self.ann), "its constant has another shape")
        return tensor if held or self._is_held(term) else compact(tensor)

    def _add(self, node: fx.Node, module: Add) -> Value:
        terms = _terms(node, "alpha")
        alpha: Any = node.kwargs.get("alpha", 1)
        factor = module.sign * alpha
        if len(terms) != 2:
            self._refuse(node, module, f"it has {len(terms)} terms")
        one, other = terms
        if not self._is_branch(other) or not self._is_branch(one):
            branch, constant = (one, other) if self._is_branch(one) else (other, one)
            value = self._reader(branch)
            leads = branch is one
            learns = self._learns(constant)
            constant = self._like(node, constant, value)
            turn = compact(torch.ones_like(constant)) * (1.0 if leads else factor)
            shift = constant * (factor if leads else 1.0)
            return self._affine(node, value, turn, shift, learns)
        first = self._reader(one)
        second = first if other is one else self._reader(other)
        if first.shape != second.shape:
            shapes = f"{list(first.shape)} and {list(second.shape)}"
            self._refuse(node, module, f"its terms have shapes {shapes}")
        if factor != 1:
            second = self._times(second, float(factor))
        raw = self._settled(first, node).raw
        other_raw = raw if second is first else self._settled(second, node).raw
        return Value(self._join(node, torch.add, raw, other_raw), first.shape)

    def _concatenate(self, node: fx.Node, module: Any) -> Value:
        tensors: Any = node.args[0] if node.args else node.kwargs["tensors"]
        if not all(isinstance(part, fx.Node) and part in self.values for part in tensors):
            self._refuse(node, module, "it takes something that does not come from the input")
        parts = [self._pooled(self._reader(part), node) for part in tensors]
        raw = self._join(node, torch.cat, [part.raw for part in parts], 1)
        spikes = all(part.spikes for part in parts)
        moved = spikes and any(part.moved for part in parts)
        learns = any(part.learns for part in parts)
        joined = Value(raw, shape(node) or (), spikes, moved, learns=learns)
        if any(part.scale is not None for part in parts):
            joined.scale = join_channels([(part.scale, part.shape) for part in parts], 1.0)
            joined.shift = join_channels([(part.shift, part.shape) for part in parts], 0.0)
        return joined


def _terms(node: fx.Node, option: str) -> list[Any]:
    """The terms of a sum or a product, by place or by name; the option is none."""
    return [*node.args, *(term for key, term in node.kwargs.items() if key != option)]
