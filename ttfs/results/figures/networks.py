"""Figures of networks: accuracy by spikes, spikes by layer, the cost of silence, training."""

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ttfs.config import NO_MODEL, Grid
from ttfs.metrics import METRICS
from ttfs.results.figures.style import (
    MARKERS,
    accuracies,
    assign,
    bar,
    keys_of,
    line,
    logarithmic,
    models,
    names_of,
    of_blocks,
    panels,
    ring,
)
from ttfs.results.sparsity import PENALTIES

NO_MODEL_LOOK: dict[str, Any] = {"color": "0.3", "fillstyle": "full"}
NO_MODEL_DASHES: list[Any] = [":", "-.", (0, (1, 3)), (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2))]
MOST_NAMES = 12
"""Labels at an axis of layers, at most."""
TIED = ("labels", "epochs", "batch_size")
"""Keys that go with the number of labels."""


def accuracy_by_spikes(cell_table: pd.DataFrame, references: Mapping[str, str]) -> Figure:
    """Accuracy by spikes per neuron, a panel per data set: each seed, mean ± std.

    The references, and classifiers without spikes that use no model, are lines at their mean
    accuracy.
    """
    wanted = cell_table.columns.union(["accuracy", "spikes_per_neuron"], sort=False)
    cell_table = cell_table[cell_table["status"] == "ok"].reindex(columns=wanted)
    uses_model = cell_table["model"] != NO_MODEL
    spiking = cell_table["spikes_per_neuron"].notna()
    look = models(cell_table.loc[uses_model, "model"])
    dashes = assign(NO_MODEL_DASHES, cell_table.loc[~uses_model & ~spiking, "method"])
    marker = assign(MARKERS, cell_table.loc[spiking, "method"])
    spikeless = set(cell_table["method"]) - marker.keys()
    dashes |= {name: "--" for name in references.values() if name in spikeless}

    def draw(axes: Axes, panel: pd.DataFrame) -> None:
        for (model, method), group in panel.groupby(["model", "method"]):
            own = look.get(model, NO_MODEL_LOOK)
            if method in marker:
                seen = {name: own[name] for name in ("color", "fillstyle")}
                _draw_seeds(axes, group, seen | {"marker": marker[method]})
            elif method in dashes:
                height = group["accuracy"].mean()
                axes.axhline(height, linewidth=1, color=own["color"], linestyle=dashes[method])
        axes.set_xlabel(METRICS["spikes_per_neuron"].label)
        axes.margins(0.15)
        accuracies(axes)

    lines = [line(f"{method} (mean)", dash) for method, dash in dashes.items()]
    return panels(cell_table, draw, [*keys_of(look, marker), *lines])


def labels_of(grid: Grid) -> dict[str, tuple[str, float]]:
    """Return {data set: (its id without labels and budget, number of labels)} of the data sets
    whose number of labels varies; infinity is all.
    """
    found = {}
    for name, point in grid.datasets.items():
        found[name] = (_without(TIED, name), float(point.config.get("labels") or math.inf))
    shared = {family for (family, _), n in Counter(found.values()).items() if n > 1}
    for name, (family, count) in found.items():
        if family in shared:  # several budgets for one number are families of their own
            found[name] = (_without(TIED[:1], name), count)
    counts = Counter(family for family, _ in set(found.values()))
    return {name: point for name, point in found.items() if counts[point[0]] > 1}


def _without(keys: tuple[str, ...], name: str) -> str:
    return "+".join(word for word in name.split("+") if word.partition("=")[0] not in keys)


def few_labels(cell_table: pd.DataFrame, labels: Mapping[str, tuple[str, float]]) -> Figure:
    """Accuracy by the number of labeled training records, a panel per data set and encoding: mean ±
    std over seeds, a line per model and method.
    """
    table = cell_table[cell_table["dataset"].isin(labels) & (cell_table["status"] == "ok")]
    points = [labels[name] for name in table["dataset"]]
    table = table.assign(dataset=[p[0] for p in points], labels=[p[1] for p in points])
    counts = sorted(set(table["labels"]))
    table = table.assign(name=names_of(table, "method", "model"))
    looks = models(table["name"])
    size: dict[str, Any] = {"marker": "o", "markersize": 4, "capsize": 2, "linewidth": 1}

    def draw(axes: Axes, panel: pd.DataFrame) -> None:
        for name, group in panel.groupby("name"):
            by_count = group.groupby("labels")["accuracy"]
            place = [counts.index(count) for count in by_count.groups]
            spread = by_count.std().fillna(0.0)
            axes.errorbar(place, by_count.mean(), spread, **looks[str(name)], **size)
        names = ["all" if math.isinf(count) else f"{count:,.0f}" for count in counts]
        axes.set_xticks(range(len(counts)), names)
        axes.set_xlabel("Labeled training records")
        accuracies(axes)

    return panels(table, draw, keys_of(looks, {}))


def _draw_seeds(axes: Axes, seeds: pd.DataFrame, look: Mapping[str, Any]) -> None:
    """A pale point for each seed, and a bold one at their mean, with bars of ± std."""
    x, y = seeds["spikes_per_neuron"], seeds["accuracy"]
    axes.plot(x, y, markersize=4, alpha=0.45, markeredgewidth=0.5, linestyle="none", **look)
    bold: dict[str, Any] = {"markersize": 7, "capsize": 3}
    axes.errorbar(x.mean(), y.mean(), bar(y), bar(x), linestyle="none", **bold, **look)


