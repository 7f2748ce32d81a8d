"""Figures, from records and the training curves beside them. The same inputs give the same
bytes.
"""

import io
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from ttfs.config import NO_MODEL, Cell, Grid, value_at
from ttfs.files import atomic_write
from ttfs.metrics import METRICS
from ttfs.results.frame import Results, cells, chip_of, layers, on_hardware, std, steps, summary
from ttfs.results.record import Record, read_curve
from ttfs.results.sparsity import PENALTIES, trade_off

COLORS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442"]
"""Okabe and Ito's palette: distinct in every common kind of color blindness."""
MARKERS = ["o", "s", "^", "D", "v", "P", "X", "*"]
DASHES: list[Any] = [":", "-.", (0, (1, 3)), (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2))]
DEEPEST = 15.0
"""Figures of hardware show accuracies down to so many points below the best one."""
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
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "ttfs",
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "0.9",
    "axes.axisbelow": True,
    "legend.frameon": False,
}


def write(results: Results, folder: Path) -> None:
    """Write every figure of a grid into a folder, e.g. ``results/quick/figures``.

    ``accuracy-by-spikes.svg``, ``spikes-by-layer.svg``, ``sparsity.svg``, ``hardware.svg``,
    ``pareto.svg``, ``cost.svg`` and
    ``training-curves.svg`` from the ``curve.csv`` beside each record.
    """
    grid = results.grid
    cell_table, hardware_table = cells(results), on_hardware(results)
    curve = trade_off(results, grid.settings["sparsity_tolerance"])
    with matplotlib.rc_context(STYLE):
        for name, figure in {
            "accuracy-by-spikes": accuracy_by_spikes(cell_table, grid.reference),
            "spikes-by-layer": spikes_by_layer(layers(results)),
            "sparsity": sparsity(curve, cell_table, grid.reference),
            "hardware": hardware(hardware_table, axes_of(grid)),
            "pareto": pareto(hardware_table),
            "cost": cost(steps(results), summary(results, cell_table), grid.reference),
            "training-curves": training_curves(_curves(results.of("networks"))),
        }.items():
            atomic_write(folder / f"{name}.svg", svg(figure))


def accuracy_by_spikes(cell_table: pd.DataFrame, reference: str) -> Figure:
    """Accuracy by spikes per neuron, a panel per data set: each seed, mean ± std.

    The reference, and classifiers that use no model, are lines at their mean accuracy.
    """
    cell_table = cell_table.reindex(
        columns=cell_table.columns.union(["accuracy", "spikes_per_neuron"], sort=False)
    )
    uses_model = cell_table["model"] != NO_MODEL
    color = _assign(COLORS, cell_table.loc[uses_model, "model"])
    dashes = _assign(DASHES, cell_table.loc[~uses_model, "method"]) | {reference: "--"}
    spiking = cell_table["spikes_per_neuron"].notna()
    marker = _assign(MARKERS, cell_table.loc[spiking, "method"])

    def draw(axes: Axes, panel: pd.DataFrame) -> None:
        for (model, method), group in panel.groupby(["model", "method"]):
            if method not in marker:
                if method in dashes:
                    axes.axhline(
                        group["accuracy"].mean(),
                        color=color.get(model, "0.3"),
                        linestyle=dashes[method],
                        linewidth=1,
                    )
                continue
            x, y = group["spikes_per_neuron"], group["accuracy"]
            look: dict[str, Any] = {
                "color": color[model],
                "marker": marker[method],
                "linestyle": "none",
            }
            axes.plot(x, y, markersize=4, alpha=0.45, markeredgewidth=0, **look)
            axes.errorbar(
                x.mean(),
                y.mean(),
                _bar(y),
                _bar(x),
                markersize=7,
                markeredgecolor="white",
                capsize=3,
                **look,
            )
        axes.set_xlabel(METRICS["spikes_per_neuron"].label)
        axes.set_ylabel("Test accuracy [%]")
        axes.margins(0.15)

    lines = [
        Line2D([], [], color="0.3", linestyle=dash, linewidth=1, label=f"{method} (mean)")
        for method, dash in dashes.items()
    ]
    return _panels(cell_table[cell_table["status"] == "ok"], draw, [*_keys(color, marker), *lines])


COSTS = ("spikes_per_neuron", "synaptic_operations")


