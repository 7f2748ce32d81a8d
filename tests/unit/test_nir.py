"""A NIR file, read by its own package and run by nothing but its nodes and its gate, spikes as the
network does.
"""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import ttfs
from ttfs.errors import UserError
from ttfs.snn import checksums

nir = pytest.importorskip("nir", reason="the extra ttfs[nir] is not installed")
pytestmark = pytest.mark.usefixtures("seed")
STEP = 5e-4  # of the time-stepped run, in tau_c


def dense() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 7), nn.ReLU(), nn.Linear(7, 3))


def convolutions() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(2, 3, 3, 2, 1), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 4, 2, groups=1),
        nn.AvgPool2d(2, 1, 1), nn.ReLU(), nn.Flatten(), nn.Linear(36, 3),
    )  # fmt: skip


class Run:
    """The nodes of a NIR graph, stepped in time; an impulse is 1 / STEP for one step."""

    def __init__(self, graph: Any):
        self.graph = graph
        follows = {
            source: target
            for source, target in graph.edges
            if not isinstance(graph.nodes[source], nir.Input) or source == "input"
        }
        self.order = ["input"]
        while self.order[-1] in follows:
            self.order.append(follows[self.order[-1]])

    def __call__(self, image: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Return the times of the spikes of each layer, and the output at the latency."""
        meta, nodes = self.graph.metadata, self.graph.nodes
        low, high = meta["input_range"]
        pixels = (image - low) / (high - low)
        states: dict[str, Any] = dict.fromkeys(self.order, 0.0)
        times = {n: np.full(nodes[n].r.shape, np.inf) for n in self.order if self.neuron(n)}
        for step in range(round(meta["latency"] / STEP)):
            now, signal = step * STEP, None
            for name in self.order:
                if name == "input":
                    starts = np.floor((1 - pixels) / STEP) == step
                    signal = (starts & (pixels > 0)) / STEP
                elif name in times:
                    signal = self.neurons(name, signal, states, times[name], now)
                else:
                    signal = self.node(name, signal, states)
        return times, signal

    def neuron(self, name: str) -> bool:
        return isinstance(self.graph.nodes[name], nir.IF)

    def node(self, name: str, signal: Any, states: dict[str, Any]) -> Any:
        node = self.graph.nodes[name]
        if isinstance(node, nir.Linear):
            return node.weight @ signal
        if isinstance(node, nir.Affine):
            return node.weight @ signal + node.bias
        if isinstance(node, nir.Flatten):
            return signal.reshape(-1)
        if isinstance(node, nir.Conv2d):
            weight, bias = torch.from_numpy(node.weight), torch.from_numpy(node.bias)
            options = (tuple(node.stride), tuple(node.padding), tuple(node.dilation), node.groups)
            images = torch.from_numpy(signal)[None].to(weight)
            return F.conv2d(images, weight, bias, *options)[0].numpy()
        if isinstance(node, nir.AvgPool2d):
            sizes = (node.kernel_size, node.stride, node.padding)
            options = [tuple(size.tolist()) for size in sizes]
            return F.avg_pool2d(torch.from_numpy(signal)[None], *options)[0].numpy()
        if isinstance(node, nir.I):
            states[name] = states[name] + node.r * signal * STEP
            return states[name]
        assert isinstance(node, nir.Output)
        return signal

    def neurons(
        self, name: str, current: Any, states: dict[str, Any], times: np.ndarray, now: float
    ) -> np.ndarray:
        node, (opens, closes) = self.graph.nodes[name], self.graph.metadata["windows"][name]
        if opens <= now < opens + STEP:
            states[f"{name}.current"], current = 0.0, 0.0
        clock = 1.0 if opens <= now < closes else 0.0
        states[name] = states[name] + node.r * (current + clock) * STEP
        fires = (states[name] > node.v_threshold) & np.isinf(times) & (clock > 0)
        times[fires] = now
        return fires / STEP


@pytest.mark.parametrize("network", [dense, convolutions])
@pytest.mark.parametrize("span", [(0.0, 1.0), (-1.0, 2.0)], ids=["unit", "other"])
def test_the_file_spikes_as_the_network(network: Any, span: Any, tmp_path: Path) -> None:
    ann = network().eval()
    shape = (6,) if network is dense else (2, 6, 6)
    images = torch.rand(8, *shape) * (span[1] - span[0]) + span[0]
    snn = ttfs.convert(ann, images, input_range=span)
    ttfs.to_nir(snn, tmp_path / "net.nir", images[:2])
    graph = nir.read(tmp_path / "net.nir")
    run, expected = Run(graph), copy.deepcopy(snn).double()
    known = expected.requires_grad_(False).spike_times(images[:2].double())
    spiked = 0
    for index in range(2):
        times, logits = run(images[index].numpy())
        for name, found in times.items():
            closed = known[name][index].numpy()
            both = np.isfinite(closed) & np.isfinite(found)
            spiked += both.sum()
            assert abs(found[both] - closed[both]).max(initial=0.0) <= 20 * STEP, name
            late = np.minimum(closed, found)[np.isfinite(closed) != np.isfinite(found)]
            assert (late >= snn.windows[name][1] - 20 * STEP).all(), f"{name}: others are silent"
        wanted = expected(images[index : index + 1].double())[0].detach().numpy()
        assert abs(logits - wanted).max() <= 20 * STEP
    assert spiked > 0  # the loop has compared something


def test_checksums_prove_the_network(tmp_path: Path) -> None:
    snn = ttfs.convert(dense().eval(), torch.rand(8, 6))
    said = ttfs.to_nir(snn, tmp_path / "one.nir")
    graph = nir.read(tmp_path / "one.nir")
    assert checksums(graph) == said == graph.metadata["checksums"]
    assert ttfs.to_nir(snn, tmp_path / "two.nir") == said
    assert graph.metadata["images"].shape == (10, 6)
    weight, times = graph.nodes["_0"].weight, graph.metadata["spike_times"]
    graph.nodes["_0"].weight = weight.reshape(weight.shape[::-1])
    assert checksums(graph)["weights"] != said["weights"]
    graph.nodes["_0"].weight = weight.astype(">f4")  # the same numbers in another order of bytes
    graph.nodes = dict(reversed(graph.nodes.items()))
    assert checksums(graph) == said
    times["input"][0, 0] = 0.0
    zero = checksums(graph)
    times["input"][0, 0] = -1e-9  # times are rounded
    assert checksums(graph) == zero != said
    graph.nodes["_0"].weight = weight
    graph.nodes["_0"].weight[0, 0] += 1e-6
    assert checksums(graph)["weights"] != said["weights"]
    graph.metadata["spike_times"]["_1"][0, 0] = 0.5
    assert checksums(graph)["spike_times"] != said["spike_times"]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_biases_and_thresholds_are_those_of_the_weights(tmp_path: Path, dtype: torch.dtype) -> None:
    """Rounded once, to float32: not computed in the few digits of half precision."""
    layers = [nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 5), nn.Linear(5, 3)]
    snn = ttfs.convert(nn.Sequential(*layers).to(dtype).eval(), torch.rand(8, 6).to(dtype))
    ttfs.to_nir(snn, tmp_path / "net.nir")
    nodes, exact = nir.read(tmp_path / "net.nir").nodes, copy.deepcopy(snn).double()
    first, *rest = [module for module in exact.modules() if isinstance(module, nn.Linear)]
    threshold = exact.layers["_1"].width - first.bias.detach().numpy()
    assert nodes["_1"].v_threshold == pytest.approx(threshold, rel=2e-7)
    silent = torch.zeros(1, 8, dtype=torch.float64)
    for module in rest:
        silent = module(silent)
    bias = silent[0].detach().numpy()
    assert nodes["output.bias"].bias == pytest.approx(bias, rel=2e-7, abs=1e-8)


def test_a_mean_over_a_field_of_one_number(tmp_path: Path) -> None:
    pool = nn.AvgPool2d((2,))
    ann = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), pool, nn.Flatten(), nn.Linear(18, 3))
    ttfs.to_nir(ttfs.convert(ann.eval(), torch.rand(8, 1, 8, 8)), tmp_path / "net.nir")
    with pytest.raises(UserError, match="is a folder; name a file in it"):
        ttfs.to_nir(ttfs.convert(ann, torch.rand(8, 1, 8, 8)), tmp_path)


def test_images_are_drawn_on_the_input_range_and_the_network_stays_as_it_is(tmp_path: Path) -> None:
    images = 8 * torch.rand(8, 6) - 4
    snn = ttfs.convert(dense().train(), images, input_range=(-4.0, 4.0))
    ttfs.to_nir(snn, tmp_path / "net.nir")
    drawn = nir.read(tmp_path / "net.nir").metadata["images"]
    assert drawn.min() < -3
    assert drawn.max() > 3
    assert snn.training
    assert next(snn.parameters()).dtype == torch.float32


def residual() -> nn.Module:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(6, 6), nn.Linear(6, 6)

        def forward(self, x: Any) -> Any:
            x = F.relu(self.one(x))
            return self.two(x) + x

    return Residual()


def image_network(*layers: nn.Module) -> Any:
    """Layers between the pixels [2, 6, 6] and a linear map of four channels."""
    return lambda: nn.Sequential(*layers, nn.ReLU(), nn.Flatten(), nn.LazyLinear(3))


REFUSED = {
    "residual": (residual, (6,), "no chain"),
    "relu6": (
        lambda: nn.Sequential(nn.Linear(6, 6), nn.ReLU6(), nn.Linear(6, 3)), (6,), "that clip",
    ),
    "reshape": (
        image_network(nn.Unflatten(1, (1, 6)), nn.Conv1d(1, 2, 3)), (6,),
        "layer _0: NIR has no form for a reshape",
    ),
    "pool": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 3)
        ),
        (2, 6, 6), "layer _2: no form for EarliestSpike is written",
    ),
    "kernel": (image_network(nn.Conv2d(2, 4, (1, 3))), (2, 6, 6), "square kernels"),
    "groups": (image_network(nn.Conv2d(2, 4, 3, groups=2)), (2, 6, 6), "one group"),
    "padding": (
        image_network(nn.Conv2d(2, 4, 3, padding=1, padding_mode="circular")), (2, 6, 6),
        "padding_mode 'circular'",
    ),
    "border": (
        image_network(nn.Conv2d(2, 4, 3), nn.AvgPool2d(2, 1, 1, count_include_pad=False)),
        (2, 6, 6), "a mean over fields that the border cuts",
    ),
    "ceiling": (
        image_network(nn.Conv2d(2, 4, 2), nn.AvgPool2d(2, ceil_mode=True)), (2, 6, 6),
        "a mean over fields that the border cuts",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("network", "shape", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_refused_by_name(network: Any, shape: Any, reason: str, tmp_path: Path) -> None:
    ann, images = network(), torch.rand(4, *shape)
    ann.eval()(images)
    snn = ttfs.convert(ann, images)
    with pytest.raises(UserError, match=reason):
        ttfs.to_nir(snn, tmp_path / "net.nir")
    assert not (tmp_path / "net.nir").exists()


def test_a_network_in_bfloat16_is_written_in_float32(tmp_path: Path) -> None:
    snn = ttfs.convert(dense().eval(), torch.rand(8, 6)).bfloat16()
    ttfs.to_nir(snn, tmp_path / "net.nir")
    written = nir.read(tmp_path / "net.nir").nodes["_0"].weight
    assert written.dtype == np.float32
    assert (written == snn.body.get_submodule("_0").weights.weight.float().detach().numpy()).all()


def test_a_mean_without_a_border_is_written_whatever_it_counts(tmp_path: Path) -> None:
    pool = nn.AvgPool2d(2, count_include_pad=False)
    ann = nn.Sequential(nn.Conv2d(2, 3, 3), pool, nn.ReLU(), nn.Flatten(), nn.Linear(12, 3))
    ttfs.to_nir(ttfs.convert(ann.eval(), torch.rand(8, 2, 6, 6)), tmp_path / "net.nir")
    assert nir.read(tmp_path / "net.nir").nodes["_1"].kernel_size.tolist() == [2, 2]


def test_other_neurons_and_chips_are_refused(tmp_path: Path) -> None:
    alpha1 = ttfs.convert(dense().eval(), torch.rand(8, 6), neuron="alpha1")
    with pytest.raises(UserError, match="alpha1 neurons"):
        ttfs.to_nir(alpha1, tmp_path / "net.nir")
    chip = ttfs.deploy(ttfs.convert(dense().eval(), torch.rand(8, 6)), ttfs.Hardware(time_bits=4))
    with pytest.raises(UserError, match="on a chip"):
        ttfs.to_nir(chip, tmp_path / "net.nir")
