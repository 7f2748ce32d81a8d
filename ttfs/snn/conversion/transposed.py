"""A transposed convolution is a convolution of its inputs, once zeros stand between them."""

import math
from typing import Any

import torch
from torch import Tensor, nn


def spread(module: Any, before: tuple[int, ...], after: tuple[int, ...]) -> Tensor:
    """Return which value, counted from 1, stands at each place that the convolution reads; 0 is a
    0.

    Inputs [C, ...] of shape `before` stand apart by the stride. What is around them makes the
    outputs have the places of `after` [C', ...].
    """
    numbers = torch.arange(1, math.prod(before) + 1).reshape(before)
    for i, size in enumerate(after[1:]):
        reach = module.dilation[i] * (module.kernel_size[i] - 1)
        start = reach - module.padding[i]
        numbers = _apart(numbers, i + 1, module.stride[i], start, size + reach)
    return numbers


def as_convolution(module: Any) -> nn.Module:
    """Return the convolution of the inputs that stand apart."""
    groups, weight = module.groups, module.weight.detach()
    kernel = weight.shape[2:]
    # [G * in, out, ...] -> [G * out, in, ...]
    weight = (
        weight.unflatten(0, (groups, -1))
        .transpose(1, 2)
        .flatten(0, 1)
        .flip(tuple(range(2, weight.dim())))
    )
    kind: Any = nn.Conv1d if len(kernel) == 1 else nn.Conv2d
    options = {"dilation": module.dilation, "groups": groups, "bias": module.bias is not None}
    layer = kind(module.in_channels, module.out_channels, kernel, device="meta", **options)
    layer.weight = nn.Parameter(weight.clone())
    if module.bias is not None:
        layer.bias = nn.Parameter(module.bias.detach().clone())
    return layer


def _apart(numbers: Tensor, dim: int, stride: int, start: int, size: int) -> Tensor:
    """The numbers along a dimension at start, start + stride, ... of a new size; 0 elsewhere."""
    places = torch.arange(numbers.shape[dim], device=numbers.device) * stride + start
    inside = ((places >= 0) & (places < size)).nonzero()[:, 0]
    spread = numbers.new_zeros([*numbers.shape[:dim], size, *numbers.shape[dim + 1 :]])
    return spread.index_copy(dim, places[inside], numbers.index_select(dim, inside))
