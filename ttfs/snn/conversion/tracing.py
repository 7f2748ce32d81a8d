"""Read a ReLU network as a graph, by running it on images: shapes and flags are plain numbers."""

import inspect
import operator
import threading
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn

from ttfs.errors import ConversionError
from ttfs.snn.conversion.arguments import call_name
from ttfs.snn.conversion.copying import Float64, copied, in_float64, stripped, unwrapped
from ttfs.snn.conversion.reading import is_inplace, writes
from ttfs.snn.graph import compute, run

READING = ("item", "tolist", "numpy", "equal", "allclose", "is_nonzero")
"""Calls that take numbers out of tensors, which would be constants of the graph."""
SIFTING = ("nonzero", "argwhere", "masked_select", "unique", "unique_consecutive", "bincount")
"""Calls whose results have as many entries as the values decide."""
MASKS = (torch.bool, torch.uint8)
"""Types of tensors that choose entries where they are indices."""
FILLED = ("zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full")
"""Calls that take the shape of a tensor alone, and give constants."""
TAKEN = {*dir(fx.GraphModule(nn.Module(), fx.Graph()))} - {*dir(nn.Module())}
"""Names that graphs have for themselves, so that no layer and no buffer of a graph can."""
_TRACING = threading.Lock()  # `torch.fx` patches `nn.Module` while it traces
_LIVE = "live"  # a node's value while the network runs; operations in place may change it


def record(graph: fx.GraphModule, inputs: Tensor) -> tuple[Any, dict[str, Any]]:
    """Run a graph; return its output and the value of each node as it was when computed, by
    name.
    """
    values: dict[str, Any] = {}

    def watch(node: fx.Node, value: Any) -> Any:
        values[node.name] = _snapshot(value)  # later calls may be in place
        return value

    return run(graph, inputs, watch), values


@torch.no_grad()
def trace(ann: nn.Module, images: Tensor) -> fx.GraphModule:
    """Return the graph of a copy in float64, each node with its value for the images [N, ...], N >
    1.

    What the output does not depend on is left out, and so are hooks.
    """
    return trace_copy(in_float64(copied(unwrapped(ann))), images.double())


@torch.inference_mode(False)  # there tensors do not count what is written into them
@torch.no_grad()
def trace_copy(ann: nn.Module, images: Tensor) -> fx.GraphModule:
    """Return the same of a network that is a copy already."""
    kind = type(ann).__name__
    root = stripped(ann)
    tracer = _Tracer(images)
    root = nn.Sequential(root) if tracer.is_leaf_module(root, "") else root
    try:
        with _TRACING, Float64():
            nodes = tracer.trace(root)
            _check_names(nodes, kind)
            graph = fx.GraphModule(root, nodes)
    except _Fails as error:
        shape = list(images.shape[1:])
        raise FailsOnImages(
            f"{kind}: fails on {images.dtype} images of shape {shape}: {error}"
        ) from error
    except ConversionError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())
        # torch.fx's own word for an argument of another library
        foreign = isinstance(error, NotImplementedError) and "argument of type" in reason
        hint = "make it a number or a tensor" if foreign else "its forward may not branch on values"
        raise ConversionError(f"{kind}: cannot be read as a graph ({reason}); {hint}") from error
    for node in graph.graph.nodes:
        if node.op == "get_attr":
            node.meta["value"] = compute(graph, node, (), {})
    _check_aliases(graph)
    for node in graph.graph.nodes:
        node.meta.pop(_LIVE, None)
    _drop_dead(graph)
    for node in graph.graph.nodes:
        if _is_sifted(node):
            raise _reads_values(node, root)
    return graph


class FailsOnImages(ConversionError):
    """The network raises on the images, in float64."""


class _Fails(Exception):
    """An operation of the network raises."""


class _Known(fx.Proxy):
    """A value of the network that is known for the images: what is no tensor is had as it is."""

    tracer: "_Tracer"

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self.node.meta[_LIVE], name)
        if name == "shape" and _is_sifted(self.node):
            raise _reads_values(self.node, self.tracer.root)
        if isinstance(attribute, Tensor):
            return self.tracer.create_proxy("call_function", getattr, (self, name), {})
        return super().__getattr__(name) if callable(attribute) else attribute

    def __len__(self) -> int:
        if _is_sifted(self.node):
            raise _reads_values(self.node, self.tracer.root)
        return len(self.node.meta[_LIVE])

    def __iter__(self) -> Iterator[Any]:
        take = self.tracer.create_proxy
        parts = [take("call_function", operator.getitem, (self, i), {}) for i in range(len(self))]
        return iter(parts)


