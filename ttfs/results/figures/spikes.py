"""Figures of the spikes themselves: a raster of one item, and when the neurons of a layer spike."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ttfs.results.figures.style import COLORS

MOST_NEURONS = 300
"""Neurons of a layer that a raster shows, at equal distances."""
BINS = 60
STRIPS = (COLORS[0], COLORS[6])
"""Blue and black in turn, so that the strips of two layers do not run together."""


class Spikes(NamedTuple):
    """The spikes of one network, in the order of its layers, the input first."""

    title: str
    answer: str
    """Class of the first item, and the network's answer."""
    times: Mapping[str, np.ndarray]
    """{layer: spike times [items, neurons]} in τ_c, infinity where a neuron stays silent."""
    windows: Mapping[str, tuple[float, float]]
    """{layer: (t_min, t_max)}."""


def raster(networks: Sequence[Spikes]) -> Figure:
    """Each spike of one item by its time, a panel for each network and a strip for each layer, with
    the layer's window.
    """
    figure = Figure(figsize=(7.2, max(1, len(networks)) * 2.6), layout="constrained")
    for axes, network in _panels(figure, networks):
        for place, (name, times) in enumerate(network.times.items()):
            start, end = network.windows[name]
            box: dict[str, Any] = {"facecolor": "0.93", "edgecolor": "0.6", "linewidth": 0.6}
            axes.add_patch(Rectangle((start, place - 0.45), end - start, 0.9, **box))
            first = times[0]
            chosen = first[:: -(-len(first) // MOST_NEURONS)]
            heights = place - 0.42 + 0.84 * (np.arange(len(chosen)) + 0.5) / len(chosen)
            fired = np.isfinite(chosen)
            look: dict[str, Any] = {"marker": "|", "markersize": 3, "linestyle": "none"}
            axes.plot(chosen[fired], heights[fired], color=STRIPS[place % 2], **look)
        axes.set_title(f"{network.title}; {network.answer}", loc="left", fontweight="bold")
        axes.set_yticks(
            range(len(network.times)),
            [f"{name}\n{_share(times[:1])}" for name, times in network.times.items()],
        )
        axes.invert_yaxis()
        axes.grid(False)
        axes.set_xlabel("Time [τ_c]")
    return figure


def _share(times: np.ndarray) -> str:
    return f"{np.isfinite(times).sum()} of {times.shape[1]} spike"


def spike_times(networks: Sequence[Spikes]) -> Figure:
    """Spikes of each layer by their time within its window, as shares of its neurons: a panel for
    each network.
    """
    figure = Figure(figsize=(7.2, max(1, len(networks)) * 2.6), layout="constrained")
    for axes, network in _panels(figure, networks):
        for place, (name, times) in enumerate(network.times.items()):
            start, end = network.windows[name]
            fired = times[np.isfinite(times)]
            share = np.histogram((fired - start) / (end - start), BINS, (0.0, 1.0))[0] / times.size
            steps = np.linspace(0.0, 1.0, BINS + 1)
            dash = ["-", (0, (4, 1.5)), (0, (1, 1.2)), (0, (5, 1.5, 1, 1.5))][place % 4]
            axes.stairs(
                100 * share, steps, label=name, color=COLORS[place % len(COLORS)], linestyle=dash
            )
        axes.legend(
            loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=7,
            ncols=-(-len(network.times) // 12),
        )  # fmt: skip
        axes.set_xlabel("Time within the window of the layer [share]")
        axes.set_ylabel("Neurons [%]")
    return figure


def _panels(figure: Figure, networks: Sequence[Spikes]) -> list[tuple[Axes, Spikes]]:
    found = []
    for place, network in enumerate(networks, start=1):
        axes = figure.add_subplot(len(networks), 1, place)
        axes.set_title(network.title, loc="left", fontweight="bold")
        found.append((axes, network))
    return found
