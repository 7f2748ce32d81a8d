"""Figures of networks on hardware: accuracy by level, and the Pareto front."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ttfs.config import Grid, value_at
from ttfs.metrics import METRICS
from ttfs.results.figures.style import (
    COLORS,
    DEEPEST,
    MARKERS,
    NARROWEST,
    assign,
    broken,
    keys_of,
    legend,
    line,
    panels,
    ring,
)
from ttfs.results.frame import chip_of

MOMENTS: dict[tuple[str, bool], tuple[str, dict[str, Any]]] = {
    ("ttfs", False): (
        "TTFS, as mapped",
        {"linestyle": "--", "marker": "o", "fillstyle": "none", "linewidth": 1},
    ),
    ("ttfs", True): ("TTFS, fine-tuned", {"linestyle": "-", "marker": "o", "linewidth": 1.4}),
    ("relu", False): ("quantized ReLU", {"linestyle": "--", "marker": "x", "linewidth": 0.6}),
    ("relu", True): (
        "quantized ReLU, fine-tuned",
        {"linestyle": "-", "marker": "x", "linewidth": 0.6},
    ),
}
"""Of the networks on hardware: network and whether it is fine-tuned, its name and its look."""


class Axis(NamedTuple):
    """Chips that differ in one number: its key, the rest of their ids, {value: id} by value."""

    key: str
    shared: str
    chips: dict[float, str]


def axes_of(grid: Grid) -> list[Axis]:
    """Return the axes of a grid's hardware: sets of two or more chips that differ in one varied
    number alone.
    """
    chips = {chip_of(name)[0]: point.config for name, point in grid.hardware.items()}
    found: dict[tuple[str, str], dict[float, str]] = {}
    for key in grid.varied["hardware"]:
        for chip, config in chips.items():
            value = value_at(config, key)
            if isinstance(value, int | float) and not isinstance(value, bool):
                words = [w for w in chip.split("+") if not w.startswith(f"{key}=")]
                found.setdefault((key, "+".join(words) or "ideal"), {})[float(value)] = chip
    axes = [
        Axis(key, shared, dict(sorted(chips.items()))) for (key, shared), chips in found.items()
    ]
    return [axis for axis in axes if len(axis.chips) > 1]


def hardware(table: pd.DataFrame, axes_: Sequence[Axis]) -> Figure:
    """Accuracy by level, a panel for each axis, four in a row, and a block of rows for each data
    set.
    """
    datasets = sorted(set(table["dataset"])) if axes_ else []
    if not datasets:
        return panels(table.head(0), lambda axes, panel: None, [])
    color = assign(COLORS, table["model"])
    columns = min(4, len(axes_))
    rows = math.ceil(len(axes_) / columns)
    size = (max(NARROWEST, 2.9 * columns), 2.3 * rows * len(datasets))
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(rows * len(datasets), columns, squeeze=False)
    blocks = grid.reshape(len(datasets), -1)
    for block, dataset in zip(blocks, datasets, strict=True):
        of_dataset = table[table["dataset"] == dataset]
        for axes, axis in itertools.zip_longest(block, axes_):
            if axis is None or not of_dataset["chip"].isin(axis.chips.values()).any():
                axes.set_axis_off()
                continue
            _draw_axis(axes, of_dataset, axis, color)
            axes.set_title(broken(f"{dataset}: {axis.shared}"), loc="left", fontweight="bold")
            axes.set_ylim(
                bottom=max(axes.get_ylim()[0], of_dataset["accuracy_mean"].max() - DEEPEST)
            )
        block[0].set_ylabel("Test accuracy [%]")
    keys = [*keys_of(color, {}), line("ideal", ":", 0.8)]
    keys += [Line2D([], [], color="0.3", label=label, **look) for label, look in MOMENTS.values()]
    legend(figure, keys)
    return figure


def _draw_axis(axes: Axes, table: pd.DataFrame, axis: Axis, color: Mapping[str, str]) -> None:
    """Curves of the networks over the levels of an axis, with bands of ± std over seeds."""
    chips = list(axis.chips.values())
    panel = table[table["chip"].isin(chips)]
    for (model, _, network, tuned), curve in panel.groupby(["model", "method", "network", "tuned"]):
        curve = curve.sort_values("chip", key=lambda names: names.map(chips.index))
        place = [chips.index(chip) for chip in curve["chip"]]
        mean, spread = curve["accuracy_mean"], curve["accuracy_std"].fillna(0.0)
        axes.plot(place, mean, color=color[model], markersize=4, **MOMENTS[network, tuned][1])
        if network == "ttfs":
            axes.fill_between(
                place, mean - spread, mean + spread, color=color[model], alpha=0.2, linewidth=0
            )
            ideal = (mean - curve["accuracy_minus_ideal_mean"]).mean()
            axes.axhline(ideal, color=color[model], linewidth=0.8, linestyle=":")
    axes.set_xticks(range(len(chips)), [f"{level:g}" for level in axis.chips])
    axes.tick_params(axis="x", labelrotation=45 if len(chips) > 5 else 0)
    axes.set_xlabel(axis.key)


def pareto(table: pd.DataFrame) -> Figure:
    """Accuracy by time steps until the answer, colored by spikes per neuron; the best are
    ringed.
    """
    table = table.reindex(
        columns=table.columns.union(["time_steps_mean", "spikes_per_neuron_mean"], sort=False)
    )
    clocked = table["time_steps_mean"].notna() & table["spikes_per_neuron_mean"].notna()
    points = table[(table["network"] == "ttfs") & clocked]
    marker = assign(MARKERS, points["model"])
    spikes = points["spikes_per_neuron_mean"]
    shade = Normalize(0.0, spikes.max() if len(spikes) else 1.0)

    def draw(axes: Axes, panel: pd.DataFrame) -> None:
        for model, group in panel.groupby("model"):
            x, y = group["time_steps_mean"], group["accuracy_mean"]
            look: dict[str, Any] = {"marker": marker[model], "norm": shade, "cmap": "viridis_r"}
            axes.scatter(
                x, y, 28, group["spikes_per_neuron_mean"], edgecolors="0.3", linewidths=0.4, **look
            )
        front = panel[~beaten(panel)]
        axes.plot(
            front["time_steps_mean"],
            front["accuracy_mean"],
            "o",
            color="0.3",
            markersize=10,
            fillstyle="none",
        )
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_ylim(bottom=max(axes.get_ylim()[0], panel["accuracy_mean"].max() - DEEPEST))
        axes.set_xlabel("Time steps until the answer")
        axes.set_ylabel("Test accuracy [%]")

    figure = panels(points, draw, [*keys_of({}, marker), ring("not beaten")])
    if len(points):
        bar = ScalarMappable(shade, "viridis_r")
        figure.colorbar(bar, ax=figure.axes, label=METRICS["spikes_per_neuron"].label)
    return figure


def beaten(panel: pd.DataFrame) -> pd.Series:
    """Which points another one equals in accuracy, time steps and spikes, and beats in one."""
    values = panel[["accuracy_mean", "time_steps_mean", "spikes_per_neuron_mean"]].to_numpy() * [
        -1.0,
        1.0,
        1.0,
    ]
    as_good = (values[None] <= values[:, None]).all(2)
    better = (values[None] < values[:, None]).any(2)
    return pd.Series((as_good & better).any(1), index=panel.index)
