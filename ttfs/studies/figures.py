"""Figures of studies, from their tables. The same table gives the same bytes."""

import io
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ttfs.config import Grid, kind_of
from ttfs.files import atomic_write
from ttfs.results.figures import COLORS, STYLE, svg

LOOKS: dict[
    str, dict[str, Any]
] = {  # ReLU is a broad line below the others: a line on it equals it
    "relu": {"label": "ReLU", "color": "0.75", "linewidth": 4, "marker": "o", "markersize": 9},
    "b1": {"label": "B1", "color": COLORS[0], "linewidth": 1.2, "marker": "s", "markersize": 4},
    "alpha1-smart": {
        "label": "α1, smart",
        "color": COLORS[2],
        "linewidth": 1.2,
        "marker": "^",
        "markersize": 5,
    },
    "alpha1": {
        "label": "α1, drawn",
        "color": COLORS[1],
        "linewidth": 1.2,
        "marker": "D",
        "markersize": 4,
    },
}
DASHES: list[Any] = ["-", (0, (3, 1.5))]
MOMENTS = ["initialization", "trained"]
NO_DISTANCE = 1e-17
"""Where a distance of 0 is drawn on a logarithmic axis."""
ROUNDING = 1e-15
"""Singular values below this share of the largest one are rounding, and are not drawn."""


def write(grid: Grid, folder: Path) -> None:
    """Write ``study-<id>.svg`` for each study of a grid that has a table."""
    for study in grid.study_cells:
        table = study.folder / "table.csv"
        if table.exists():
            content = grid.studies[study.study]
            figure = draw(kind_of(content), content["title"], table.read_text(encoding="utf-8"))
            atomic_write(folder / f"study-{study.study}.svg", figure)


def draw(kind: str, title: str, table: str) -> bytes:
    """Return the SVG of a study's table, which is CSV."""
    with matplotlib.rc_context(STYLE):
        figure = {"trajectory": trajectory, "gradients": gradients}[kind](
            pd.read_csv(io.StringIO(table))
        )
        figure.suptitle(title, x=0.01, ha="left", fontsize=10, fontweight="bold")
        return svg(figure)


def trajectory(table: pd.DataFrame) -> Figure:
    """Loss, distance, direction of updates and stalled neurons by step; a row of panels for a model
    and optimizer.
    """
    runs = list(table.groupby(["model", "optimizer"], sort=False))
    dash = dict(zip(table["dtype"].unique(), DASHES, strict=False))
    figure = Figure(figsize=(12.6, 2.2 * len(runs) + 0.8), layout="constrained")
    for panels, ((model, optimizer), run) in zip(
        figure.subplots(len(runs), 4, squeeze=False), runs, strict=True
    ):
        loss, distance, direction, stalled = panels
        for (network, dtype), rows in run.groupby(["network", "dtype"], sort=False):
            look = LOOKS[network] | {"marker": "", "linestyle": dash[dtype]}
            compared = rows[rows["distance_l2"].notna()]
            loss.plot(rows["step"], rows["loss"].rolling(10, min_periods=1).mean(), **look)
            distance.plot(compared["step"], compared["distance_l2"].clip(lower=NO_DISTANCE), **look)
            direction.plot(compared["step"], compared["update_cosine"], **look)
            stalled.plot(compared["step"], compared["stalled_neurons"], **look)
        loss.set_title(f"{model}, {optimizer}", loc="left", fontweight="bold")
        loss.set(
            ylabel="Loss, mean of 10 steps", yscale="log" if run["loss"].max() > 10 else "linear"
        )
        distance.set(ylabel="Distance from ReLU's weights", yscale="log")
        direction.set(ylabel="Cosine with ReLU's update", ylim=(-0.15, 1.1))
        stalled.set(ylabel="Neurons without a slope", ylim=(-0.05, 1.05))
        for panel in panels:
            panel.set_xlabel("Step")
    keys = [Line2D([], [], **look | {"marker": ""}) for look in LOOKS.values()]
    keys += [Line2D([], [], color="0.3", linestyle=dash[dtype], label=dtype) for dtype in dash]
    figure.legend(handles=keys, loc="outside lower center", ncols=len(keys))
    return figure


def gradients(table: pd.DataFrame) -> Figure:
    """Gain of the Jacobians, stalled neurons and direction of the updates by depth; the spectrum of
    a middling one.
    """
    figure = Figure(figsize=(8.4, 6.4), layout="constrained")
    gain, spectrum, stalled, direction = figure.subplots(2, 2).flat
    _by_depth(gain, table, "jacobian_gain")
    gain.set(ylabel="Gain of the hidden layers' Jacobian", yscale="log")
    unforced = table[
        (table["quantity"] == "weights_gain")
        & (table["network"] == "alpha1")
        & (table["moment"] == MOMENTS[0])
    ]
    middle = unforced.groupby("depth")["value"].median()
    (dots,) = gain.plot(
        middle.index, middle, color=COLORS[1], linestyle=":", label="α1, drawn, J/B of all neurons"
    )
    depths = sorted(table["depth"].unique())
    middling = depths[
        len(depths) // 2
    ]  # in the deepest one, a drawn network's largest value outweighs all others
    values = table[(table["quantity"] == "singular_value") & (table["depth"] == middling)]
    for (network, moment), rows in values.groupby(["network", "moment"], sort=False):
        rows = rows[rows["value"] > ROUNDING * rows["value"].max()]
        spectrum.plot(1 - rows["index"], rows["value"], **_look(network, moment) | {"marker": ""})
    spectrum.set(
        xlabel="Share of singular values above",
        ylabel=f"Singular value, depth {middling}",
        yscale="log",
    )
    _by_depth(stalled, table, "stalled_neurons")
    stalled.set(ylabel="Neurons without a slope", ylim=(-0.02, None))
    _by_depth(direction, table, "update_cosine")
    direction.set(ylabel="Cosine of update of W with −dL/dW", yscale="log")
    keys = [Line2D([], [], **look) for look in LOOKS.values()]
    keys += [
        Line2D([], [], color="0.3", linestyle=dash, label=m)
        for m, dash in zip(MOMENTS, DASHES, strict=True)
    ]
    figure.legend(handles=[*keys, dots], loc="outside lower center", ncols=len(keys) // 2 + 1)
    return figure


def _by_depth(axes: Axes, table: pd.DataFrame, quantity: str) -> None:
    """Median over draws, images and layers, with the range from smallest to largest at
    initialization.
    """
    found = table[table["quantity"] == quantity]
    for (network, moment), rows in found.groupby(["network", "moment"], sort=False):
        values = rows.groupby("depth")["value"]
        middle = values.median()
        axes.plot(middle.index, middle, **_look(network, moment))
        if moment == MOMENTS[0] and network != "relu":
            axes.vlines(
                middle.index, values.min(), values.max(), color=LOOKS[network]["color"], linewidth=1
            )
    depths = sorted(table["depth"].unique())
    axes.set_xscale("log", base=2)
    axes.set_xticks(depths, labels=[str(depth) for depth in depths])
    axes.set_xlabel("Depth: hidden layers")


def _look(network: str, moment: str) -> dict[str, Any]:
    """Trained networks are dashed, with hollow markers."""
    dashed = {"linestyle": DASHES[MOMENTS.index(moment)]}
    return LOOKS[network] | dashed | ({} if moment == MOMENTS[0] else {"markerfacecolor": "white"})
