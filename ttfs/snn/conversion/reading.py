"""Read a node of a ReLU network: the operation that it is, as a module, however it was written."""

import inspect
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn

from ttfs.snn.conversion.arguments import arguments, call_name
from ttfs.snn.conversion.operations import (
    DROPOUTS,
    KNOWN,
    MAX_POOLS,
    MEAN_POOLS,
    Add,
    Bound,
    ChannelMean,
    Clip,
    Concatenate,
    Extremum,
    GlobalMax,
    Largest,
    Leaky,
    Rearrange,
    Resize,
    Scale,
    Unsupported,
)

REARRANGED = (
    "flatten", "reshape", "view", "reshape_as", "view_as", "unflatten", "squeeze", "unsqueeze",
    "transpose", "permute", "swapaxes", "swapdims", "movedim", "moveaxis", "contiguous", "clone",
    "detach", "to", "float", "double", "half", "bfloat16", "chunk", "split", "split_with_sizes",
    "tensor_split", "unbind", "narrow", "select", "getitem", "getattr", "flip", "roll", "pad",
    "stack", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "t", "index_select",
    "type_as", "expand", "expand_as", "repeat", "tile", "repeat_interleave",
)  # fmt: skip
"""Functions and methods that move values, by their name."""
WRITING = ("iadd", "isub", "imul", "itruediv", "setitem")
"""Operators that write into their first term."""
CALLS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "max_pool1d": nn.MaxPool1d,
    "max_pool2d": nn.MaxPool2d,
    "avg_pool1d": nn.AvgPool1d,
    "avg_pool2d": nn.AvgPool2d,
    "adaptive_avg_pool1d": nn.AdaptiveAvgPool1d,
    "adaptive_avg_pool2d": nn.AdaptiveAvgPool2d,
    "adaptive_max_pool1d": nn.AdaptiveMaxPool1d,
    "adaptive_max_pool2d": nn.AdaptiveMaxPool2d,
    "cat": Concatenate,
    "concat": Concatenate,
    "concatenate": Concatenate,
    "dropout": nn.Dropout,
    "dropout1d": nn.Dropout1d,
    "dropout2d": nn.Dropout2d,
    "dropout3d": nn.Dropout3d,
    "alpha_dropout": nn.AlphaDropout,
    "feature_alpha_dropout": nn.FeatureAlphaDropout,
    "stochastic_depth": nn.Dropout,
}
"""Functions and methods by their name, without the `_` of those that write into their input."""


def is_inplace(node: fx.Node, root: nn.Module) -> bool:
    """Whether the operation writes into its first input, so that later readers see the result."""
    if node.op == "call_module":
        return bool(getattr(root.get_submodule(str(node.target)), "inplace", False))
    if node.op not in ("call_function", "call_method"):
        return False
    return writes(node) or arguments(node).get("inplace") is True


def writes(node: fx.Node) -> bool:
    """Whether a call writes into its first term, by its name."""
    name = call_name(node)
    method = name.endswith("_") and not name.endswith("__")
    return method or name.strip("_") in WRITING


def operation(node: fx.Node, root: fx.GraphModule) -> Any:
    """Return the node's operation as a module, however it was written."""
    if node.op == "call_module":
        return _named(root.get_submodule(str(node.target)))
    if node.op not in ("call_function", "call_method"):
        return Unsupported(f"{node.op} {node.target}")
    name = call_name(node)
    stem = name.strip("_")
    if stem == "getitem" and _gives_indices(node.args[0]):
        return nn.Identity() if node.args[1] == 0 else Unsupported("max", "its indices are read")
    if stem in REARRANGED:
        return Rearrange()
    if stem in CALLS:
        kind = CALLS[stem]
        if issubclass(kind, DROPOUTS):
            given = arguments(node)
            stays = given.get("training", given.get("train", True))
            return Unsupported(f"{name} that stays on in eval()") if stays else kind()
        return kind(*_pooling(node, kind)) if kind in (*MAX_POOLS, *MEAN_POOLS) else kind()
    built = _BUILDERS.get(stem)
    return built(node) if built else Unsupported(name, _hint(name))


def _gives_indices(source: Any) -> bool:
    """Whether it is a maximum over a dimension, which comes with its indices."""
    return call_name(source) == "max" and isinstance(source.meta["value"], tuple)


