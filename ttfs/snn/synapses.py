"""Synapses: weighted connections that turn charges s = t_max - t into potentials."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from ttfs.snn.imperfections import Reads


class Synapses(nn.Module):
    """Weighted connections from charges to potentials: a convolution or a linear map, and a bias.

    The bias is one value a channel, inside the map, or a `bias_map` of the shape of one image's
    output: what is left of a shift that entered a zero-padded convolution, and so differs at the
    border.
    """

    weights: Any  # Conv1d, Conv2d or Linear
    reads: Reads | None = None
    """What a chip does to the currents of each image; None in an ideal network."""

    def __init__(self, weights: nn.Module, bias_map: Tensor | None = None):
        super().__init__()
        self.weights = weights
        if bias_map is not None and not isinstance(bias_map, nn.Parameter):
            bias_map = nn.Parameter(bias_map)
        self.bias_map = bias_map

    @property
    def currents(self) -> Tensor:
        """The current [C_out, ...] that a spike switches on: the weight, for neurons of constant
        slope.
        """
        return self.weights.weight

    @property
    def slopes(self) -> Tensor | None:
        """The slope at threshold [C_out] of each neuron that the synapses end in; None where it is
        1 for all.
        """
        return None

    def forward(self, charges: Tensor) -> Tensor:
        """Map charges [N, C, ...] to potentials [N, C', ...]."""
        potential = self.weights(charges)
        if self.reads is not None:
            potential = self.reads.potentials(potential, charges)
        return potential if self.bias_map is None else potential + self.bias_map


class OneToOne(nn.Module):
    """One synapse a neuron, and a bias: v = weight * s + bias, where no other weights are there to
    take them in. Those that stand for what an operation does, as the -1 of a difference, do not
    learn.
    """

    def __init__(self, weight: Tensor, bias: Tensor, learns: bool = True):
        super().__init__()
        self.weight, self.bias = (nn.Parameter(part, learns) for part in (weight, bias))

    def forward(self, charges: Tensor) -> Tensor:
        """Map charges [N, C, ...] to potentials of the same shape."""
        return charges * self.weight + self.bias


class Reshape(nn.Module):
    """Give each image's values another shape; the values stay."""

    def __init__(self, shape: Sequence[int]):
        super().__init__()
        self.shape = tuple(shape)

    def forward(self, values: Tensor) -> Tensor:
        """Map values [N, ...] to [N, *shape]."""
        return values.reshape(-1, *self.shape)


class Gather(nn.Module):
    """Take each image's values in another order, some often, some never, and 0 where the index is
    -1.
    """

    index: Tensor

    def __init__(self, index: Tensor, shape: Sequence[int]):
        super().__init__()
        self.shape = tuple(shape)
        self.padded = bool((index < 0).any())
        self.register_buffer("index", index)  # a permutation may be a buffer of the ANN

    def forward(self, values: Tensor) -> Tensor:
        """Map values [N, ...] to [N, *shape]."""
        taken = values.flatten(1).index_select(1, self.index.clamp(min=0))
        if self.padded:
            taken = taken.masked_fill(self.index < 0, 0.0)
        return taken.reshape(-1, *self.shape)


class Spread(Gather):
    """Zeros between the values, and around them, for the convolution that a transposed one is."""


def scale_columns(weights: nn.Module, scale: Tensor) -> None:
    """Multiply in place what a convolution or linear map reads of each channel or feature by a
    scale [C], or [1].
    """
    matrix: Any = weights.weight
    groups = getattr(weights, "groups", 1)
    scale = scale.to(matrix.dtype).expand(groups * matrix.shape[1]).reshape(groups, 1, -1)
    scale = scale.expand(-1, matrix.shape[0] // groups, -1).reshape(matrix.shape[:2])
    matrix.mul_(scale.reshape(*matrix.shape[:2], *[1] * (matrix.dim() - 2)))
