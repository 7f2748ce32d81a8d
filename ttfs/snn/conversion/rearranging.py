"""Find out where an operation that moves values moves each of them."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx

from ttfs.snn.conversion.copying import Float64
from ttfs.snn.graph import compute


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
    one, two = result[0], result[-1]
    if len(result) != 2 or not ((two == one + total) | ((one == 0) & (two == 0))).all():
        raise ValueError("it moves values between images")
    if not ((one >= 0) & (one <= total) & (one == one.round())).all():
        raise ValueError("it pads with another value than 0")
    return one
