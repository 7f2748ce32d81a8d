"""The name and the arguments of a call in a network, however its author passed them."""

import inspect
from typing import Any

from torch import fx


def call_name(node: fx.Node) -> str:
    """Name of the function or method that a node calls."""
    name = node.target if node.op == "call_method" else getattr(node.target, "__name__", "")
    return str(name or node.target)


def arguments(node: fx.Node) -> dict[str, Any]:
    """Arguments of a call by name, constants as tensors; branches of the network as nodes."""
    names = _SIGNATURES.get(call_name(node).strip("_"), _signature(node.target))
    named = {_NUMPY.get(key, key): value for key, value in node.kwargs.items()}
    bound = dict(zip(names, node.args, strict=False)) | named
    return {key: _constant(value) for key, value in bound.items()}


def _constant(value: Any) -> Any:
    """The tensor behind a node that reads one."""
    return value.meta["value"] if isinstance(value, fx.Node) and value.op == "get_attr" else value


def _signature(function: Any) -> list[str]:
    try:
        return list(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return []


_NUMPY = {"axis": "dim", "keepdims": "keepdim"}
"""Names that torch takes from NumPy, beside its own."""
_POOL = ["input", "kernel_size", "stride", "padding"]
_SIGNATURES = {
    **{
        name: [*_POOL, "dilation", "ceil_mode", "return_indices"]
        for name in ["max_pool1d", "max_pool2d"]
    },
    **{
        name: [*_POOL, "ceil_mode", "count_include_pad", "divisor_override"]
        for name in ["avg_pool1d", "avg_pool2d"]
    },
    **{name: ["input", "output_size"] for name in ["adaptive_avg_pool1d", "adaptive_avg_pool2d"]},
    **{
        name: ["input", "output_size", "return_indices"]
        for name in ["adaptive_max_pool1d", "adaptive_max_pool2d"]
    },
    **{
        name: ["input", "p", "training", "inplace"]
        for name in [
            "dropout",
            "dropout1d",
            "dropout2d",
            "dropout3d",
            "alpha_dropout",
            "feature_alpha_dropout",
        ]
    },
    "stochastic_depth": ["input", "p", "mode", "training"],
    "linear": ["input", "weight", "bias"],
    **{
        name: ["input", "weight", "bias", "stride", "padding", "dilation", "groups"]
        for name in ["conv1d", "conv2d"]
    },
    "batch_norm": [
        "input",
        "running_mean",
        "running_var",
        "weight",
        "bias",
        "training",
        "momentum",
        "eps",
    ],
    **{name: ["input", "min", "max"] for name in ["clamp", "clip"]},
    "clamp_min": ["input", "min"],
    "clamp_max": ["input", "max"],
    "hardtanh": ["input", "min_val", "max_val"],
    "relu6": ["input"],
    "threshold": ["input", "threshold", "value"],
    "leaky_relu": ["input", "negative_slope", "inplace"],
    "prelu": ["input", "weight"],
    **{name: ["input", "dim", "keepdim"] for name in ["mean", "sum", "amax", "max", "min"]},
    **{name: ["input", "other"] for name in ["maximum", "fmax", "minimum", "fmin"]},
    "relu": ["input", "inplace"],
    **{
        name: [
            "input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation",
        ]
        for name in ["conv_transpose1d", "conv_transpose2d"]
    },
}  # fmt: skip
