"""A value of the ReLU network, as the TTFS network carries it: a node of its graph, a scale and a
shift.
"""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn

from ttfs.snn.pools import EarliestSpike
from ttfs.snn.synapses import Synapses


@dataclass
class Value:
    """A value of the ANN: `scale * raw + shift`, after the pools of `pending`."""

    raw: fx.Node
    shape: tuple[int, ...]
    spikes: bool = False
    """Whether raw is charges of neurons, >= 0; else it is a weighted sum of them."""
    moved: bool = False
    """Whether raw is charges of spikes in another shape, which pooling can race as well."""
    scale: Tensor | None = None
    """Broadcasts to shape; None, as shift then is, stands for 1."""
    shift: Tensor | None = None
    """Broadcasts to shape; None, as scale then is, stands for 0."""
    learns: bool = False
    """Whether scale or shift holds weights that learn, as those of a batch norm."""
    places: tuple[Tensor, Tensor] | None = None
    """Where each value of scale and of shift came from, once they were moved."""
    owned: bool = False
    """Whether raw comes from synapses that nobody else reads: scale and shift may be folded into
    them.
    """
    pending: list[EarliestSpike] = field(default_factory=list)
    """Max pools that wait for their ReLU."""

    @property
    def per_channel(self) -> bool:
        """Whether scale and shift are the same all over each channel."""
        return all(part is None or on_channels(part) for part in (self.scale, self.shift))

    def affine(self, scale: Tensor, shift: Tensor, learns: bool = False) -> "Value":
        """Return scale * value + shift, for constants that broadcast to the shape, and where pools
        wait are the same all over each channel; `learns` says whether the constants do.
        """
        return dataclasses.replace(
            self,
            scale=scale if self.scale is None else scale * self.scale,
            shift=shift if self.shift is None else scale * self.shift + shift,
            learns=self.learns or learns,
            places=None,
            pending=[pool.turned(sign_of(scale)) for pool in self.pending],
        )


def on_channels(part: Tensor) -> bool:
    """Whether a constant is one value a channel."""
    return math.prod(part.shape[1:]) == 1


def sign_of(scale: Tensor) -> Tensor:
    """Return -1 where a scale is negative, else 1."""
    return torch.where(scale < 0, -1.0, 1.0).double()


def compact(part: Tensor) -> Tensor:
    """A constant with one value a channel, where it is the same all over each channel."""
    if on_channels(part):
        return part
    first = _firsts(part)
    return first if torch.equal(first.expand_as(part), part) else part


def _firsts(part: Tensor) -> Tensor:
    """The first value of each channel."""
    return part.reshape(len(part), -1)[:, :1].reshape(-1, *[1] * (part.dim() - 1))


def moved_constants(value: Value, move: Callable[[Tensor, float], Tensor]) -> dict[str, Any]:
    """Scale, shift and what belongs to them, as fields of a Value, where `move(part, nothing)`
    brings a value's; with one value a channel where all of a channel comes from one place.

    Places alone decide that, never values: networks of other weights have the same graph.
    """
    if value.scale is None or value.shift is None:
        return {}
    origins = value.places or (_numbered(value.scale), _numbered(value.shift))
    scale, of_scale = _moved(value.scale, origins[0], move, 1.0)
    shift, of_shift = _moved(value.shift, origins[1], move, 0.0)
    return {
        "scale": scale, "shift": shift, "places": (of_scale, of_shift), "learns": value.learns,
    }  # fmt: skip


def _numbered(part: Tensor) -> Tensor:
    return torch.arange(part.numel(), device=part.device).reshape(part.shape)


def _moved(
    part: Tensor, places: Tensor, move: Callable[[Tensor, float], Tensor], nothing: float
) -> tuple[Tensor, Tensor]:
    part, places = move(part, nothing), move(places, -1)
    if compact(places) is places:
        return part, places
    return _firsts(part), _firsts(places)


def fold(synapses: Synapses, value: Value) -> None:
    """Replace the synapses' W and D by scale W and scale D + shift."""
    assert value.scale is not None
    assert value.shift is not None
    weights: Any = synapses.weights
    scale, shift = value.scale.reshape(-1), value.shift.reshape(-1)
    with torch.no_grad():
        weights.weight.mul_(scale.reshape(-1, *[1] * (weights.weight.dim() - 1)))
        if synapses.bias_map is not None:
            column = [-1] + [1] * (synapses.bias_map.dim() - 1)
            synapses.bias_map.mul_(scale.reshape(column)).add_(shift.reshape(column))
            synapses.bias_map.requires_grad |= value.learns
            return
        learns = bias_learns(weights, value)
        bias = shift if weights.bias is None else weights.bias * scale + shift
        weights.bias = nn.Parameter(bias.expand(weights.weight.shape[0]).clone(), learns)


def bias_learns(weights: Any, value: Value) -> bool:
    """Whether a bias of weights that takes in the shift of a value is to learn: if one of the two
    does; without a bias, and with a shift that does not, as the weights do.
    """
    own = weights.weight if weights.bias is None else weights.bias
    return value.learns or own.requires_grad


def join_channels(columns: list[tuple[Tensor | None, tuple[int, ...]]], neutral: float) -> Tensor:
    """Concatenate the scales or shifts of branches of the given shapes along the channels."""
    device = next(column.device for column, _ in columns if column is not None)
    neutrals = [
        torch.full([1] * len(after), neutral, dtype=torch.float64, device=device)
        for _, after in columns
    ]
    tensors = [
        other if column is None else column
        for (column, _), other in zip(columns, neutrals, strict=True)
    ]
    rest = torch.broadcast_shapes(*(tensor.shape[1:] for tensor in tensors))
    return torch.cat(
        [t.expand(after[0], *rest) for t, (_, after) in zip(tensors, columns, strict=True)]
    )


def padding(convolution: Any) -> tuple[int, ...]:
    """Zero padding of a convolution; none where the border repeats the image."""
    if convolution.padding_mode != "zeros" or convolution.padding == "valid":
        return (0,)
    if convolution.padding == "same":
        return tuple(
            d * (k - 1) for d, k in zip(convolution.dilation, convolution.kernel_size, strict=True)
        )
    return tuple(convolution.padding)
