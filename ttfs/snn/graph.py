"""Run a graph of modules node by node, and see the values on the way."""

import operator
from collections.abc import Callable
from typing import Any

from torch import Tensor, fx, nn


def run(graph: fx.GraphModule, inputs: Tensor, watch: Callable[[fx.Node, Any], Any]) -> Any:
    """Return what the graph makes of its one input, by the operations of its `forward` in order.

    `watch(node, value)` sees the value of each node and returns the value to go on with. A value
    is let go of after its last use. Nothing is written to the modules, so that any
    number of threads may run one graph.
    """
    values: dict[fx.Node, Any] = {}
    done = last_reads(graph.graph)
    for node in graph.graph.nodes:
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), values.__getitem__)
        if node.op == "placeholder":
            value = inputs
        elif node.op == "output":
            return watch(node, args[0])
        else:
            value = compute(graph, node, args, kwargs)
        values[node] = watch(node, value)
        for source in done.get(node, ()):
            del values[source]
    raise ValueError("the graph has no output")


def last_reads(graph: fx.Graph) -> dict[fx.Node, list[fx.Node]]:
    """Return {node: those whose values it is the last to read}.

    `node.users` does not tell: an edit of a graph puts new users at its end, wherever they stand.
    """
    last = {source: node for node in graph.nodes for source in node.all_input_nodes}
    done: dict[fx.Node, list[fx.Node]] = {}
    for source, node in last.items():
        done.setdefault(node, []).append(source)
    return done


def compute(root: nn.Module, node: fx.Node, args: Any, kwargs: Any) -> Any:
    """Return what the operation of one node makes of its arguments, or the attribute it reads."""
    if node.op == "call_module":
        return root.get_submodule(str(node.target))(*args, **kwargs)
    if node.op == "call_function":
        function: Any = node.target
        return function(*args, **kwargs)
    if node.op == "call_method":
        return getattr(args[0], str(node.target))(*args[1:], **kwargs)
    return operator.attrgetter(str(node.target))(root)


def module_of(graph: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    """Return the module that a node calls; None where it calls a function or holds a value."""
    return graph.get_submodule(str(node.target)) if node.op == "call_module" else None
