"""Export to the Neuromorphic Intermediate Representation, NIR (Pedersen et al. 2024, Nat. Commun.
15:8122).

A layer of B1 neurons is an integrator of spikes, whose value is the current, and an
integrate-and-fire neuron, to which a clock gives the constant slope:

    spikes ──weights──▶ I (current) ──▶ IF (membrane, threshold T - D) ──▶ spikes
                                         ▲
                    clock, 1 while the window is open

NIR has no gate, so the graph's metadata name the times of the windows. `docs/nir.md` states all
equations.
"""

import copy
import hashlib
import math
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor, fx, nn

from ttfs.errors import UserError
from ttfs.snn.b1 import Fire
from ttfs.snn.encode import rounding
from ttfs.snn.graph import module_of
from ttfs.snn.network import INPUT, OUTPUT, SpikingNetwork, check_weights
from ttfs.snn.pools import pair
from ttfs.snn.synapses import Reshape, Synapses

GATE = (
    "currents, clocks and membranes start at 0; when the window of a layer opens its current is "
    "set to 0 and its clock to 1; when it closes its clock is set to 0; a neuron spikes once at "
    "most, and only while its window is open: at the opening if its membrane is above the "
    "threshold there; the output is the membrane at the latency"
)
SAMPLES = 10


def to_nir(snn: SpikingNetwork, path: str | Path, images: Tensor | None = None) -> dict[str, str]:
    """Write a chain of linear layers, convolutions and B1 neurons as a NIR graph.

    The file holds, as metadata of the graph, the windows, the rule of the gate, images with the
    spike times of each layer and their logits (in float64 and tau_c), and two checksums
    (`checksums`). Needs the package `nir`, of the extra `ttfs[nir]`.

    Args:
        snn: an ideal B1 network, as `ttfs.convert` makes it.
        path: the file to write, in HDF5.
        images: [N, ...] on the input range, to keep spike times of; None draws ten, uniform on
            this range.

    Returns:
        The checksums: {"weights": ..., "spike_times": ...}, SHA-256 in hex digits.

    Raises:
        UserError: naming the layer that it writes no form of; for what is no network of
            `ttfs.convert`, or a folder that is not there.
        TypeError, ValueError: for images that are no tensor, none, of another shape, or outside the
            input range, for weights that are not finite, and for logits of NaN.
    """
    import nir

    if not isinstance(snn, SpikingNetwork):
        raise UserError(f"to_nir: takes a network of ttfs.convert, not {type(snn).__name__}")
    if not Path(path).parent.is_dir():
        raise UserError(f"to_nir: no folder {Path(path).parent}; make it first")
    if Path(path).is_dir():
        raise UserError(f"to_nir: {path} is a folder; name a file in it")
    graph = _Chain(snn).graph()
    graph.metadata = {"gate": GATE, **_clock(snn), **_samples(snn, images)}
    graph.metadata["checksums"] = found = checksums(graph)
    nir.write(path, graph)
    return found


def checksums(graph: Any) -> dict[str, str]:
    """Return SHA-256 over the weights and thresholds of a NIR graph, and over its spike times.

    Over the nodes, or layers, in the order of their names: the name, the shape, and the bytes in C
    order, little-endian; times as float64, rounded to 1e-6 tau_c.
    """
    weights, times = hashlib.sha256(), hashlib.sha256()
    for name, node in sorted(graph.nodes.items()):
        for key in ("weight", "bias", "v_threshold"):
            if (values := getattr(node, key, None)) is not None:
                _add(weights, f"{name}.{key}", values)
    for name, values in sorted(graph.metadata["spike_times"].items()):
        _add(times, name, np.round(values, 6) + 0.0)
    return {"weights": weights.hexdigest(), "spike_times": times.hexdigest()}


def _add(digest: Any, name: str, values: np.ndarray) -> None:
    values = np.asarray(values)
    digest.update(f"{name} {list(values.shape)}".encode())
    digest.update(np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes())


def _clock(snn: SpikingNetwork) -> dict[str, Any]:
    windows = {name: np.array(window) for name, window in snn.windows.items()}
    span = np.array(snn.encode.input_range.tolist())
    return {"windows": windows, "latency": snn.latency, "input_range": span}


@torch.no_grad()
def _samples(snn: SpikingNetwork, images: Tensor | None) -> dict[str, Any]:
    check_weights(snn, "to_nir")
    exact = copy.deepcopy(snn).cpu().double().eval()
    low, high = exact.encode.input_range.tolist()
    if images is None:
        generator = torch.Generator().manual_seed(0)
        images = torch.rand(SAMPLES, *snn.input_shape, generator=generator, dtype=torch.float64)
        images = low + (high - low) * images
    if not isinstance(images, Tensor):
        raise TypeError(f"to_nir: images are {type(images).__name__}; give a torch.Tensor")
    if not images.dim() or not len(images):
        raise ValueError("to_nir: no images; give at least one, [1, ...], or None")
    slack = rounding(low, high, images.dtype)
    images = images.detach().cpu().double()
    if images.min() < low - slack or images.max() > high + slack:
        raise ValueError(f"to_nir: images leave the input range ({low:g}, {high:g}); scale them")
    images = images.clamp(low, high)  # which a reader of the file does not
    times = {name: value.numpy() for name, value in exact.spike_times(images).items()}
    logits = exact(images).numpy()
    if np.isnan(logits).any():
        raise ValueError("to_nir: the logits hold NaN; export a network that works")
    return {"images": images.numpy(), "spike_times": times, "logits": logits}


