"""Every synapse of a TTFS network, one by one: sparse matrices from spikes to potentials, in
float64.

Written from the definition of each map by index arithmetic, not by running it, so that the
simulator stands on its own.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy import sparse
from torch import Tensor, fx, nn

from ttfs.snn.b1 import Fire
from ttfs.snn.graph import last_reads
from ttfs.snn.imperfections import Reads
from ttfs.snn.network import INPUT, OUTPUT, SpikingNetwork
from ttfs.snn.pools import EarliestSpike
from ttfs.snn.synapses import Gather, OneToOne, Reshape, Synapses


@dataclass(frozen=True)
class Population:
    """Spikes that travel together: an input, a layer of neurons, what a pool lets pass, or a
    concatenation of these.
    """

    name: str
    kind: str  # "input" | "fire" | "pool" | "concatenation"
    shape: tuple[int, ...]
    sources: tuple[str, ...] = ()  # of a pool or a concatenation: the populations it takes
    pool: EarliestSpike | None = None
    routes: dict[str, sparse.csr_matrix] | None = None  # of a pool: 1 where a spike enters a place
    field: tuple[int, ...] = ()  # of a pool: the shape of the places
    projection: "Projection | None" = None  # of neurons: what reaches them


@dataclass(frozen=True)
class Noise:
    """Chance in potentials, of currents that fluctuate anew for each image.

    potential <- potential + after @ (xi sqrt(variances @ x²)), where x arrives at the synapses that
    are read.
    """

    after: sparse.csr_matrix  # [targets of the projection, targets of the synapses]
    variances: sparse.csr_matrix  # [targets, sources of the synapses]
    arriving: "Projection"  # of the charges to x
    shape: tuple[int, ...]  # of the targets of the synapses
    reads: Reads  # draws the xi


@dataclass(frozen=True)
class Projection:
    """Synapses that end in one layer: potential = constant + sum over populations of matrix @
    charges.

    For α1 neurons the matrix holds the currents J: potential = constant + (sum of matrix @ charges)
    / slope.
    """

    constant: np.ndarray
    matrices: dict[str, sparse.csc_matrix]  # {population: [targets, sources]}
    slope: np.ndarray | None = None  # dV/dt at threshold of each target, if they are α1 neurons
    noises: tuple[Noise, ...] = ()


def connectivity(snn: SpikingNetwork) -> Iterator[Population]:
    """Yield each population in the order of the network, its incoming synapses with it; last the
    output.

    Lazily: the synapses of a large layer need not outlive their use. A layer of C x H x W neurons
    is flattened in that order.
    """
    values: dict[fx.Node, Population | _Linear] = {}
    done = last_reads(snn.body.graph)
    for node in snn.body.graph.nodes:
        if node.op == "output":
            linear = _linear(values[node.args[0]])
            yield Population(OUTPUT, "output", linear.shape, projection=linear.projection())
            return
        value = _value(node, [values[source] for source in _sources(node)], snn)
        for source in done.get(node, ()):
            del values[source]
        if isinstance(value, Population):
            yield value
            value = replace(value, projection=None)
        values[node] = value


@dataclass(frozen=True)
class _Linear:
    """A weighted sum of charges, on its way to a layer of neurons."""

    shape: tuple[int, ...]
    constant: np.ndarray
    matrices: dict[str, sparse.csr_matrix]
    slope: np.ndarray | None = None
    noises: tuple[Noise, ...] = ()

    def map(
        self, matrix: sparse.csr_matrix, constant: np.ndarray | float, shape: tuple[int, ...]
    ) -> "_Linear":
        matrices = {name: matrix @ inner for name, inner in self.matrices.items()}
        noises = tuple(replace(noise, after=matrix @ noise.after) for noise in self.noises)
        return _Linear(shape, matrix @ self.constant + constant, matrices, noises=noises)

    def projection(self) -> Projection:
        return Projection(
            self.constant,
            {name: matrix.tocsc() for name, matrix in self.matrices.items()},
            self.slope,
            self.noises,
        )


def _sources(node: fx.Node) -> Sequence[fx.Node]:
    """Inputs of a node in order, one that comes twice twice."""
    return node.args[0] if node.target is torch.cat else node.args  # type: ignore[return-value]


def _value(node: fx.Node, inputs: list, snn: SpikingNetwork) -> Population | _Linear:
    if node.op == "placeholder":
        return Population(INPUT, "input", snn.input_shape)
    if node.op == "call_function" and node.target is torch.cat:
        shape = (sum(value.shape[0] for value in inputs), *inputs[0].shape[1:])
        if all(isinstance(value, Population) for value in inputs):
            return Population(
                node.name, "concatenation", shape, tuple(value.name for value in inputs)
            )
        return _stack([_linear(value) for value in inputs], shape)
    if node.op == "call_function":  # torch.add
        first, second = (_linear(value) for value in inputs)
        names = [*first.matrices, *(name for name in second.matrices if name not in first.matrices)]
        matrices = {
            name: sum(t.matrices[name] for t in (first, second) if name in t.matrices)
            for name in names
        }
        noises = first.noises + second.noises
        return _Linear(first.shape, first.constant + second.constant, matrices, noises=noises)
    module, (value,) = snn.body.get_submodule(str(node.target)), inputs
    if isinstance(module, Fire):
        linear = _linear(value)
        return Population(str(node.target), "fire", linear.shape, projection=linear.projection())
    if isinstance(module, EarliestSpike):
        shape = tuple(module.pool(torch.empty(1, *value.shape)).shape[1:])
        routes = _linear(value).matrices
        return Population(
            str(node.target), "pool", shape, tuple(routes), module, routes, tuple(value.shape)
        )
    linear = _linear(value)
    if isinstance(module, Gather):
        size = int(np.prod(linear.shape))
        places = np.flatnonzero(_numpy(module.index) >= 0)
        entries = (np.ones(len(places)), (places, _numpy(module.index)[places].astype(int)))
        matrix = sparse.csr_matrix(entries, shape=(int(np.prod(module.shape)), size))
        return linear.map(matrix, 0.0, module.shape)
    if isinstance(module, Reshape):
        return replace(linear, shape=module.shape)
    after = linear.map(*_matrix(module, linear.shape))
    slopes = module.slopes if isinstance(module, Synapses) else None
    if slopes is not None:
        after = replace(after, slope=np.repeat(_numpy(slopes), int(np.prod(after.shape[1:]))))
    if isinstance(module, Synapses) and module.reads is not None:
        after = replace(after, noises=(*after.noises, _noise(module, linear, after.shape)))
    return after


def _noise(module: Synapses, before: _Linear, shape: tuple[int, ...]) -> Noise:
    assert module.reads is not None
    variances, _ = _weights(module.weights, module.reads.variances(), before.shape)
    own = sparse.identity(variances.shape[0], format="csr")
    return Noise(own, variances, before.projection(), shape, module.reads)


def _linear(value: Population | _Linear) -> _Linear:
    if isinstance(value, _Linear):
        return value
    size = int(np.prod(value.shape))
    return _Linear(value.shape, np.zeros(size), {value.name: sparse.identity(size, format="csr")})


def _stack(parts: list[_Linear], shape: tuple[int, ...]) -> _Linear:
    rows = [int(np.prod(part.shape)) for part in parts]
    columns = {name: matrix.shape[1] for part in parts for name, matrix in part.matrices.items()}
    matrices = {
        name: sparse.vstack(
            [
                p.matrices.get(name, sparse.csr_matrix((r, size)))
                for p, r in zip(parts, rows, strict=True)
            ],
            format="csr",
        )
        for name, size in columns.items()
    }
    ends = np.cumsum(rows)
    noises = tuple(
        replace(noise, after=_rows(noise.after, end - len(part.constant), int(ends[-1])))
        for part, end in zip(parts, ends, strict=True)
        for noise in part.noises
    )
    constant = np.concatenate([part.constant for part in parts])
    return _Linear(shape, constant, matrices, noises=noises)


def _rows(matrix: sparse.csr_matrix, first: int, rows: int) -> sparse.csr_matrix:
    """Put a matrix at a row of one that is otherwise zero."""
    moved = matrix.tocoo()
    entries = (moved.data, (moved.row + first, moved.col))
    return sparse.csr_matrix(entries, shape=(rows, matrix.shape[1]))


def _matrix(
    module: Any, shape: tuple[int, ...]
) -> tuple[sparse.csr_matrix, np.ndarray | float, tuple[int, ...]]:
    """Return the matrix, the constant and the output shape of one affine module for inputs of the
    shape.
    """
    if isinstance(module, OneToOne):
        weight, bias = (_numpy(part.expand(shape)) for part in (module.weight, module.bias))
        return sparse.diags(weight, format="csr"), bias, shape
    if not isinstance(module, Synapses):
        return _channelwise(module, shape)
    weights = module.weights
    matrix, after = _weights(weights, module.currents, shape)
    if module.bias_map is not None:
        return matrix, _numpy(module.bias_map), after
    if weights.bias is None:
        return matrix, 0.0, after
    return matrix, np.repeat(_numpy(weights.bias), int(np.prod(after[1:]))), after


def _weights(
    weights: Any, values: Tensor, shape: tuple[int, ...]
) -> tuple[sparse.csr_matrix, tuple[int, ...]]:
    """Return the matrix of a convolution or linear map with these values, and the output shape."""
    if isinstance(weights, nn.Linear):
        return _dense(_numpy(values).reshape(values.shape)), (weights.out_features,)
    return _convolution(weights, values, shape)


def _dense(weight: np.ndarray) -> sparse.csr_matrix:
    """Sparse matrix of the weights that are not zero; scipy's own way takes three times the
    memory.
    """
    present = weight != 0
    columns = np.concatenate([np.flatnonzero(row).astype(np.int32) for row in present])
    return sparse.csr_matrix(
        (weight[present], columns, np.append(0, present.sum(1).cumsum())), shape=weight.shape
    )


def _convolution(
    conv: Any, values: Tensor, shape: tuple[int, ...]
) -> tuple[sparse.csr_matrix, tuple[int, ...]]:
    """Write a convolution as a matrix: row (o, position) holds values[o, c, tap] at the input that
    the tap reads.
    """
    two_d = (shape[0], 1, shape[1]) if len(shape) == 2 else shape
    kernel, stride, dilation = (
        (1, *v) if len(v) == 1 else v for v in (conv.kernel_size, conv.stride, conv.dilation)
    )  # fmt: skip
    if conv.padding == "same":
        total = [d * (k - 1) for d, k in zip(conv.dilation, conv.kernel_size, strict=True)]
        border = [(t // 2, t - t // 2) for t in total]
    else:
        border = (
            [(0, 0)] * len(conv.kernel_size)
            if conv.padding == "valid"
            else [(p, p) for p in conv.padding]
        )
    border = [(0, 0), *border] if len(border) == 1 else border
    number = torch.arange(1, int(np.prod(shape)) + 1, dtype=torch.float64).reshape(
        1, *two_d
    )  # 0 is the padding
    mode = "constant" if conv.padding_mode == "zeros" else conv.padding_mode
    pad = [p for pair in reversed(border) for p in pair]
    padded = F.pad(number, pad, mode=mode) if any(pad) else number
    after = [
        (padded.shape[2 + i] - dilation[i] * (kernel[i] - 1) - 1) // stride[i] + 1 for i in range(2)
    ]  # fmt: skip
    taps = (
        F.unfold(padded, kernel, dilation=dilation, stride=stride)[0].int().numpy() - 1
    )  # [C * K, positions]
    groups, positions = conv.groups, taps.shape[1]
    taps = taps.reshape(groups, 1, -1, positions).transpose(
        0, 1, 3, 2
    )  # [G, 1, positions, C/G * K]
    weight = _numpy(values).reshape(groups, conv.out_channels // groups, 1, -1)
    full = (groups, conv.out_channels // groups, positions, weight.shape[-1])
    columns, data = np.broadcast_to(taps, full), np.broadcast_to(weight, full)
    inside = (columns >= 0) & (data != 0)
    rows = np.append(0, inside.reshape(-1, full[-1]).sum(1).cumsum())
    size = (conv.out_channels * positions, number.numel())
    matrix = sparse.csr_matrix((data[inside], columns[inside], rows), shape=size)
    matrix.sum_duplicates()
    return matrix, (conv.out_channels, *(after if len(shape) == 3 else after[1:]))


def _channelwise(
    module: Any, shape: tuple[int, ...]
) -> tuple[sparse.csr_matrix, float, tuple[int, ...]]:
    """Read the matrix of a map that treats each channel alike off its answers to single spikes."""
    size = int(np.prod(shape[1:]))
    answers = module(torch.eye(size, dtype=torch.float64).reshape(size, 1, *shape[1:]))
    one = sparse.csr_matrix(answers.reshape(size, -1).T.numpy())
    return sparse.block_diag([one] * shape[0], format="csr"), 0.0, (shape[0], *answers.shape[2:])


def _numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().double().cpu().numpy().reshape(-1)
