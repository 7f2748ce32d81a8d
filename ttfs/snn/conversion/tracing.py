"""Read a ReLU network as a graph of a few operations, each a module, however its author wrote it down."""

import copy
import inspect
import operator
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.nn.utils import parametrize

from ttfs.errors import ConversionError
from ttfs.snn.graph import run


class Add(nn.Module):
    """Sum of two branches."""


class Concatenate(nn.Module):
    """Channels of several branches side by side."""


class SpatialMean(nn.Module):
    """Mean over all positions of a channel."""

    def __init__(self, keep: bool):
        super().__init__()
        self.keep = keep

    def forward(self, values: Tensor) -> Tensor:
        """Map [N, C, ...] to [N, C], or to [N, C, 1, ...] where the dimensions are kept."""
        return values.mean(list(range(2, values.dim())), keepdim=self.keep)


class Unsupported(nn.Module):
    """A call without an exact TTFS counterpart, under its own name."""

    def __init__(self, name: str):
        super().__init__()
        self.name = name


FUNCTIONS: dict[Any, type[nn.Module]] = {
    F.relu: nn.ReLU, F.relu_: nn.ReLU, torch.relu: nn.ReLU, torch.relu_: nn.ReLU,
    F.max_pool1d: nn.MaxPool1d, torch.max_pool1d: nn.MaxPool1d,
    F.max_pool2d: nn.MaxPool2d, torch.max_pool2d: nn.MaxPool2d,
    F.avg_pool1d: nn.AvgPool1d, torch.avg_pool1d: nn.AvgPool1d, F.avg_pool2d: nn.AvgPool2d,
    F.adaptive_avg_pool1d: nn.AdaptiveAvgPool1d, torch.adaptive_avg_pool1d: nn.AdaptiveAvgPool1d,
    F.adaptive_avg_pool2d: nn.AdaptiveAvgPool2d,
    F.dropout: nn.Dropout, F.dropout1d: nn.Dropout1d, F.dropout2d: nn.Dropout2d, torch.dropout: nn.Dropout,
    torch.flatten: nn.Flatten, torch.reshape: nn.Flatten,
    operator.add: Add, operator.iadd: Add, torch.add: Add,
    torch.mean: SpatialMean,
    torch.cat: Concatenate, torch.concat: Concatenate, torch.concatenate: Concatenate,
}  # fmt: skip
METHODS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU, "relu_": nn.ReLU, "flatten": nn.Flatten, "view": nn.Flatten, "reshape": nn.Flatten,
    "add": Add, "add_": Add, "mean": SpatialMean,
}  # fmt: skip
INPLACE_CALLS = {F.relu_, torch.relu_, operator.iadd, "relu_", "add_"}
DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d)
POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d)


def record(graph: fx.GraphModule, inputs: Tensor) -> tuple[Any, dict[str, Any]]:
    """Run a graph; return its output and the value of each node as it was when computed, by name."""
    values: dict[str, Any] = {}

    def watch(node: fx.Node, value: Any) -> Any:
        values[node.name] = value.clone() if isinstance(value, Tensor) else value  # later calls may be in place
        return value

    return run(graph, inputs, watch), values


@torch.no_grad()
def trace(ann: nn.Module, example: Tensor) -> fx.GraphModule:
    """Return the graph of a frozen copy of the network, each node with the value it has for the example [1, ...]."""
    ann = _frozen(ann)
    try:
        graph = fx.symbolic_trace(nn.Sequential(ann) if fx.Tracer().is_leaf_module(ann, "") else ann)
    except Exception as error:
        reason = " ".join(str(error).split())
        raise ConversionError(
            f"{type(ann).__name__}: cannot be read as a graph ({reason}); its forward may not branch on values"
        ) from error
    inputs = [node.name for node in graph.graph.nodes if node.op == "placeholder"]
    if len(inputs) != 1:
        raise ConversionError(f"{type(ann).__name__}: takes {len(inputs)} inputs ({', '.join(inputs)}), expected one")
    try:
        _, values = record(graph, torch.cat([example, example]))  # two images, to see what mixes them up
    except Exception as error:
        reason = " ".join(str(error).split())
        raise ConversionError(
            f"{type(ann).__name__}: fails on {example.dtype} images of shape {list(example.shape[1:])}: {reason}"
        ) from error
    for node in graph.graph.nodes:
        node.meta["value"] = values[node.name]
    return graph