class _Chain:
    """The nodes and edges of a NIR graph, while the network is walked from the input on."""

    def __init__(self, snn: SpikingNetwork):
        if not snn.ideal:
            raise UserError("to_nir: the network is on a chip; export the one it was deployed from")
        if snn.neuron != "b1":
            raise UserError(f"to_nir: NIR has no form for {snn.neuron} neurons; export B1 neurons")
        self.snn = snn
        self.exact = copy.deepcopy(snn).cpu().double().eval()  # biases and thresholds round once
        self.dtype = _array(snn.silence).dtype
        self.nodes: dict[str, Any] = {}
        self.edges: list[tuple[str, str]] = []
        self.last = INPUT
        self.shape = snn.input_shape
        self.bias = torch.zeros_like(self.exact.silence)

    def graph(self) -> Any:
        """The whole network."""
        import nir

        self.nodes[INPUT] = nir.Input({"input": np.array(self.shape)})
        for node in self.snn.body.graph.nodes:
            if len(node.users) > 1 or len(node.all_input_nodes) > 1:
                self._refuse(node, "the network is no chain there")
            if node.op == "output":
                self._read_out(node)
            elif node.op != "placeholder":
                self._append(node)
        return nir.NIRGraph(self.nodes, self.edges)

    @torch.no_grad()
    def _append(self, node: fx.Node) -> None:
        module: Any = module_of(self.snn.body, node)
        name = str(node.target)
        if name in (INPUT, OUTPUT):  # which are nodes of the graph's own
            name = f"{name}.weights"
        if isinstance(module, Fire):
            return self._neurons(node, name, module)
        kind = type(module.weights) if type(module) is Synapses else type(module)
        build = _FORMS.get(kind)
        if build is None:
            self._refuse(node, f"no form for {kind.__name__} is written")
        try:
            self._add(name, build(module, self.shape))
        except ValueError as error:
            self._refuse(node, str(error))
        self.bias = self.exact.body.get_submodule(str(node.target))(self.bias)  # without spikes
        self.shape = tuple(self.bias.shape[1:])
        return None

    def _neurons(self, node: fx.Node, name: str, layer: Fire) -> None:
        import nir

        if layer.ceiling < math.inf:
            self._refuse(node, "NIR has no form for neurons that clip")
        threshold = (layer.width - self.bias[0].numpy()).astype(self.dtype)
        self._add(f"{name}.current", nir.I(np.ones_like(threshold)))
        self._add(name, nir.IF(np.ones_like(threshold), threshold, np.zeros_like(threshold)))
        self.nodes[f"{name}.clock"] = nir.Input({"input": np.array(self.shape)})
        self.edges.append((f"{name}.clock", name))
        self.bias = torch.zeros_like(self.bias)

    def _read_out(self, node: fx.Node) -> None:
        import nir

        if len(self.shape) != 1:
            self._refuse(node, "the logits are no vector")
        bias = self.bias[0].numpy().astype(self.dtype)
        self._add(f"{OUTPUT}.current", nir.I(np.ones_like(bias)))
        self._add(f"{OUTPUT}.membrane", nir.I(np.ones_like(bias)))
        self._add(f"{OUTPUT}.bias", nir.Affine(np.eye(len(bias), dtype=bias.dtype), bias))
        self._add(OUTPUT, nir.Output({"output": np.array(self.shape)}))

    def _add(self, name: str, node: Any) -> None:
        self.nodes[name] = node
        self.edges.append((self.last, name))
        self.last = name

    def _refuse(self, node: fx.Node, reason: str) -> NoReturn:
        raise UserError(
            f"to_nir: layer {node.name}: {reason}; it writes chains of linear layers, convolutions "
            "and B1 neurons"
        )


def _linear(synapses: Any, shape: tuple[int, ...]) -> Any:
    import nir

    return nir.Linear(_array(synapses.weights.weight))


def _convolution(synapses: Any, shape: tuple[int, ...]) -> Any:
    import nir

    conv, weight = synapses.weights, _array(synapses.weights.weight)
    if conv.padding_mode != "zeros":
        raise ValueError(f"NIR has no form for padding_mode {conv.padding_mode!r}")
    if len(set(conv.kernel_size)) > 1:
        raise ValueError("NIR reads square kernels alone")
    if conv.groups > 1:
        raise ValueError("NIR reads convolutions of one group alone")
    bias = np.zeros(len(weight), weight.dtype)
    return nir.Conv2d(shape[1:], weight, conv.stride, conv.padding, conv.dilation, 1, bias)


def _flatten(reshape: Reshape, shape: tuple[int, ...]) -> Any:
    import nir

    if len(reshape.shape) != 1:
        raise ValueError(f"NIR has no form for a reshape to {list(reshape.shape)}")
    return nir.Flatten({"input": np.array(shape)}, start_dim=0, end_dim=-1)


def _average(pool: Any, shape: tuple[int, ...]) -> Any:
    import nir

    cuts = any(pair(pool.padding)) and not pool.count_include_pad
    if pool.ceil_mode or pool.divisor_override or cuts:
        raise ValueError("NIR has no form for a mean over fields that the border cuts")
    sizes = (pool.kernel_size, pool.stride, pool.padding)
    return nir.AvgPool2d(*(np.array(pair(size)) for size in sizes))


def _array(values: Tensor) -> np.ndarray:
    wide = torch.promote_types(values.dtype, torch.float32)  # NumPy has no bfloat16
    return values.detach().cpu().to(wide).numpy()


_FORMS = {
    nn.Linear: _linear,
    nn.Conv2d: _convolution,
    nn.AvgPool2d: _average,
    Reshape: _flatten,
}
