"""Hidden neurons rescaled, channel by channel: the same network, weights that few levels hold."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn
from torch.nn.utils import parametrize

from ttfs.snn import EarliestSpike, SpikingNetwork, Synapses
from ttfs.snn.conversion.operations import ChannelMean
from ttfs.snn.graph import module_of, run
from ttfs.snn.synapses import Gather, Reshape, scale_columns

POOLS = (EarliestSpike, nn.AvgPool1d, nn.AvgPool2d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d)
PASSES_ON = (*POOLS, ChannelMean, Reshape, Gather)
"""What may lie between neurons and the synapses that read them, where it mixes no channels."""
SWEEPS = 100
SETTLED = 1e-3
"""Sweeps end when no factor differs from 1 by more than this share."""
LIVE = 1 / 256
"""A channel whose weights are smaller, as a share of the largest of its layer, is as good as dead:
it would take the others' part of the window."""
LEAST = 2.0**-12
"""The smallest factor: a charge that is a smaller part of its window would be lost to any clock."""
SAME = 1e-6
"""Two means of channels' numbers and squares are one where they differ by less: sums in float64 err
by less, and one other channel among a million positions makes more.
"""


class Reader(NamedTuple):
    """Synapses that read a layer, and the channel [C_in] that each of their inputs is of."""

    synapses: Synapses
    channels: Tensor


class Layer(NamedTuple):
    """Hidden neurons of C channels between the synapses that feed them and those that read them."""

    channels: int
    entry: Synapses
    readers: list[Reader]


Sizes = dict[Synapses, Tensor]
"""The largest |w| [C_out, C] from each channel of the layer that synapses read."""
Step = Callable[[Layer, Sizes], Tensor]
"""The factors [C] by which a layer comes nearer to the weights that are wanted."""


@torch.no_grad()
def equalize_(snn: SpikingNetwork, per_channel: bool = False) -> int:
    """Give the channels of hidden neurons weights of one size, in place; return the number of
    layers.

    Potentials that are k > 0 times as large give B1 neurons k times the charge. So the weights and
    the bias into channel c may be multiplied by k_c and what reads it divided by k_c: the network
    computes what it did. Which k_c are best goes by what shares a scale of the few levels:

    - A layer: with r_c the largest |w| into channel c, and q_c the largest out of it,
      k_c = sqrt(q_c / r_c) makes both sqrt(r_c q_c). Layers share weights, so they take turns until
      all agree (cross-layer equalization; Nagel et al. 2019, arXiv 1906.04721, section 4.1).
    - An output channel, that is a row of weights: rows may be of any size, and columns alone count.
      The k_c are those with which the root mean square is 1 in each row, and in each column, of
      the largest |w| of each pair of channels, rows divided by their scale (balanced by turns as in
      Sinkhorn and Knopp 1967, Pacific J. Math. 21). Means are over the pairs that have a weight, so
      that weights of one size are balanced, whatever zeros are among them, and a balance exists.

    In the end each layer's factors are divided by their largest, and are 2^-12 at least: windows,
    and so the latency, stay, and no window clips more than before; one that did clips at a k-th of
    the charge, so nearer to the ReLU network. Channels without weights to speak of keep their
    scale.

    It is for weights of few levels, above all where a batch norm after the ReLU has left columns of
    very different size in the weights, which no scale of a layer or an output channel can hold. It
    has a price: charges become smaller beside the old windows, in which clock, jitter and mismatch
    are measured; windows by a quantile of the charges (`window_quantile`) give it back.

    A layer keeps its scale where it clips (ReLU6), where anything but synapses feeds it, such as a
    residual sum or an average, and where anything but synapses reads it, such as a sum, a
    concatenation or zeros of a padding. Pools and moves within channels may lie before the readers.

    Args:
        snn: an ideal network of B1 neurons.
        per_channel: whether each output channel has a scale of its own.
    """
    shapes = _shapes(snn)
    layers = [
        layer for node, shape in shapes.items() if (layer := _layer(snn, node, shape)) is not None
    ]
    factors = _factors(layers, _balance if per_channel else _equal)
    for layer, factor in zip(layers, factors, strict=True):
        entry = layer.entry
        for part in (entry.weights.weight, entry.weights.bias, entry.bias_map):
            if part is not None:
                part.copy_(part * factor.view(-1, *[1] * (part.dim() - 1)))
        for synapses, channels in layer.readers:
            scale_columns(synapses.weights, factor.reciprocal()[channels])
    return len(layers)


def _factors(layers: list[Layer], towards: Step) -> list[Tensor]:
    """The factors k [C] of each layer, in float64."""
    sizes: Sizes = {}
    for layer in layers:
        sizes |= {
            synapses: _sizes(synapses.weights, channels, layer.channels)
            for synapses, channels in layer.readers
        }
    for layer in layers:
        if layer.entry not in sizes:
            weight = layer.entry.weights.weight.double().abs()
            sizes[layer.entry] = weight.flatten(1).amax(1, keepdim=True)
    total = [torch.ones_like(sizes[layer.entry][:, 0]) for layer in layers]
    for _ in range(SWEEPS):
        moved = 0.0
        for layer, factor in zip(layers, total, strict=True):
            step = towards(layer, sizes)
            step = torch.where(step.isfinite() & (step > 0), step, 1.0)  # some have no weights
            factor *= step
            sizes[layer.entry] *= step[:, None]
            for synapses, _ in layer.readers:
                sizes[synapses] /= step
            moved = max(moved, (step - 1).abs().max().item())
        if moved <= SETTLED:
            break
    return [
        _within(factor, *_ranges(layer, sizes)) for layer, factor in zip(layers, total, strict=True)
    ]