def cost(step_table: pd.DataFrame, summary_table: pd.DataFrame, reference: str) -> Figure:
    """Test error by spikes per neuron and by synaptic operations, a row for a data set and model.

    Networks of many time steps are curves over their number, where they are at most DEEPEST points
    below the best; TTFS networks are points.
    """
    blocks = list(step_table.groupby(["dataset", "model"], sort=False))
    if not blocks:
        return _panels(step_table, lambda axes, panel: None, [])
    spiking = summary_table["spikes_per_neuron_mean"].notna()
    curves = step_table["method"].unique()
    points = summary_table[spiking & ~summary_table["method"].isin(curves)]
    color = _assign(COLORS, pd.Series([*curves, *points["method"].unique()]))
    figure = Figure(figsize=(7.6, 2.7 * len(blocks) + 0.7), layout="constrained")
    panels = figure.subplots(len(blocks), 2, squeeze=False)
    for row, ((dataset, model), table) in zip(panels, blocks, strict=True):
        own = points[(points["dataset"] == dataset) & (points["model"] == model)]
        of_block = (summary_table["dataset"] == dataset) & (summary_table["model"] == model)
        ann = summary_table[of_block & (summary_table["method"] == reference)]
        for axes, name in zip(row, COSTS, strict=True):
            near = table[table["accuracy_mean"] > table["accuracy_mean"].max() - DEEPEST]
            _draw_cost(axes, name, near, own, color)
            error = 100.0 - ann["accuracy_mean"].mean()
            axes.axhline(error, color="0.3", linestyle="--", linewidth=1)
        row[0].set_title(f"{dataset}, {model}", loc="left", fontweight="bold")
        row[0].set_ylabel("Test error [%]")
    keys = [Line2D([], [], color=color[m], marker=".", label=m) for m in curves]
    stars: dict[str, Any] = {"marker": "*", "markersize": 9, "linestyle": "none"}
    keys += [Line2D([], [], color=color[m], label=m, **stars) for m in points["method"].unique()]
    keys.append(
        Line2D([], [], color="0.3", linestyle="--", linewidth=1, label=f"{reference} (mean)")
    )
    figure.legend(handles=keys, loc="outside lower center", ncols=3)
    return figure