def _named(module: Any) -> Any:
    """A module of the network in the words used here."""
    kind = type(module)
    if kind in KNOWN:
        return module
    if kind is nn.ReLU6 or kind is nn.Hardtanh:
        return Clip(module.min_val, module.max_val)
    if kind is nn.Threshold:
        return _threshold(module.threshold, module.value)
    if kind is nn.LeakyReLU:
        return Leaky(module.negative_slope)
    if kind is nn.PReLU:
        return Leaky(module.weight)
    if kind in (nn.Upsample, nn.UpsamplingNearest2d, nn.UpsamplingBilinear2d):
        return _resize(
            module.mode, size=module.size, scale_factor=module.scale_factor,
            align_corners=module.align_corners,
            recompute_scale_factor=module.recompute_scale_factor,
        )  # fmt: skip
    known = next((base.__name__ for base in kind.__mro__[1:] if base in KNOWN), None)
    if known is None:
        return Unsupported(kind.__name__, _hint(kind.__name__))
    where = f"{kind.__module__}.{kind.__qualname__}"
    return Unsupported(kind.__name__, f"{where} is more than the {known} it is made from")


def _hint(name: str) -> str:
    if name in ("Softmax", "LogSoftmax", "softmax", "log_softmax"):
        return (
            "there is no exact TTFS counterpart; if it comes last, leave it out: the argmax stays"
        )
    return ""


def _pooling(node: fx.Node, kind: Callable[..., nn.Module]) -> list[Any]:
    """Arguments of a pooling function, in the order its module takes them."""
    defaults = {key: rule.default for key, rule in inspect.signature(kind).parameters.items()}
    bound = arguments(node)
    return [bound.get(key, default) for key, default in defaults.items()]


def _linear(node: fx.Node) -> Any:
    def layer(weight: Tensor, **options: Any) -> nn.Module:
        return nn.Linear(weight.shape[1], weight.shape[0], **options)

    return _weighted(node, "linear", layer)


def _convolution(node: fx.Node) -> Any:
    def layer(weight: Tensor, **options: Any) -> nn.Module:
        kind: Any = nn.Conv1d if weight.dim() == 3 else nn.Conv2d
        inputs = weight.shape[1] * options.get("groups", 1)
        return kind(inputs, weight.shape[0], tuple(weight.shape[2:]), **options)

    return _weighted(node, "convolution", layer)


def _transposed(node: fx.Node) -> Any:
    def layer(weight: Tensor, **options: Any) -> nn.Module:
        kind: Any = nn.ConvTranspose1d if weight.dim() == 3 else nn.ConvTranspose2d
        outputs = weight.shape[1] * options.get("groups", 1)
        return kind(weight.shape[0], outputs, tuple(weight.shape[2:]), **options)

    return _weighted(node, "transposed convolution", layer)


def _weighted(node: fx.Node, name: str, build: Callable[..., nn.Module]) -> Any:
    """A layer with the weights of a call, which `build` makes from them and the other arguments."""
    given = arguments(node)
    weight, bias = given.pop("weight"), given.pop("bias", None)
    del given["input"]
    if not isinstance(weight, Tensor):
        return Unsupported(f"{name} with weights that the input decides")
    layer: Any = build(weight, bias=bias is not None, device="meta", **given)
    layer.weight = nn.Parameter(weight.detach().clone())
    layer.bias = None if bias is None else nn.Parameter(bias.detach().clone())
    return layer


def _resize(mode: str, **options: Any) -> Any:
    """Values repeated, averaged over an area, or weighed."""
    if mode in ("nearest", "nearest-exact"):
        return Rearrange()
    return Resize(mode=mode, **options)


def _interpolated(node: fx.Node) -> Any:
    given = {key: value for key, value in arguments(node).items() if key != "input"}
    return _resize(**{"mode": "nearest"} | given)


def _batch_norm(node: fx.Node) -> Any:
    given = arguments(node)
    if given.get("training", False) or given["running_mean"] is None:
        return Unsupported("batch_norm", "it normalises with the statistics of each batch")
    norm: Any = nn.BatchNorm2d(len(given["running_mean"]), given.get("eps", 1e-5), device="meta")
    norm.running_mean, norm.running_var = given["running_mean"], given["running_var"]
    norm.weight, norm.bias = (
        None if given.get(key) is None else nn.Parameter(given[key].detach())
        for key in ("weight", "bias")
    )
    return norm.eval()


def _clip(node: fx.Node) -> Any:
    given = arguments(node)
    low = given.get("min", given.get("min_val"))
    high = given.get("max", given.get("max_val"))
    name = call_name(node).strip("_")
    if name == "relu6":
        low, high = 0.0, 6.0
    if name == "hardtanh":
        low, high = -1.0 if low is None else low, 1.0 if high is None else high
    low, high = -math.inf if low is None else low, math.inf if high is None else high
    if isinstance(high, Tensor) and isinstance(low, float) and low == -math.inf:
        return _bound(node, high, smaller=True)
    if isinstance(low, Tensor) and isinstance(high, float) and high == math.inf:
        return _bound(node, low)
    if not all(isinstance(bound, int | float) for bound in (low, high)):
        return Unsupported(
            name, "of two bounds both have to be plain numbers; write maximum and minimum"
        )
    if low >= high:
        return Unsupported(name, f"its lower bound {low:g} is not below the upper, {high:g}")
    return Clip(float(low), float(high))


