"""Figures of studies, from their tables. The same table gives the same bytes."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ttfs.config import Grid, kind_of
from ttfs.results.figures import caption_of
from ttfs.results.figures.style import COLORS, MARKERS, STYLE, save

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
WAYS: list[Any] = ["-", "--", ":", "-."]
"""Dashes of the ways to set thresholds."""
MOMENTS = ["initialization", "trained"]
NO_DISTANCE = 1e-17
"""Where a distance of 0 is drawn on a logarithmic axis."""
ROUNDING = 1e-15
"""Singular values below this share of the largest one are rounding, and are not drawn."""


def write(grid: Grid, folder: Path) -> None:
    """Write the figure ``study-<id>`` of each study of a grid that has a table."""
    for study in grid.study_cells:
        table = study.folder / "table.csv"
        if table.exists():
            content = grid.studies[study.study]
            kind = kind_of(content)
            figure = draw(kind, content["title"], table.read_text(encoding="utf-8"))
            save(figure, folder, f"study-{study.study}", caption_of(kind, grid))


def draw(kind: str, title: str, table: str) -> Figure:
    """Return the figure of a study's table, which is CSV."""
    with matplotlib.rc_context(STYLE):
        draw_kind = {
            "trajectory": trajectory,
            "gradients": gradients,
            "surrogate": surrogate,
            "rates": rates,
        }[kind]
        figure = draw_kind(pd.read_csv(io.StringIO(table)))
        figure.suptitle(title, x=0.01, ha="left", fontsize=10, fontweight="bold")
        return figure


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


def surrogate(table: pd.DataFrame) -> Figure:
    """Gain per layer by alpha, gradients by layer and by step, and accuracy after training."""
    figure = Figure(figsize=(8.4, 6.4), layout="constrained")
    gain, by_layer, by_step, accuracy = figure.subplots(2, 2).flat
    for place, (depth, rows) in enumerate(table.groupby("depth", sort=False)):
        look: dict[str, Any] = _line(place)
        values = rows[rows["quantity"] == "gain"].groupby("alpha")["value"].median()
        gain.plot(values.index, values, label=f"depth {depth}", **look)
        critical = rows[rows["quantity"] == "critical_alpha"]["value"].median()
        gain.axvline(critical, color=look["color"], linewidth=0.8, linestyle=":")
        trained = rows[rows["quantity"] == "validation_accuracy"].sort_values("alpha")
        accuracy.plot(trained["alpha"], trained["value"], label=f"depth {depth}", **look)
    gain.axhline(1.0, color="0.3", linewidth=0.8)
    gain.set(xscale="log", yscale="log", ylabel="Gain of the gradient per layer")
    accuracy.set(xscale="log", ylabel="Validation accuracy after training [%]")
    deepest = table[table["depth"] == table["depth"].max()]
    shade = matplotlib.colormaps["viridis"]
    alphas = sorted(deepest.loc[deepest["quantity"] == "gradient", "alpha"].unique())
    for place, alpha in enumerate(alphas):
        own = deepest[(deepest["alpha"] == alpha) & (deepest["draw"] == 0)]
        look = {"color": shade(place / max(len(alphas) - 1, 1)), "label": f"α = {alpha:g}"}
        for axes, quantity in ((by_layer, "gradient"), (by_step, "gradient_by_step")):
            rows = own[own["quantity"] == quantity]
            axes.plot(rows["index"], rows["value"] / rows["value"].iloc[-1], **look)
    depth = table["depth"].max()
    by_layer.set(
        yscale="log",
        xlabel="Layer, from the input",
        ylabel=f"Gradient / last layer's, depth {depth}",
    )
    by_step.set(yscale="log", xlabel="Time step", ylabel="Gradient / last step's, middle layer")
    for axes in (gain, accuracy):
        axes.set_xlabel("α: the larger, the narrower the surrogate")
        axes.legend()
    by_layer.legend(ncols=2, fontsize=7)
    return figure


def rates(table: pd.DataFrame) -> Figure:
    """Terms of the error by layer at the fewest steps, and accuracy by steps; a row for a model."""
    parts = table[table["term"] != "all"]
    ways = [way for way in parts["threshold"].unique() if way != "ttfs"]
    models = list(table["model"].unique())
    fewest = parts.loc[parts["steps"] > 0, "steps"].min()
    looks = {term: _line(place) for place, term in enumerate(parts["term"].unique())}
    dashes = {way: WAYS[place % len(WAYS)] for place, way in enumerate(ways)}
    size = (2.9 * (len(ways) + 1), 2.3 * len(models) + 0.6)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(len(models), len(ways) + 1, squeeze=False)
    for row, model in zip(panels, models, strict=True):
        of_model = parts[parts["model"] == model]
        ceiling = 1.08 * of_model.loc[of_model["steps"] == fewest, "rms"].max()
        for axes, way in zip(row, ways, strict=False):
            own = of_model[(of_model["threshold"] == way) & (of_model["steps"] == fewest)]
            for term, values in own.groupby("term", sort=False):
                axes.plot(values["depth"], values["rms"], **looks[term])
            ttfs = of_model[of_model["threshold"] == "ttfs"].groupby("depth")["rms"].max()
            axes.plot(ttfs.index, ttfs, color="0.75", linewidth=4, zorder=1)
            axes.set(title=f"{model}, {way}, {fewest} steps", ylim=(-0.02, ceiling))
            axes.set(xlabel="Layer, from the input", ylabel="Error / activations, rms")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        whole = table[(table["model"] == model) & (table["term"] == "all")]
        _accuracy_by_steps(row[-1], whole, dashes)
    keys = [Line2D([], [], label=term, **look) for term, look in looks.items()]
    keys.append(Line2D([], [], color="0.75", linewidth=4, label="TTFS: largest term, accuracy"))
    keys += [Line2D([], [], color="0.3", linestyle=dashes[way], label=way) for way in ways]
    figure.legend(handles=keys, loc="outside lower center", ncols=len(looks) + 1)
    return figure


def _line(place: int) -> dict[str, Any]:
    """Lines of one panel differ in color and, for gray print, in their markers."""
    return {
        "color": COLORS[place % len(COLORS)],
        "marker": MARKERS[place % len(MARKERS)],
        "markersize": 4,
    }


def _accuracy_by_steps(axes: Axes, whole: pd.DataFrame, dashes: Mapping[str, Any]) -> None:
    """Accuracy by time steps, dashed by the way to set thresholds, and the ReLU network's."""
    for way, rows in whole[whole["steps"] > 0].groupby("threshold", sort=False):
        axes.plot(rows["steps"], rows["accuracy"], color="0.3", linestyle=dashes[str(way)])
    ann = whole.loc[whole["threshold"] == "ann", "accuracy"].iloc[0]
    axes.axhline(ann, color="0.75", linewidth=4, zorder=1)
    axes.set_xscale("log", base=2)
    axes.set(xlabel="Time steps", ylabel="Validation accuracy [%]")