def _frozen(ann: nn.Module) -> nn.Module:
    """Copy of the network in `eval()`, with plain weights where they were parametrized."""
    try:
        ann = copy.deepcopy(ann).eval()
    except RuntimeError as error:
        raise ConversionError(
            f"{type(ann).__name__}: cannot be copied; make pruning and hooks such as weight_norm's permanent with their"
            " `remove`"
        ) from error
    for module in [module for module in ann.modules() if parametrize.is_parametrized(module)]:
        names: Any = module.parametrizations
        weights = {name: getattr(module, name) for name in names}
        module.__class__ = type(module).__bases__[0]  # `remove_parametrizations` would break the original's class too
        del module.parametrizations
        for name, weight in weights.items():
            module.register_parameter(name, nn.Parameter(weight))
    return ann


def shape(node: fx.Node) -> tuple[int, ...] | None:
    """Shape of one image's value at the node, the first of several; None where it is no tensor (a size, say)."""
    value = node.meta["value"]
    if isinstance(value, tuple | list):
        value = next((part for part in value if isinstance(part, Tensor)), None)
    return tuple(value.shape[1:]) if isinstance(value, Tensor) else None


def operation(node: fx.Node, root: fx.GraphModule) -> nn.Module:
    """Return the node's operation as a module, whether it was written as a module, a function or a method."""
    if node.op == "call_module":
        return root.get_submodule(str(node.target))
    if node.op == "call_function":
        kind, name = FUNCTIONS.get(node.target), getattr(node.target, "__name__", str(node.target))
    elif node.op == "call_method":
        kind, name = METHODS.get(str(node.target)), str(node.target)
    else:
        kind, name = None, f"{node.op} {node.target}"
    if kind is None:
        return Unsupported(name)
    if kind in POOLS:
        return kind(*_arguments(node, kind))
    if kind is SpatialMean:
        dims, keep = (*node.args[1:], None, None)[:2]
        dims, keep = node.kwargs.get("dim", dims), bool(node.kwargs.get("keepdim", keep))
        ndim = node.all_input_nodes[0].meta["value"].dim()
        each: Any = [dims] if isinstance(dims, int) else dims or []
        spatial = sorted(dim % ndim for dim in each) == list(range(2, ndim))
        return SpatialMean(keep) if spatial else Unsupported(f"{name} over dimensions {dims}")
    if issubclass(kind, DROPOUTS) and node.kwargs.get(
        "training", node.kwargs.get("train", (*node.args, True, True, True)[2])
    ):
        return Unsupported(f"{name} that stays on in eval()")
    return kind()


def is_inplace(node: fx.Node, module: nn.Module) -> bool:
    """Whether the operation writes into its first input, so that later readers of that input see the result."""
    if node.op == "call_module":
        return bool(getattr(module, "inplace", False))
    return node.target in INPLACE_CALLS or bool(node.kwargs.get("inplace", False))


def _arguments(node: fx.Node, kind: Callable[..., nn.Module]) -> list[Any]:
    """Arguments of a pooling function, in the order its module takes them."""
    args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda source: source.meta["value"])
    names = {
        nn.MaxPool1d: ["kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices"],
        nn.MaxPool2d: ["kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices"],
        nn.AdaptiveAvgPool1d: ["output_size"],
        nn.AdaptiveAvgPool2d: ["output_size"],
    }.get(kind, ["kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override"])  # type: ignore[call-overload]
    bound = dict(zip(["input", *names], args, strict=False)) | kwargs
    defaults = {key: rule.default for key, rule in inspect.signature(kind).parameters.items()}
    return [bound.get(key, defaults[key]) for key in defaults]
