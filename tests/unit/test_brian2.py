"""Networks as differential equations in Brian2 spike as ours do; `docs/equations.md` states them.

Opt-in, for Brian2 needs an older NumPy than the suite: `make test-brian2`.
"""

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

import ttfs
from ttfs.snn import Alpha1Synapses, SpikingNetwork, Synapses

brian2 = pytest.importorskip(
    "brian2", reason="Brian2 cannot be imported here; see `make test-brian2`", exc_type=Exception
)
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of its parser
STEP = 5e-4
"""Time step in tau_c, which is a second here."""

B1 = """
dv/dt = (int(t < t_min) * current + int(t >= t_min)) / second : 1
current : 1
theta : 1
silent : boolean
"""
ALPHA1 = """
dv/dt = (current + int(t >= t_min)) / second : 1
current : 1
theta : 1
silent : boolean
"""
FIRES = {
    "b1": "silent and v >= theta and t >= t_min and t < t_max",
    "alpha1": "silent and t >= t_min and (v >= theta or t >= t_max)",
}
OUTPUT = """
dv/dt = int(t < t_min) * current / second : 1
current : 1
"""


def weights_of(snn: SpikingNetwork) -> list[Synapses]:
    return [module for module in snn.body.modules() if isinstance(module, Synapses)]


def layer(snn: SpikingNetwork, name: str, synapses: Synapses) -> Any:
    t_min, t_max = snn.windows[name]
    bias = synapses.weights.bias.detach().numpy()
    slopes = synapses.slopes.detach().numpy() if isinstance(synapses, Alpha1Synapses) else 1.0
    group = brian2.NeuronGroup(
        len(bias), B1 if snn.neuron == "b1" else ALPHA1,
        threshold=FIRES[snn.neuron], reset="silent = False", method="euler",
        namespace={"t_min": t_min * brian2.second, "t_max": t_max * brian2.second},
    )  # fmt: skip
    group.theta, group.silent = slopes * (t_max - t_min - bias), True
    return group


def run(snn: SpikingNetwork, image: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return the spike times of each hidden layer, infinity where silent, and the logits."""
    brian2.start_scope()
    brian2.defaultclock.dt = STEP * brian2.second
    spiking = np.arange(len(image)) if snn.neuron == "alpha1" else np.flatnonzero(image)
    before = brian2.SpikeGeneratorGroup(len(image), spiking, (1 - image[spiking]) * brian2.second)
    network, monitors = brian2.Network(before), {}
    *hidden, last = weights_of(snn)
    for name, synapses in zip(snn.layers, hidden, strict=True):
        group = layer(snn, name, synapses)
        monitors[name] = brian2.SpikeMonitor(group)
        network.add(group, monitors[name], *connected(before, group, synapses))
        before = group
    end = {"t_min": snn.latency * brian2.second}
    output = brian2.NeuronGroup(last.weights.out_features, OUTPUT, method="euler", namespace=end)
    network.add(output, *connected(before, output, last))
    network.run((snn.latency + 2 * STEP) * brian2.second)
    times = {}
    for name, monitor in monitors.items():
        times[name] = np.full(len(monitor.source), np.inf)
        times[name][monitor.i[:]] = monitor.t[:] / brian2.second
    return times, output.v[:] + last.weights.bias.detach().numpy()


def connected(before: Any, after: Any, synapses: Synapses) -> list[Any]:
    pairs = brian2.Synapses(before, after, "w : 1", on_pre="current_post += w")
    pairs.connect()
    pairs.w = synapses.currents.detach().numpy().T.flatten()
    return [pairs]


@pytest.mark.parametrize("neuron", ["b1", "alpha1"])
def test_spike_times_agree_within_two_time_steps(neuron: str) -> None:
    brian2.prefs.codegen.target = "numpy"
    torch.manual_seed(0)
    images = torch.from_numpy(load_digits().data / 16.0)
    ann = nn.Sequential(
        nn.Linear(64, 24), nn.ReLU(), nn.Linear(24, 16), nn.ReLU(), nn.Linear(16, 10)
    ).double()
    snn = ttfs.convert(ann, images, neuron=neuron)
    closed = {name: times.detach() for name, times in snn.spike_times(images[:2]).items()}
    logits, spiked = snn(images[:2]).detach().numpy(), 0
    for index in range(2):
        found, read = run(snn, images[index].numpy())
        for name, times in found.items():
            expected = closed[name][index].numpy()
            both = np.isfinite(expected) & np.isfinite(times)
            assert abs(times[both] - expected[both]).max() <= 2 * STEP, name
            late = np.minimum(expected, times)[np.isfinite(expected) != np.isfinite(times)]
            assert (late >= snn.windows[name][1] - 2 * STEP).all(), f"{name}: others are silent"
            spiked += both.sum()
        assert abs(read - logits[index]).max() <= 2 * STEP
        assert read.argmax() == logits[index].argmax()
    assert spiked >= 30