def _within(factor: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Factors of at most 1; 1 for channels that are as good as dead."""
    size = rows.sqrt() * columns.sqrt()
    live = (size > 0) & (size >= LIVE * size.max())
    if not live.any():
        return torch.ones_like(factor)
    return torch.where(live, (factor / factor[live].max()).clamp(min=LEAST), 1.0)


def _equal(layer: Layer, sizes: Sizes) -> Tensor:
    """The factors [C] that make the range of each channel's weights one, into it and out of it."""
    rows, columns = _ranges(layer, sizes)
    return columns.sqrt() / rows.sqrt()


def _balance(layer: Layer, sizes: Sizes) -> Tensor:
    """The factors [C] that make columns one size where rows are: root mean squares."""
    rows = torch.cat([sizes[synapses] for synapses, _ in layer.readers])
    shares = rows / _size(rows, 1).unsqueeze(1)
    return _size(shares.nan_to_num(0.0), 0)


def _size(pairs: Tensor, dim: int) -> Tensor:
    """The root mean square of those that are not 0."""
    return (pairs.square().sum(dim) / (pairs > 0).sum(dim)).sqrt()


def _ranges(layer: Layer, sizes: Sizes) -> tuple[Tensor, Tensor]:
    """The largest |w| into and out of each channel [C]."""
    columns = torch.stack([sizes[synapses].amax(0) for synapses, _ in layer.readers])
    return sizes[layer.entry].amax(1), columns.amax(0)


def _sizes(weights: Any, channels: Tensor, count: int) -> Tensor:
    """The largest |w| [C_out, count] of a convolution or linear map from each channel it reads."""
    matrix = weights.weight.double().abs()
    matrix = matrix.reshape(*matrix.shape[:2], -1).amax(2)  # [C_out, C_in / groups]
    groups = getattr(weights, "groups", 1)
    rows, inputs = len(matrix) // groups, matrix.shape[1]
    sizes = matrix.new_zeros(len(matrix), count)
    for group in range(groups):
        own = slice(group * rows, (group + 1) * rows)
        read = channels[group * inputs : (group + 1) * inputs].expand(rows, -1)
        sizes[own] = sizes[own].scatter_reduce(1, read, matrix[own], "amax")
    return sizes


def _shapes(snn: SpikingNetwork) -> dict[fx.Node, torch.Size]:
    """{node of a hidden layer: the shape [1, C, ...] of its charges}."""
    found = {}

    def see(node: fx.Node, value: Any) -> Any:
        if str(node.target) in snn.layers:
            found[node] = value.shape
        return value

    run(snn.body, torch.zeros_like(snn.silence), see)
    return found


def _layer(snn: SpikingNetwork, node: fx.Node, shape: torch.Size) -> Layer | None:
    """The layer of a node, where it can be rescaled."""
    [source] = node.all_input_nodes
    entry = module_of(snn.body, source)
    clips = snn.layers[str(node.target)].ceiling < math.inf
    if clips or not _plain(entry) or len(source.users) > 1:
        return None
    readers = _readers(snn, node, shape)
    return Layer(shape[1], entry, readers) if readers else None  # type: ignore[arg-type]


def _readers(snn: SpikingNetwork, node: fx.Node, shape: torch.Size) -> list[Reader] | None:
    """The synapses that read a layer; None where anything else does, or channels were mixed.

    Three maps of numbers go the charges' way, c = 0, 1, ... of the channels, C - 1 - c, and c^2:
    where the largest of some channels is taken, or 0 comes in, the first two no longer add up;
    where channels are averaged, the square of their mean is not the mean of their squares.
    """
    last = shape[1] - 1
    device = snn.silence.device
    rising = torch.arange(shape[1], device=device, dtype=torch.float64)
    rising = rising.view(1, -1, *[1] * (len(shape) - 2)).expand(shape)
    waiting, found = [(node, torch.cat([rising, last - rising, rising.square()]))], []
    while waiting:
        source, numbers = waiting.pop()
        for user in source.users:
            module = module_of(snn.body, user)
            if isinstance(module, PASSES_ON):
                waiting.append((user, module(numbers)))
                continue
            rows, falling, squares = numbers.reshape(3, numbers.shape[1], -1)
            errors = rows - rows[:, :1], rows + falling - last, rows.square() - squares
            if max(error.abs().max().item() for error in errors) > SAME or not _plain(module):
                return None
            found.append(Reader(module, rows[:, 0].round().long()))  # type: ignore[arg-type]
    return found


def _plain(module: nn.Module | None) -> bool:
    """Whether a module is synapses whose weights are held as they are."""
    return isinstance(module, Synapses) and not parametrize.is_parametrized(module.weights)
