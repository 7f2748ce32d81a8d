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
    accuracies,
    assign,
    broken,
    keys_of,
    legend,
    line,
    names_of,
    panels,
    ring,
)
from ttfs.results.frame import chip_of, fine_tunings

MOMENTS: dict[tuple[str, bool], tuple[str, dict[str, Any]]] = {
    ("ttfs", False): (
        "TTFS, as mapped", {"linestyle": "--", "fillstyle": "none", "linewidth": 1.2},
    ),
    ("ttfs", True): ("TTFS, fine-tuned", {"linestyle": "-", "fillstyle": "full", "linewidth": 1.6}),
    ("relu", False): (
        "quantized ReLU", {"linestyle": (0, (1, 2)), "fillstyle": "none", "linewidth": 0.8},
    ),
    ("relu", True): (
        "quantized ReLU, fine-tuned",
        {"linestyle": (0, (4, 1, 1, 1)), "fillstyle": "full", "linewidth": 0.8},
    ),
}  # fmt: skip
"""Of the networks on hardware: network and whether it is fine-tuned, its name and its look."""
LABELS = {
    "jitter": "Jitter of spikes [share of window]",
    "time_bits": "Time steps a window [bits]",
    "weight_bits": "Bits of a weight",
    "window_quantile": "Charges that fit the window [quantile]",
    "latency_cut": "Windows shorter by [times]",
    "read_out": "Read-out [share of latency]",
    "threshold_mismatch": "Mismatch of thresholds [share of window]",
    "dead_neurons": "Dead neurons [share]",
    "lost_spikes": "Lost spikes [share]",
}
"""Keys of hardware in words; a key that is not here is its own label."""


class Axis(NamedTuple):
    """Chips that differ in one number: its key, the rest of their ids, {value: id} by value."""

    key: str
    shared: str
    chips: dict[float, str]


def axes_of(grid: Grid) -> list[Axis]:
    """Return the axes of a grid's hardware: sets of two or more chips that differ in one varied
    number alone.
    """
    chips = {chip_of(point)[0]: point.config for point in grid.hardware.values()}
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
    table = table.assign(name=names_of(table, "model", "method"))
    color, marker = assign(COLORS, table["name"]), assign(MARKERS, table["name"])
    looks = {name: {"color": color[name], "marker": marker[name]} for name in color}
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
            _draw_axis(axes, of_dataset, axis, looks)
            title = broken(f"{dataset}: {axis.shared}", widest=30)
            axes.set_title(title, loc="left", fontweight="bold", fontsize="medium")
            axes.set_ylim(
                bottom=max(axes.get_ylim()[0], of_dataset["accuracy_mean"].max() - DEEPEST)
            )
        accuracies(block[0])
    keys = [Line2D([], [], label=name, **look) for name, look in looks.items()]
    keys += [line("ideal", ":", 0.8)]
    keys += [
        Line2D([], [], color="0.3", marker="o", markersize=4, label=label, **look)
        for label, look in MOMENTS.values()
    ]
    legend(figure, keys)
    return figure


def _draw_axis(axes: Axes, table: pd.DataFrame, axis: Axis, looks: Mapping[str, Any]) -> None:
    """Curves of the networks over the levels of an axis, with bars of ± std over seeds."""
    chips = list(axis.chips.values())
    panel = table[table["chip"].isin(chips)]
    panel = panel.assign(tuning=fine_tunings(panel))
    keys = ["name", "network", "tuned", "tuning"]
    for (name, network, tuned, tuning), curve in panel.groupby(keys):
        curve = curve.sort_values("chip", key=lambda names: names.map(chips.index))
        place = [chips.index(chip) for chip in curve["chip"]]
        mean, spread = curve["accuracy_mean"], curve["accuracy_std"].fillna(0.0)
        own = looks[name] | MOMENTS[network, tuned][1] | {"markersize": 4}
        axes.errorbar(place, mean, spread if network == "ttfs" else None, capsize=2, **own)
        if network == "ttfs":
            ideal = (mean - curve["accuracy_minus_ideal_mean"]).mean()
            axes.axhline(ideal, color=own["color"], linewidth=0.8, linestyle=":")
        if tuning and network == "ttfs":
            at = (place[-1], mean.iloc[-1])
            axes.annotate(tuning, at, (4, 0), textcoords="offset points", fontsize=6, va="center")
    axes.set_xticks(range(len(chips)), [f"{level:g}" for level in axis.chips])
    axes.tick_params(axis="x", labelrotation=45 if len(chips) > 5 else 0)
    axes.set_xlabel(LABELS.get(axis.key, axis.key))


def pareto(table: pd.DataFrame) -> Figure:
    """Accuracy by time steps until the answer, colored by spikes per neuron; the best are
    ringed and numbered, and the legend names their chips.
    """
    numbers = ["accuracy_mean", "time_steps_mean", "spikes_per_neuron_mean"]
    table = table.reindex(columns=table.columns.union(["dataset", *numbers], sort=False))
    clocked = table["time_steps_mean"].notna() & table["spikes_per_neuron_mean"].notna()
    points = table[(table["network"] == "ttfs") & clocked]
    points = points.assign(name=names_of(points, "model", "method"))
    marker = assign(MARKERS, points["name"])
    spikes = points["spikes_per_neuron_mean"]
    shade = Normalize(0.0, spikes.max() if len(spikes) else 1.0)
    front = points[~_beaten_within(points)]
    top = front.groupby("dataset")["accuracy_mean"].transform("max")
    front = front[front["accuracy_mean"] > top - DEEPEST]  # others lie below their panel
    front = front.sort_values(["dataset", "time_steps_mean", "accuracy_mean"], ignore_index=True)
    lowest = ~front.duplicated(["dataset", "time_steps_mean"])

    def draw(axes: Axes, panel: pd.DataFrame) -> None:
        for name, group in panel.groupby("name"):
            x, y = group["time_steps_mean"], group["accuracy_mean"]
            look: dict[str, Any] = {"marker": marker[name], "norm": shade, "cmap": "viridis_r"}
            axes.scatter(
                x, y, 28, group["spikes_per_neuron_mean"], edgecolors="0.3", linewidths=0.4, **look
            )
        for place, best in front[front["dataset"] == panel["dataset"].iloc[0]].iterrows():
            at = (best["time_steps_mean"], best["accuracy_mean"])
            axes.plot(*at, "o", color="0.3", markersize=10, fillstyle="none")
            beside = (7, -10 if lowest[place] else 5)
            axes.annotate(str(place + 1), at, beside, textcoords="offset points", fontsize=7)
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_ylim(bottom=max(axes.get_ylim()[0], panel["accuracy_mean"].max() - DEEPEST))
        axes.set_xlabel("Time steps until the answer")
        accuracies(axes)

    named = [
        Line2D([], [], linestyle="none", label=f"{place + 1}: {best['name']}, {best['hardware']}")
        for place, best in front.iterrows()
    ]
    figure = panels(points, draw, [*keys_of({}, marker), ring("not beaten"), *named])
    if len(points):
        bar = ScalarMappable(shade, "viridis_r")
        figure.colorbar(bar, ax=figure.axes, label=METRICS["spikes_per_neuron"].label)
    return figure


def _beaten_within(points: pd.DataFrame) -> pd.Series:
    """Which points another one of their data set beats."""
    found = [beaten(panel) for _, panel in points.groupby("dataset")]
    return pd.concat(found) if found else pd.Series(False, index=points.index)


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