class _Tracer(fx.Tracer):
    """Traces a network and computes each value on the way."""

    def __init__(self, images: Tensor):
        super().__init__()
        self.images = images.clone()
        self.computing = False  # `torch.fx` catches the calls of modules then, too,
        self.thread = threading.get_ident()  # and those of other threads

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Known(node, self)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict) -> Any:
        return attr_val  # constants are computed with, not traced

    def create_args_for_root(
        self, root_fn: Callable, is_module: bool, concrete_args: Any = None
    ) -> tuple[Callable, list]:
        _, *parameters = inspect.signature(root_fn).parameters.values()
        empty = inspect.Parameter.empty
        needed = [p for p in parameters if p.default is empty and p.kind is not p.VAR_KEYWORD]
        needed = [p for p in needed if p.kind is not p.VAR_POSITIONAL] or needed or parameters[:1]
        if len(needed) != 1:
            names = ", ".join(p.name for p in needed)
            kind = type(self.root).__name__
            raise ConversionError(f"{kind}: takes {len(needed)} inputs ({names}), expected one")
        return root_fn, [self.root, self.create_proxy("placeholder", needed[0].name, (), {})]

    def call_module(self, m: nn.Module, forward: Callable, args: Any, kwargs: Any) -> Any:
        if self.computing or threading.get_ident() != self.thread:
            return forward(*args, **kwargs)
        if not any(m is module for module in self.root.modules()):  # made inside of a forward
            self.root.add_module(f"{type(m).__name__.lower()}_{len(self.root._modules)}", m)
            self.submodule_paths = {module: name for name, module in self.root.named_modules()}
        return super().call_module(m, forward, args, kwargs)

    def create_proxy(self, kind: str, target: Any, *args: Any, **kwargs: Any) -> Any:
        proxy = super().create_proxy(kind, target, *args, **kwargs)
        node = proxy.node
        if kind == "output":
            return proxy
        if _writes_constant(node):
            raise ConversionError(
                f"{type(self.root).__name__}: its forward writes into a constant ({node.name}); "
                "make a new value instead, by cat, pad or a sum"
            )
        before = {source: _writings(source) for source in node.all_input_nodes}
        value = self.images if kind == "placeholder" else self._value(node)
        written = [source for source, count in before.items() if _writings(source) != count]
        if written and not (_holds_tensor(value) and self._is_known(node, written)):
            raise ConversionError(
                f"{node.name}: writes into what {written[0].name} gives; make a new value instead"
            )
        node.meta["written"] = written
        node.meta["sifted"] = _sifts(node) or any(map(_is_sifted, node.all_input_nodes))
        counts = _is_sifted(node) and not _holds_tensor(value)
        if kind != "call_module" and (call_name(node) in READING or counts):
            raise _reads_values(node, self.root)
        if not _holds_tensor(value) or _casts_constant(node) or _filled(node):
            self.graph.erase_node(node)
            return value
        node.meta[_LIVE], node.meta["value"] = value, _snapshot(value)
        return _as_returned(proxy, value)

    def _is_known(self, node: fx.Node, written: list[fx.Node]) -> bool:
        """Whether a node is known to write there: into its first input, which is its value then."""
        return is_inplace(node, self.root) and written == node.all_input_nodes[:1]

    def _value(self, node: fx.Node) -> Any:
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), self._live)
        self.computing = True
        try:
            return compute(self.root, node, args, kwargs)
        except Exception as error:
            raise _Fails(" ".join(str(error).split())) from error
        finally:
            self.computing = False

    def _live(self, node: fx.Node) -> Any:
        return node.meta[_LIVE] if _LIVE in node.meta else compute(self.root, node, (), {})


def shape(node: fx.Node) -> tuple[int, ...] | None:
    """Shape of one image's value at the node, the first of several; None where it is no tensor."""
    value = node.meta.get("value")
    if isinstance(value, tuple | list):
        value = next((part for part in value if isinstance(part, Tensor)), None)
    return tuple(value.shape[1:]) if isinstance(value, Tensor) else None


def _check_names(graph: fx.Graph, kind: str) -> None:
    for node in graph.nodes:
        name = str(node.target).partition(".")[0]
        if node.op in ("call_module", "get_attr") and name in TAKEN:
            raise ConversionError(
                f"{kind}: has a layer, or values, of the name {name!r}, which graphs of torch.fx "
                "have for themselves; give another name"
            )


def _check_aliases(graph: fx.GraphModule) -> None:
    """Raise where a value is written in place and read later under another name, as a view of it.

    The graph tells the two apart, and the images of the comparison may not: where a value is
    positive for all of them, a ReLU changes nothing.
    """
    order = {node: place for place, node in enumerate(graph.graph.nodes)}
    needed = _needed(graph)
    for writer, place in order.items():
        for written in writer.meta.get("written", ()):
            for other in list(order)[:place]:
                late = any(order[user] > place and user in needed for user in other.users)
                if other is not written and late and _overlap(other, written):
                    raise ConversionError(
                        f"{writer.name}: writes in place into what {other.name} gives, which is "
                        "read later; write it without inplace"
                    )


