"""Operations that move values: where each value goes, and the synapses that take it there."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx

from ttfs.snn.conversion.construction import Construction
from ttfs.snn.conversion.copying import Float64
from ttfs.snn.conversion.reading import operation
from ttfs.snn.conversion.tracing import parts_of
from ttfs.snn.conversion.values import Value, moved_constants
from ttfs.snn.graph import compute
from ttfs.snn.synapses import Gather, Reshape


def destinations(
    ann: fx.GraphModule,
    node: fx.Node,
    shapes: Mapping[fx.Node, tuple[int, ...]],
    device: torch.device,
) -> Tensor | list[Tensor]:
    """Return which value stands at each place of the result, by sending numbers through instead.

    The values of the sources, whose shapes for one image are given, count from 1, one source after
    the other; 0 is a padded zero. An operation that returns several tensors gives a list.

    Raises ValueError where values move between images, or where padding is not zero.
    """
    numbers, total = {}, 0
    for source, shape in shapes.items():
        size = math.prod(shape)
        places = torch.arange(total + 1, total + size + 1, dtype=torch.float64, device=device)
        numbers[source], total = places.reshape(shape), total + size
    images = {source: torch.stack([own, own + total]) for source, own in numbers.items()}
    args, kwargs = fx.node.map_arg(
        (node.args, node.kwargs), lambda source: images.get(source, source.meta["value"])
    )
    with Float64():  # numbers stay exact where values are cast
        found = compute(ann, node, args, kwargs)
    if isinstance(found, tuple | list):
        return [_of_one_image(part, total) for part in found]
    return _of_one_image(found, total)


def _of_one_image(result: Any, total: int) -> Tensor:
    """The first of two images, whose numbers differ by `total` unless they are padded zeros."""
    if len(result) == 2:
        one, two = result
        moved = one.isfinite() & (two == one + total)
        padded = (one == 0) & (two == 0)
        if (moved | padded).all():
            return one
    raise ValueError("it moves values between images, or pads with another value than 0")


class Rearranging(Construction):
    """A construction that knows operations which move values."""

    def _rearrange(self, node: fx.Node, sources: list[fx.Node]) -> None:
        """Gather the values of the sources at the places where they go."""
        if node.args and node.args[0] in self.parts:
            which: Any = node.args[1]
            numbers, sources = self.parts[node.args[0]][which]  # type: ignore[index]
            self.values[node] = self._moved(node, numbers, sources)
            return
        if node.op == "call_method" and str(node.target).endswith("_as"):
            sources = sources[:1]  # the other gives its shape or type
        shapes = {source: self.values[source].shape for source in sources}
        if not all(part.is_floating_point() for part in parts_of(node.meta["value"])):
            self._refuse(node, operation(node, self.ann), "it rounds values to whole numbers")
        try:
            found = destinations(self.ann, node, shapes, self.device)
        except ValueError as error:
            self._refuse(node, operation(node, self.ann), str(error))
        if isinstance(found, list):
            self.parts[node] = [(part, sources) for part in found]
        else:
            self.values[node] = self._moved(node, found, sources)

    def _moved(self, node: fx.Node, numbers: Tensor, sources: list[fx.Node]) -> Value:
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

        def taken(part: Tensor, nothing: float) -> Tensor:
            found = part.expand(value.shape).reshape(-1)[index.clamp(min=0)]
            return torch.where(index < 0, nothing, found).reshape(after)

        raw = self._emit(node, Gather(index, after), value.raw)
        moved = value.spikes or value.moved
        return Value(raw, after, value.spikes, moved, **moved_constants(value, taken))

    def _moved_together(self, node: fx.Node, numbers: Tensor, values: list[Value]) -> Value:
        settled = [self._settled(value, node) for value in values]
        flat = [
            self._emit(node, Reshape([math.prod(v.shape)]), v.raw, suffix="_flat") for v in settled
        ]
        joined = self.graph.create_node("call_function", torch.cat, (flat, 1))
        raw = self._emit(node, Gather(numbers.flatten().long() - 1, numbers.shape), joined)
        return Value(raw, tuple(numbers.shape), moved=all(v.spikes or v.moved for v in settled))

    def _reshape(
        self, node: fx.Node, value: Value, after: tuple[int, ...], suffix: str = ""
    ) -> Value:
        constants = moved_constants(value, lambda part, _: part.expand(value.shape).reshape(after))
        if after == value.shape:
            return Value(value.raw, after, value.spikes, value.moved, **constants)
        raw = self._emit(node, Reshape(after), value.raw, suffix)
        moved = value.spikes or value.moved
        return Value(raw, after, moved=moved, **constants)
