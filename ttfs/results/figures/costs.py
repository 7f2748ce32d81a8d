"""Test error by what an answer costs: TTFS networks beside networks of many time steps."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ttfs.metrics import METRICS
from ttfs.results.figures.style import (
    COLORS,
    DASHES,
    DEEPEST,
    MARKERS,
    assign,
    legend,
    line,
    logarithmic,
    panels,
)
from ttfs.results.frame import timed

COSTS = ("spikes_per_neuron", "synaptic_operations")


def cost(
    step_table: pd.DataFrame, summary_table: pd.DataFrame, references: Mapping[str, str]
) -> Figure:
    """Test error by spikes per neuron and by synaptic operations, a row for a data set and model.

    Networks of many time steps are curves over their number, where they are at most DEEPEST points
    below the best; TTFS networks are points.
    """
    blocks = list(step_table.groupby(["dataset", "model"], sort=False))
    if not blocks:
        return panels(step_table, lambda axes, panel: None, [])
    curves = step_table["method"].unique()
    is_point = timed(summary_table)
    drawn = (summary_table["dataset"] + " " + summary_table["model"]).isin(
        [f"{dataset} {model}" for (dataset, model), _ in blocks]
    )
    points = summary_table[is_point & drawn]
    color = assign(COLORS, pd.Series([*curves, *points["method"].unique()]))
    dash, marker = assign(DASHES, pd.Series(curves)), assign(MARKERS, points["method"])
    look: dict[str, dict[str, Any]] = {
        **{name: {"linestyle": dash[name], "marker": ".", "linewidth": 1} for name in dash},
        **{name: {"linestyle": "none", "marker": marker[name]} for name in marker},
    }
    look = {name: own | {"color": color[name]} for name, own in look.items()}
    figure = Figure(figsize=(7.6, 2.7 * len(blocks)), layout="constrained")
    rows = figure.subplots(len(blocks), 2, squeeze=False)
    for row, ((dataset, model), table) in zip(rows, blocks, strict=True):
        of_block = (summary_table["dataset"] == dataset) & (summary_table["model"] == model)
        reference = summary_table["method"] == references.get(dataset)
        error = 100.0 - summary_table[of_block & reference]["accuracy_mean"].mean()
        near = table[table["accuracy_mean"] > table["accuracy_mean"].max() - DEEPEST]
        for axes, name in zip(row, COSTS, strict=True):
            axes.axhline(error, color="0.3", linestyle="--", linewidth=1)
            _draw(axes, name, near, summary_table[of_block & is_point], look)
        row[0].set_title(f"{dataset}, {model}", loc="left", fontweight="bold")
        row[0].set_ylabel("Test error [%]")
    keys = [Line2D([], [], label=name, **own) for name, own in look.items()]
    used = dict.fromkeys(references[d] for (d, _), _ in blocks if d in references)
    keys += [line(f"{method} (mean)", "--") for method in used]
    legend(figure, keys)
    return figure


def _draw(
    axes: Axes, name: str, table: pd.DataFrame, points: pd.DataFrame, look: Mapping[str, Any]
) -> None:
    """Curves over the time steps, each labelled at its first and last, and points."""
    cost = f"{name}_mean"
    table = table.assign(error=100.0 - table["accuracy_mean"]).reindex(
        columns=["method", "step", "error", cost]
    )
    for method, curve in table[table[cost] > 0].groupby("method", sort=False):
        curve = curve.sort_values("step")
        axes.plot(curve[cost], curve["error"], **look[method])
        for end in (curve.iloc[0], curve.iloc[-1]):
            at = (end[cost], end["error"])
            axes.annotate(str(end["step"]), at, (3, 4), textcoords="offset points", fontsize=7)
    for method, group in points.groupby("method", sort=False):
        x, y = group[cost], 100.0 - group["accuracy_mean"]
        axes.plot(x, y, markersize=7, **look[method])
    axes.set_xscale("log")
    logarithmic(axes.xaxis)
    if axes.dataLim.ymin > 0:
        axes.set_yscale("log")
        logarithmic(axes.yaxis)
    axes.set_xlabel(METRICS[name].label)
