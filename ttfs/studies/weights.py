"""Weights of a chain of layers in the terms of the ReLU network that it amounts to."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn


def layers(network: nn.Module) -> list[Any]:
    """The linear maps and convolutions, from the input on, the same in a ReLU network and its
    mappings.
    """
    return [
        module
        for module in network.modules()
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d)
    ]


@torch.no_grad()
def matrices(network: nn.Module) -> list[Tensor]:
    """Return [C_out, inputs + 1] of each layer: the weights W of the ReLU network that it amounts
    to, the bias last.

    The row of an α1 neuron without a positive slope is 0: it leaves no charge, whatever its bias.
    """
    found = []
    for layer in layers(network):
        weight = layer.weight.flatten(1)
        bias = weight.new_zeros(len(weight)) if layer.bias is None else layer.bias
        found.append(torch.column_stack([weight, torch.where(weight.any(1), bias, 0.0)]))
    return found


def scales(network: nn.Module, reference: nn.Module) -> list[Tensor]:
    """Return c of the input [1], of each hidden layer [C_out] and of the output [1]: a charge is c
    x the activation.

    The mapping to α1 scales hidden neurons and divides the next layer by the scale: W' = c W /
    c_before, D' = c D. So c is the ratio of the lengths of a row, once c_before is undone. Both
    networks must be the same function.
    """
    one = next(network.parameters()).new_ones(1)
    found = [one]
    for own, wanted in zip(matrices(network)[:-1], matrices(reference)[:-1], strict=True):
        scale = _unscaled(own, found[-1], one).norm(dim=1) / wanted.norm(dim=1)
        found.append(torch.where(scale.isfinite() & (scale > 0), scale, 1.0))
    return [*found, one]


def in_relu_terms(network: nn.Module, scales: Sequence[Tensor]) -> list[Tensor]:
    """Return the `matrices` of the network with the scales of its neurons undone; its function
    stays.
    """
    return [
        _unscaled(own, *around)
        for own, around in zip(matrices(network), pairwise(scales), strict=True)
    ]


def _unscaled(matrix: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """W = W' c_before / c and D = D' / c; a channel's c holds for all inputs that come from it."""
    inputs = matrix.shape[1] - 1
    columns = torch.cat([before.repeat_interleave(inputs // len(before)), before.new_ones(1)])
    return matrix * columns / after[:, None]