def _threshold(threshold: float, value: float) -> Any:
    if threshold != value:
        return Unsupported("threshold", f"it jumps from {value:g} to {threshold:g}")
    return Clip(float(value), math.inf)


def _prelu(weight: Any) -> Any:
    if not isinstance(weight, Tensor):
        return Unsupported("prelu with weights that the input decides")
    return Leaky(weight)


def _over_positions(node: fx.Node) -> Any:
    """A mean or sum of positions, for those of channels mix neurons of other layers' shapes."""
    given, name = arguments(node), call_name(node)
    keep, places = bool(given.get("keepdim", False)), _dimensions(node)
    if not places or places[0] < 2:
        return Unsupported(f"{name} over dimensions {given.get('dim')}")
    return ChannelMean(torch.mean if name == "mean" else torch.sum, places, keep)


def _bound(node: fx.Node, constant: Tensor, smaller: bool = False) -> Any:
    if not constant.isfinite().all():
        return Unsupported(call_name(node), "its constant is not finite everywhere")
    if constant.dim() > node.all_input_nodes[0].meta["value"].dim():
        return Unsupported(call_name(node), "its constant has more dimensions than the values")
    if constant.numel() > 1:
        return Bound(constant, smaller)
    only = constant.item()
    return Clip(-math.inf, only) if smaller else Clip(only, math.inf)


def _of_two(node: fx.Node, smaller: bool = False) -> Any:
    """The larger, or the smaller, of two branches, or of a branch and a constant."""
    constants = [term for term in arguments(node).values() if isinstance(term, Tensor)]
    return _bound(node, constants[0], smaller) if constants else Extremum(smaller)


def _largest(node: fx.Node) -> Any:
    """Largest values over dimensions, or of two terms."""
    given = arguments(node)
    if not all(isinstance(given.get(key), int | tuple | list | None) for key in ("dim", "other")):
        return _of_two(node)
    places = _dimensions(node)
    if not places or places[0] == 0:
        return Unsupported(call_name(node), "it takes dimensions of one image, or another branch")
    if places == tuple(range(2, node.all_input_nodes[0].meta["value"].dim())):
        return GlobalMax(bool(given.get("keepdim", False)))
    return Largest(places)


def _smaller(node: fx.Node) -> Any:
    """The smaller of two terms."""
    terms = [term for term in arguments(node).values() if isinstance(term, fx.Node | Tensor)]
    if len(terms) < 2:
        return Unsupported(call_name(node), "it takes another branch, or a constant")
    return _of_two(node, smaller=True)


def _dimensions(node: fx.Node) -> tuple[int, ...]:
    """The dimensions that a call reduces, counted from the first, in order."""
    dims: Any = arguments(node).get("dim")
    ndim = node.all_input_nodes[0].meta["value"].dim()
    each = [dims] if isinstance(dims, int) else dims if isinstance(dims, tuple | list) else []
    return tuple(sorted(dim % ndim for dim in each))


_BUILDERS: dict[str, Callable[[fx.Node], Any]] = {
    "linear": _linear,
    "conv1d": _convolution,
    "conv2d": _convolution,
    "conv_transpose1d": _transposed,
    "conv_transpose2d": _transposed,
    "interpolate": _interpolated,
    "upsample": _interpolated,
    "batch_norm": _batch_norm,
    **dict.fromkeys(["clamp", "clip", "clamp_min", "clamp_max", "hardtanh", "relu6"], _clip),
    "threshold": lambda node: _threshold(arguments(node)["threshold"], arguments(node)["value"]),
    "leaky_relu": lambda node: Leaky(arguments(node).get("negative_slope", 0.01)),
    "prelu": lambda node: _prelu(arguments(node)["weight"]),
    **dict.fromkeys(["abs", "absolute"], lambda _: Leaky(-1.0)),
    **dict.fromkeys(["mean", "sum"], _over_positions),
    **dict.fromkeys(["amax", "max"], _largest),
    **dict.fromkeys(["maximum", "fmax"], _of_two),
    **dict.fromkeys(["minimum", "fmin", "min"], _smaller),
    **dict.fromkeys(["add", "iadd"], lambda _: Add()),
    **dict.fromkeys(["sub", "isub", "subtract"], lambda _: Add(-1.0)),
    **dict.fromkeys(["mul", "imul", "multiply"], lambda _: Scale()),
    **dict.fromkeys(
        ["div", "truediv", "itruediv", "divide", "true_divide"], lambda _: Scale(divide=True)
    ),
    "neg": lambda _: Scale(),
    "negative": lambda _: Scale(),
}