def _needed(graph: fx.GraphModule) -> set[fx.Node]:
    """The nodes that the output is computed from."""
    found: set[fx.Node] = set()
    waiting = [node for node in graph.graph.nodes if node.op == "output"]
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting += node.all_input_nodes
    return found


def _overlap(first: fx.Node, second: fx.Node) -> bool:
    """Whether the values of two nodes are tensors that have a number in memory in common."""
    one, other = first.meta.get(_LIVE), second.meta.get(_LIVE)
    if not isinstance(one, Tensor) or not isinstance(other, Tensor):
        return False
    storage = one.untyped_storage()
    if storage.data_ptr() != other.untyped_storage().data_ptr():
        return False
    if one.element_size() != other.element_size():  # a view of the bytes: all of them, perhaps
        return True
    held = torch.zeros(storage.nbytes() // one.element_size(), dtype=torch.bool)
    held.as_strided(one.shape, one.stride(), one.storage_offset()).fill_(True)
    return bool(held.as_strided(other.shape, other.stride(), other.storage_offset()).any())


def _writings(node: fx.Node) -> list[int]:
    """How often something was written into the memory of each tensor of a value."""
    parts = parts_of(node.meta.get(_LIVE))
    return [part._version for part in parts if isinstance(part, Tensor) and not part.is_inference()]


def _drop_dead(graph: fx.GraphModule) -> None:
    """Drop what the output does not depend on; writing into a value that is read later is no
    such.
    """
    live: set[fx.Node] = set()
    for node in reversed(graph.graph.nodes):
        sources = node.all_input_nodes
        writes = is_inplace(node, graph)
        kept = node.op in ("output", "placeholder") or node in live
        if kept or (writes and sources and sources[0] in live):
            live.update([node, *sources])
        else:
            graph.graph.erase_node(node)


def _casts_constant(node: fx.Node) -> bool:
    """Whether it gives a constant the type of a value, whose numbers it does not read."""
    first = node.args[0] if node.args else None
    constant = isinstance(first, fx.Node) and first.op == "get_attr"
    return constant and node.target in ("to", "type_as")


def _sifts(node: fx.Node) -> bool:
    """Whether values decide how many entries its result has: their number would be a constant."""
    name = call_name(node)
    if name == "getitem":
        index = node.args[1] if isinstance(node.args[1], tuple) else node.args[1:2]
        values = [part.meta.get(_LIVE) for part in index if isinstance(part, fx.Node)]
        return any(isinstance(part, Tensor) and part.dtype in MASKS for part in values)
    return name in SIFTING or (name == "where" and len(node.args) + len(node.kwargs) == 1)


def _is_sifted(node: fx.Node) -> bool:
    """Whether values decide how many entries it has, or those that it comes from."""
    return bool(node.meta.get("sifted"))


def _reads_values(node: fx.Node, root: nn.Module) -> ConversionError:
    return ConversionError(
        f"{type(root).__name__}: its forward reads values ({call_name(node)}), which differ from "
        "image to image; compute with tensors alone"
    )


def _filled(node: fx.Node) -> bool:
    """Whether it is of one number that no image has a part in."""
    named = [value for key, value in node.kwargs.items() if key != "input"]
    branches = any(isinstance(other, fx.Node) for other in (*node.args[1:], *named))
    return node.op != "call_module" and call_name(node) in FILLED and not branches


def _writes_constant(node: fx.Node) -> bool:
    """Whether it writes into a tensor that is no value of the network."""
    if node.op == "call_module":
        return False
    goals = [node.kwargs.get("out")]
    if writes(node):
        goals += [*node.args[:1], node.kwargs.get("input")]
    return any(isinstance(goal, fx.Node) and goal.op == "get_attr" for goal in goals)


def parts_of(value: Any) -> tuple[Any, ...]:
    """The values that an operation returned: one, or several side by side."""
    return tuple(value) if isinstance(value, tuple | list) else (value,)


def _holds_tensor(value: Any) -> bool:
    return any(isinstance(part, Tensor) for part in parts_of(value))


def _as_returned(proxy: fx.Proxy, value: Any) -> Any:
    """The parts of a value one by one, under their names where torch names them (`values`)."""
    if not isinstance(value, tuple | list):
        return proxy
    parts = tuple(proxy)
    return type(value)(parts) if hasattr(value, "n_fields") else parts


def _snapshot(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return tuple(_snapshot(part) for part in value)
    return value.clone() if isinstance(value, Tensor) else value
