"""The walk over a ReLU network's graph that builds the TTFS network's graph beside it.

Everything between two ReLUs is affine, so it is folded into synapses. A value of the ReLU network is carried in the
TTFS network as `scale * raw + shift`, where raw is a node of the new graph; scale and shift (batch norm after ReLU,
inputs on [p, q]) wait until the next weights can take them in:

    W (scale * s + shift) + D  =  (W scale) s  +  (D + W shift)

where `W shift` is a map, different at the border, if W is zero-padded. Scales are per channel where pooling needs it.
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
from ttfs.snn.conversion.tracing import (
    Add,
    Concatenate,
    SpatialMean,
    is_inplace,
    operation,
    shape,
)
from ttfs.snn.network import OUTPUT, SpikingNetwork
from ttfs.snn.pools import EarliestSpike
from ttfs.snn.synapses import OneToOne, Reshape, Synapses, scale_columns

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
MAX_POOLS = (nn.MaxPool1d, nn.MaxPool2d)
MEAN_POOLS = (nn.AvgPool1d, nn.AvgPool2d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, SpatialMean)
IDENTITIES = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Identity)
RANKS = {  # dimensions of one image's value
    1: (nn.Linear,),
    2: (nn.Conv1d, nn.MaxPool1d, nn.AvgPool1d, nn.AdaptiveAvgPool1d),
    3: (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d),
}


@dataclass
class _Value:
    """A value of the ANN: `scale * raw + shift`, after the pools of `pending`."""

    raw: fx.Node
    shape: tuple[int, ...]
    spikes: bool = False  # raw is charges of spikes, which pooling can race; else a weighted sum of them
    scale: Tensor | None = None  # broadcasts to shape; None, as shift then is: 1
    shift: Tensor | None = None  # broadcasts to shape; None, as scale then is: 0
    owned: bool = False  # raw comes from synapses nobody else reads: scale and shift may be folded into them
    pending: list[EarliestSpike] = field(default_factory=list)  # max pools that wait for their ReLU


class Walk:
    """One walk over the ANN's graph that builds the TTFS network's graph beside it, under the same names."""

    def __init__(self, ann: fx.GraphModule, low: float, high: float):
        self.ann = ann
        self.names = {node.name for node in ann.graph.nodes}
        self.range = (low, high)
        self.graph = fx.Graph()
        self.modules: dict[str, nn.Module] = {}
        self.values: dict[fx.Node, _Value] = {}
        parameter = next(ann.parameters(), torch.empty(0))
        self.dtype, self.device = parameter.dtype, parameter.device

    def run(self) -> SpikingNetwork:
        """Visit each node of the ANN's graph in order and return the TTFS network."""
        for node in self.ann.graph.nodes:
            if node.op == "placeholder":
                self.values[node] = self._input(node)
                input_shape = self.values[node].shape
            elif node.op == "output":
                (logits,) = node.args
                if not isinstance(logits, fx.Node) or logits not in self.values:
                    raise ConversionError("the network returns something else than one tensor of logits")
                self.graph.output(self._settled(self.values[logits], logits).raw)
            elif any(source in self.values for source in node.all_input_nodes) and shape(node) is not None:
                self._call(node)
            elif shape(node) is not None:
                self._refuse(node, operation(node, self.ann), "a tensor that does not come from the input")
        body = fx.GraphModule(self.modules, self.graph)
        body.to(self.dtype)
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
        first = node.all_input_nodes[0]
        if isinstance(module, Add | Concatenate):
            result = (self._add if isinstance(module, Add) else self._concatenate)(node, module)
        else:
            result = self._apply(node, module, self._reader(first))
        self.values[node] = result
        if is_inplace(node, module) and not isinstance(module, IDENTITIES):
            self.values[first] = result

    def _apply(self, node: fx.Node, module: Any, value: _Value) -> _Value:
        for rank, kinds in RANKS.items():
            if isinstance(module, kinds) and len(value.shape) != rank:
                takes = ["a vector", "channels x length", "channels x height x width"][rank - 1]
                self._refuse(node, module, f"it takes {takes} an image, not shape {list(value.shape)}")
        if isinstance(module, nn.ReLU):
            return self._fire(node, value)
        if isinstance(module, MAX_POOLS):
            return self._max_pool(node, module, value)
        if isinstance(module, IDENTITIES):
            return value
        if isinstance(module, BATCH_NORMS):
            return self._batch_norm(node, module, value)
        if value.pending:
            self._refuse(node, module, "max pooling before it meets no ReLU on the way, so there is no spike to pool")
        if isinstance(module, CONVOLUTIONS):
            return self._synapses(node, module, self._on_channels(node, value))
        if isinstance(module, nn.Linear):
            return self._synapses(node, module, value)
        if isinstance(module, MEAN_POOLS):
            return self._mean_pool(node, module, self._on_channels(node, value))
        if isinstance(module, nn.Flatten):
            return self._reshape(node, value)
        return self._refuse(node, module, "there is no exact TTFS counterpart")

    # ---- neurons ----

    def _fire(self, node: fx.Node, value: _Value) -> _Value:
        if value.spikes and value.scale is None:
            return value  # the ReLU of what is already >= 0
        value = self._settled(value, node, pooled=True)
        raw = self._emit(node, Fire(), value.raw, suffix="_relu" if node.name == OUTPUT else "")
        for pool in value.pending:
            raw = self._emit(node, pool, raw, suffix="_pool")
        return _Value(raw, value.shape, spikes=True)

    def _max_pool(self, node: fx.Node, module: Any, value: _Value) -> _Value:
        if module.return_indices:
            self._refuse(node, module, "return_indices=True has no meaning for spikes")
        if not self._per_channel(value):
            self._refuse(node, module, "scale and shift before it differ within a channel")
        pool, after = copy.deepcopy(module), shape(node) or ()
        if value.spikes:
            sign = None if value.scale is None else self._sign(value.scale)
            raw = self._emit(node, EarliestSpike(pool, sign), value.raw)
            return dataclasses.replace(value, raw=raw, shape=after)
        return dataclasses.replace(value, shape=after, pending=[*value.pending, EarliestSpike(pool)])

    def _sign(self, scale: Tensor) -> Tensor:
        return torch.where(scale < 0, -1.0, 1.0).to(self.dtype)

    # ---- affine maps ----

    def _batch_norm(self, node: fx.Node, module: Any, value: _Value) -> _Value:
        if module.running_mean is None:
            self._refuse(node, module, "it normalises with the statistics of each batch (track_running_stats=False)")
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
        if counts_border or getattr(module, "divisor_override", None) is not None:
            value = self._settled(value, node)  # the mean of a constant is not that constant
        raw, after = self._emit(node, copy.deepcopy(module), value.raw), shape(node) or ()
        scale, shift = (
            None if part is None else part.reshape(-1, *[1] * (len(after) - 1)) for part in (value.scale, value.shift)
        )
        return _Value(raw, after, scale=scale, shift=shift)

    def _reshape(self, node: fx.Node, value: _Value) -> _Value:
        after = shape(node) or ()
        if math.prod(after) != math.prod(value.shape):
            self._refuse(node, operation(node, self.ann), "it moves values between images")
        scale, shift = (
            None if part is None else part.expand(value.shape).reshape(after) for part in (value.scale, value.shift)
        )
        raw = value.raw if after == value.shape else self._emit(node, Reshape(after), value.raw)
        spikes = value.spikes and after == value.shape
        return _Value(raw, after, spikes, scale, shift)

    def _add(self, node: fx.Node, module: Any) -> _Value:
        terms: list[Any] = [*node.args, *(term for key, term in node.kwargs.items() if key != "alpha")]
        plain = len(terms) == 2 and node.kwargs.get("alpha", 1) == 1
        if not plain or not all(isinstance(term, fx.Node) and term in self.values for term in terms):
            self._refuse(node, module, "only the plain sum of two branches can be mapped")
        values = {term: self._settled(self._reader(term), node) for term in dict.fromkeys(terms)}
        shapes = [values[term].shape for term in terms]
        if shapes[0] != shapes[1]:
            self._refuse(node, module, f"its terms have shapes {list(shapes[0])} and {list(shapes[1])}")
        return _Value(self._join(node, torch.add, *(values[term].raw for term in terms)), shapes[0])

    def _concatenate(self, node: fx.Node, module: Any) -> _Value:
        dim = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", node.kwargs.get("axis", 0))
        tensors: Any = node.args[0] if node.args else node.kwargs["tensors"]
        if not all(isinstance(part, fx.Node) and part in self.values for part in tensors):
            self._refuse(node, module, "it takes something that does not come from the input")
        if dim not in (1, -len(shape(node) or ())):
            self._refuse(node, module, f"it joins along dimension {dim}; only channels (1) can be joined")
        parts = [self._reader(part) for part in tensors]
        if any(part.pending for part in parts):
            self._refuse(node, module, "max pooling before it meets no ReLU on the way, so there is no spike to pool")
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
        identity = (user for user in node.users if shape(user) is not None)
        return sum(
            self._readers(user) if user.op != "output" and isinstance(operation(user, self.ann), IDENTITIES) else 1
            for user in identity
        )

    def _on_channels(self, node: fx.Node, value: _Value) -> _Value:
        return value if self._per_channel(value) else self._settled(value, node)

    def _per_channel(self, value: _Value) -> bool:
        parts = [part for part in (value.scale, value.shift) if part is not None]
        return all(math.prod(part.shape[1:]) == 1 for part in parts)

    def _settled(self, value: _Value, node: fx.Node, pooled: bool = False) -> _Value:
        """The value with scale 1 and shift 0: folded into the synapses it comes from, or into new one-to-one ones."""
        if value.pending and not pooled:
            self._refuse(node, value.pending[0].pool, "no ReLU follows it, so there is no spike to pool")
        if value.scale is None or value.shift is None:
            return value
        settled = dataclasses.replace(value, scale=None, shift=None, spikes=False)
        synapses = self.modules.get(str(value.raw.target))
        if value.owned and isinstance(synapses, Synapses) and self._per_channel(value):
            _fold(synapses, value.scale, value.shift)
        else:
            one_to_one = OneToOne(value.scale.clone(), value.shift.clone())
            settled.raw = self._emit(node, one_to_one, value.raw, suffix="_scale")
        return settled

    def _emit(self, node: fx.Node, module: Any, source: fx.Node, suffix: str = "") -> fx.Node:
        """Add a module under the name of the ANN's node, or under one of its own if it has a suffix."""
        name = node.name + suffix
        while suffix and name in self.names:
            name += "_"
        self.names.add(name)
        self.modules[name] = module
        return self.graph.create_node("call_module", name, (source,), name=name)

    def _join(self, node: fx.Node, function: Callable[..., Tensor], *arguments: Any) -> fx.Node:
        return self.graph.create_node("call_function", function, arguments, name=node.name)

    def _refuse(self, node: fx.Node, module: Any, reason: str) -> "_Value":
        kind = getattr(module, "name", type(module).__name__)
        where = node.target if node.op == "call_module" else node.name
        raise ConversionError(f"{where} ({kind}) cannot be mapped to TTFS: {reason}")


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
    neutrals = [torch.full([1] * len(after), neutral, dtype=torch.float64, device=device) for _, after in columns]
    tensors = [other if column is None else column for (column, _), other in zip(columns, neutrals, strict=True)]
    rest = torch.broadcast_shapes(*(tensor.shape[1:] for tensor in tensors))
    return torch.cat([t.expand(after[0], *rest) for t, (_, after) in zip(tensors, columns, strict=True)])


def _padding(convolution: Any) -> tuple[int, ...]:
    """Zero padding of a convolution; none where the border repeats the image."""
    if convolution.padding_mode != "zeros" or convolution.padding == "valid":
        return (0,)
    if convolution.padding == "same":
        return tuple(d * (k - 1) for d, k in zip(convolution.dilation, convolution.kernel_size, strict=True))
    return tuple(convolution.padding)