def spikes_by_layer(layer_table: pd.DataFrame) -> Figure:
    """Spikes per neuron of each hidden layer, a panel per data set and model: mean ± std over
    seeds.
    """
    table = of_blocks(layer_table)
    look, marker = models(table["method"]), assign(MARKERS, table["method"])
    size: dict[str, Any] = {"markersize": 5, "capsize": 3, "linewidth": 1}

    def draw(axes: Axes, panel: pd.DataFrame) -> None:
        longest = max((list(group["layer"]) for _, group in panel.groupby("method")), key=len)
        for method, group in panel.groupby("method", sort=False):
            depth = range(1, len(group) + 1)
            mean, spread = group["spikes_per_neuron_mean"], group["spikes_per_neuron_std"]
            own = look[method] | {"marker": marker[method]}
            axes.errorbar(depth, mean, spread.fillna(0.0), **size, **own)
        axes.set_ylim(0, 1.08 * axes.get_ylim()[1])
        axes.set_xlim(0.5, len(longest) + 0.5)
        shown = range(0, len(longest), math.ceil(len(longest) / MOST_NAMES))
        turn: dict[str, Any] = {"rotation": 45, "ha": "right"} if len(longest) > 4 else {}
        axes.set_xticks([place + 1 for place in shown], [longest[p] for p in shown], **turn)
        axes.set_xlabel("Hidden layer, from the input")
        axes.set_ylabel(METRICS["spikes_per_neuron"].label)

    return panels(table, draw, keys_of(look, {}, marker))


def sparsity(
    table: pd.DataFrame, cell_table: pd.DataFrame, references: Mapping[str, str]
) -> Figure:
    """Accuracy by spikes per neuron along the strengths of a penalty, a panel per data set;
    operating points ringed.

    A curve is a model and a method without its penalties, of two strengths or more; those without
    a spike are left out. Lines are the models' references.
    """
    alone = table.groupby("model")["family"].nunique() == 1
    name = table["model"].where(table["model"].map(alone), table["model"] + ", " + table["family"])
    table = table.assign(curve=name)
    table = table[table.groupby(["dataset", "curve"])["curve"].transform("size") > 1]
    table = table[table["spikes_per_neuron_mean"] > 0]  # 0 has no place on the logarithmic axis
    looks = models(table["curve"])
    marker = {
        name: MARKERS[place] for place, name in enumerate(PENALTIES) if (table[name] > 0).any()
    }
    is_reference = cell_table["method"] == cell_table["dataset"].map(references)
    anns = cell_table[is_reference & (cell_table["status"] == "ok")]

    def draw(axes: Axes, panel: pd.DataFrame) -> None:
        for curve, points in panel.groupby("curve"):
            for penalty in marker or PENALTIES:
                look = looks[curve] | {"marker": marker.get(penalty, "o")}
                _draw_strengths(axes, points, penalty, look)
            chosen = points[points["operating_point"]]
            x, y = chosen["spikes_per_neuron_mean"], chosen["accuracy_mean"]
            axes.plot(x, y, "o", markersize=11, color=looks[curve]["color"], fillstyle="none")
        for model, curve in panel.groupby("model")["curve"].first().items():
            ann = anns[(anns["model"] == model) & (anns["dataset"] == panel["dataset"].iloc[0])]
            height, color = ann["accuracy"].mean(), looks[curve]["color"]
            axes.axhline(height, color=color, linestyle="--", linewidth=1)
        axes.set_xscale("log")
        axes.margins(0.1)
        logarithmic(axes.xaxis)
        axes.set_xlabel(METRICS["spikes_per_neuron"].label)
        accuracies(axes)

    keys = keys_of(looks, {PENALTIES[name]: marker[name] for name in marker})
    keys.append(ring("operating point, by validation"))
    used = table["dataset"].drop_duplicates().map(references).dropna().unique()
    keys += [line(f"{method} (mean)", "--") for method in used]
    return panels(table, draw, keys)


def _draw_strengths(
    axes: Axes, points: pd.DataFrame, penalty: str, look: Mapping[str, Any]
) -> None:
    """The curve along one penalty, where all others are 0."""
    others = [name for name in PENALTIES if name != penalty]
    curve = points[(points[others] == 0.0).all(axis=1)]
    x, y = curve["spikes_per_neuron_mean"], curve["accuracy_mean"]
    spread = curve[["accuracy_std", "spikes_per_neuron_std"]].fillna(0.0)
    size: dict[str, Any] = {"markersize": 4, "capsize": 2, "linewidth": 1}
    axes.errorbar(x, y, spread["accuracy_std"], spread["spikes_per_neuron_std"], **size, **look)


def training_curves(curves: pd.DataFrame) -> Figure:
    """Error on the validation split by epoch, a panel per data set and model: mean over seeds,
    and a band from the lowest to the highest.
    """
    curves = of_blocks(curves.assign(error=100.0 - curves["validation_accuracy"]))
    look = models(curves["method"])

    def draw(axes: Axes, panel: pd.DataFrame) -> None:
        floor = panel["error"][panel["error"] > 0].min() / 2
        for method, group in panel.groupby("method"):
            seeds = group.groupby("epoch")["error"].agg(["mean", "min", "max"]).clip(lower=floor)
            color, dash = look[method]["color"], look[method]["linestyle"]
            axes.fill_between(
                seeds.index, seeds["min"], seeds["max"], color=color, alpha=0.15, linewidth=0
            )
            axes.plot(seeds.index, seeds["mean"], color=color, linestyle=dash, linewidth=1.2)
        if panel["error"].max() > 0:
            axes.set_yscale("log")
            logarithmic(axes.yaxis)
        axes.set_xlabel("Epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_ylabel("Validation error [%]")

    keys = [
        Line2D([], [], label=name, color=own["color"], linestyle=own["linestyle"])
        for name, own in look.items()
    ]
    return panels(curves, draw, keys)