def _draw_cost(
    axes: Axes, name: str, table: pd.DataFrame, points: pd.DataFrame, color: Mapping[str, str]
) -> None:
    """Curves over the time steps, each labelled at its first and last, and points."""
    for method, curve in table.groupby("method", sort=False):
        curve = curve[curve[f"{name}_mean"] > 0].sort_values("step")
        x, y = curve[f"{name}_mean"], 100.0 - curve["accuracy_mean"]
        axes.plot(x, y, color=color[method], marker=".", linewidth=1)
        for place in {0, len(curve) - 1}:
            at = (x.iloc[place], y.iloc[place])
            axes.annotate(str(curve["step"].iloc[place]), at, fontsize=6, annotation_clip=True)
    for method, group in points.groupby("method", sort=False):
        x, y = group[f"{name}_mean"], 100.0 - group["accuracy_mean"]
        axes.plot(x, y, color=color[method], marker="*", markersize=11, linestyle="none")
    axes.set(xscale="log", yscale="log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_locator(NullLocator())
    axes.set_xlabel(METRICS[name].label)


def spikes_by_layer(layer_table: pd.DataFrame) -> Figure:
    """Spikes per neuron of each hidden layer, a panel per data set: mean ± std over seeds."""
    color, marker = _assign(COLORS, layer_table["model"]), _assign(MARKERS, layer_table["method"])

    def draw(axes: Axes, panel: pd.DataFrame) -> None:
        for (model, method), group in panel.groupby(["model", "method"]):
            depth = range(1, len(group) + 1)
            spread = group["spikes_per_neuron_std"].fillna(0.0)
            look: dict[str, Any] = {"color": color[model], "marker": marker[method]}
            axes.errorbar(
                depth,
                group["spikes_per_neuron_mean"],
                spread,
                markersize=5,
                capsize=3,
                linewidth=1,
                **look,
            )
        axes.set_ylim(0, 1.08 * axes.get_ylim()[1])
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("Hidden layer, from the input")
        axes.set_ylabel(METRICS["spikes_per_neuron"].label)

    return _panels(layer_table, draw, _keys(color, marker))


def sparsity(table: pd.DataFrame, cell_table: pd.DataFrame, reference: str) -> Figure:
    """Accuracy by spikes per neuron along the strengths of a penalty, a panel per data set;
    operating points ringed.
    """
    color = _assign(COLORS, table["model"])
    marker = {
        name: MARKERS[place] for place, name in enumerate(PENALTIES) if (table[name] > 0).any()
    }
    anns = cell_table[(cell_table["method"] == reference) & (cell_table["status"] == "ok")]

    def draw(axes: Axes, panel: pd.DataFrame) -> None:
        for model, of_model in panel.groupby("model"):
            for penalty in marker or PENALTIES:
                curve = of_model[
                    (of_model[[name for name in PENALTIES if name != penalty]] == 0.0).all(axis=1)
                ]
                x, y = curve["spikes_per_neuron_mean"], curve["accuracy_mean"]
                bars = (
                    curve["accuracy_std"].fillna(0.0),
                    curve["spikes_per_neuron_std"].fillna(0.0),
                )
                look: dict[str, Any] = {"color": color[model], "marker": marker.get(penalty, "o")}
                axes.errorbar(x, y, *bars, markersize=4, capsize=2, linewidth=1, **look)
            chosen = of_model[of_model["operating_point"]]
            x, y = chosen["spikes_per_neuron_mean"], chosen["accuracy_mean"]
            axes.plot(x, y, "o", markersize=10, color=color[model], fillstyle="none")
            ann = anns[(anns["model"] == model) & (anns["dataset"] == panel["dataset"].iloc[0])]
            axes.axhline(ann["accuracy"].mean(), color=color[model], linestyle="--", linewidth=1)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel(METRICS["spikes_per_neuron"].label)
        axes.set_ylabel("Test accuracy [%]")
        axes.margins(0.1)

    ring = Line2D(
        [], [], color="0.3", marker="o", markersize=10, fillstyle="none", linestyle="none"
    )
    ring.set_label("operating point, by validation")
    line = Line2D([], [], color="0.3", linestyle="--", linewidth=1, label=f"{reference} (mean)")
    return _panels(
        table, draw, [*_keys(color, {PENALTIES[name]: marker[name] for name in marker}), ring, line]
    )


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
        return _panels(table.head(0), lambda axes, panel: None, [])
    color = _assign(COLORS, table["model"])
    columns = min(4, len(axes_))
    rows = math.ceil(len(axes_) / columns)
    keys = [
        *_keys(color, {}),
        Line2D([], [], color="0.3", linewidth=0.8, linestyle=":", label="ideal"),
    ]
    keys += [Line2D([], [], color="0.3", label=label, **look) for label, look in MOMENTS.values()]
    in_a_row = max(1, 3 * columns // 2)
    height = 2.3 * rows * len(datasets) + 0.2 * math.ceil(len(keys) / in_a_row) + 0.2
    figure = Figure(figsize=(2.9 * columns, height), layout="constrained")
    panels = figure.subplots(rows * len(datasets), columns, squeeze=False).reshape(
        len(datasets), -1
    )
    for block, dataset in zip(panels, datasets, strict=True):
        of_dataset = table[table["dataset"] == dataset]
        for axes, axis in itertools.zip_longest(block, axes_):
            if axis is None or not of_dataset["chip"].isin(axis.chips.values()).any():
                axes.set_axis_off()
                continue
            _draw_axis(axes, of_dataset, axis, color)
            axes.set_title(f"{dataset}: {axis.shared}", loc="left", fontweight="bold")
            axes.set_ylim(
                bottom=max(axes.get_ylim()[0], of_dataset["accuracy_mean"].max() - DEEPEST)
            )
        block[0].set_ylabel("Test accuracy [%]")
    figure.legend(handles=keys, loc="outside lower center", ncols=min(len(keys), in_a_row))
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
    marker = _assign(MARKERS, points["model"])
    spikes = points["spikes_per_neuron_mean"]
    shade = Normalize(0.0, spikes.max() if len(spikes) else 1.0)

    def draw(axes: Axes, panel: pd.DataFrame) -> None:
        for model, group in panel.groupby("model"):
            x, y = group["time_steps_mean"], group["accuracy_mean"]
            look: dict[str, Any] = {"marker": marker[model], "norm": shade, "cmap": "viridis_r"}
            axes.scatter(
                x, y, 28, group["spikes_per_neuron_mean"], edgecolors="0.3", linewidths=0.4, **look
            )
        front = panel[~_beaten(panel)]
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

    ring = Line2D(
        [],
        [],
        color="0.3",
        marker="o",
        markersize=10,
        fillstyle="none",
        linestyle="none",
        label="not beaten",
    )
    figure = _panels(points, draw, [*_keys({}, marker), ring])
    if len(points):
        bar = ScalarMappable(shade, "viridis_r")
        figure.colorbar(bar, ax=figure.axes, label=METRICS["spikes_per_neuron"].label)
    return figure


def _beaten(panel: pd.DataFrame) -> pd.Series:
    """Which points another one equals in accuracy, time steps and spikes, and beats in one."""
    values = panel[["accuracy_mean", "time_steps_mean", "spikes_per_neuron_mean"]].to_numpy() * [
        -1.0,
        1.0,
        1.0,
    ]
    as_good = (values[None] <= values[:, None]).all(2)
    better = (values[None] < values[:, None]).any(2)
    return pd.Series((as_good & better).any(1), index=panel.index)


def training_curves(curves: pd.DataFrame) -> Figure:
    """Accuracy on the validation split by epoch, a panel per data set: a line per seed."""
    color, marker = _assign(COLORS, curves["model"]), _assign(MARKERS, curves["method"])

    def draw(axes: Axes, panel: pd.DataFrame) -> None:
        for (model, method, _), curve in panel.groupby(["model", "method", "seed"]):
            look: dict[str, Any] = {"color": color[model], "marker": marker[method]}
            axes.plot(
                curve["epoch"],
                curve["validation_accuracy"],
                markersize=2.5,
                linewidth=0.8,
                alpha=0.8,
                **look,
            )
        axes.set_xlabel("Epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_ylabel("Validation accuracy [%]")

    return _panels(curves, draw, _keys(color, marker))


def _curves(records: Sequence[Record]) -> pd.DataFrame:
    columns = ["dataset", "model", "method", "seed", "epoch", "validation_accuracy"]
    rows = [
        {**record.ids, **row} for record in records for row in read_curve(Cell(**record.ids).folder)
    ]
    return pd.DataFrame(rows, columns=columns)


def _assign(looks: Sequence[Any], names: pd.Series) -> dict[str, Any]:
    return {name: looks[place % len(looks)] for place, name in enumerate(sorted(set(names)))}


def _bar(values: pd.Series) -> float:
    return std(values) if len(values) > 1 else 0.0


def _keys(color: Mapping[str, str], marker: Mapping[str, str]) -> list[Line2D]:
    """Legend entries: a color for each model, a marker for each method."""
    models = [Line2D([], [], color=color[model], linewidth=4, label=model) for model in color]
    return models + [
        Line2D([], [], color="0.3", marker=marker[m], linestyle="none", label=m) for m in marker
    ]


def _panels(
    table: pd.DataFrame, draw: Callable[[Axes, pd.DataFrame], None], keys: Sequence[Line2D]
) -> Figure:
    """One panel for each data set of the table, at most three in a row, and one legend below all of
    them.
    """
    groups = list(table.groupby("dataset"))
    columns = min(3, max(1, len(groups)))
    rows = max(1, math.ceil(len(groups) / columns))
    figure = Figure(figsize=(3.6 * columns, 2.8 * rows + 0.4), layout="constrained")
    for place, (dataset, panel) in enumerate(groups, start=1):
        axes = figure.add_subplot(rows, columns, place)
        axes.set_title(dataset, loc="left", fontweight="bold")
        draw(axes, panel)
    if groups:
        figure.legend(handles=keys, loc="outside lower center", ncols=min(len(keys), 2 * columns))
    else:
        figure.text(0.5, 0.5, "no successful cell has these values", ha="center", color="0.4")
    return figure


def svg(figure: Figure) -> bytes:
    """Return the figure as SVG without a date, so that equal figures are equal bytes."""
    content = io.BytesIO()
    figure.savefig(content, format="svg", metadata={"Date": None})
    return content.getvalue()
