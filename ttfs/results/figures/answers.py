"""Figures of the answers by class: the confusion matrix, and the accuracy of each class."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ttfs.results.figures.style import MARKERS, accuracies, assign, models, of_blocks, panels
from ttfs.results.frame import best
from ttfs.results.record import Record

MOST_CLASSES = 30
"""Matrices of more classes are not drawn: nobody reads them."""
MOST_LABELS = 15
"""Labels at an axis of classes, at most."""


def confusion(records: Sequence[Record], summary_table: pd.DataFrame) -> Figure:
    """Share of the items of each class by answer, a panel for each data set and model: mean over
    seeds of its most accurate spiking network, or of its most accurate one.
    """
    matrices = {}
    for (dataset, model), block in summary_table.groupby(["dataset", "model"], sort=False):
        chosen = best(block)
        method = "" if chosen is None else str(chosen["method"])
        seeds = [_counts(record) for record in records if _is_of(record, dataset, model, method)]
        classes = 1 + max((max(place) for counts in seeds for place in counts), default=-1)
        if 0 < classes <= MOST_CLASSES:
            shares = [_shares(counts, classes) for counts in seeds]
            matrices[f"{dataset}, {model}: {method}"] = np.mean(shares, axis=0)
    table = pd.DataFrame({"dataset": list(matrices)}, columns=["dataset"])

    def draw(axes: Axes, panel: pd.DataFrame) -> None:
        matrix = matrices[panel["dataset"].iloc[0]]
        axes.imshow(matrix, cmap="Greys", vmin=0.0, vmax=1.0)
        for label, answer in np.argwhere(matrix >= 0.005):
            color = "white" if matrix[label, answer] > 0.5 else "black"
            text = f"{100 * matrix[label, answer]:.0f}"
            axes.text(answer, label, text, ha="center", va="center", fontsize=6, color=color)
        axes.grid(False)
        axes.set_xlabel("Answer")
        axes.set_ylabel("Class")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(nbins=len(matrix), integer=True))

    return panels(table, draw, [])


def _is_of(record: Record, dataset: str, model: str, method: str) -> bool:
    ids: Mapping[str, Any] = record.ids
    same = (ids["dataset"], ids["model"], ids["method"]) == (dataset, model, method)
    return same and record.status == "ok"


def _counts(record: Record) -> dict[tuple[int, int], float]:
    """{(class, answer): items} of a record, without the pairs that no item is of."""
    rows = (row for row in record.rows if row["metric"] == "confusion")
    return {(row["class"], row["predicted"]): row["value"] for row in rows}


def _shares(counts: Mapping[tuple[int, int], float], classes: int) -> np.ndarray:
    """Share of the items of each class [classes, classes], by class and answer."""
    matrix = np.zeros((classes, classes))
    for place, count in counts.items():
        matrix[place] = count
    return matrix / np.maximum(matrix.sum(1, keepdims=True), 1.0)


def class_accuracy(class_table: pd.DataFrame) -> Figure:
    """Accuracy of each class, a panel for each data set and model: mean ± std over seeds."""
    few = class_table.groupby("dataset")["class"].transform("nunique") <= MOST_CLASSES
    table = of_blocks(class_table[few])
    look, marker = models(table["method"]), assign(MARKERS, table["method"])

    def draw(axes: Axes, panel: pd.DataFrame) -> None:
        groups = list(panel.groupby("method", sort=False))
        for place, (method, group) in enumerate(groups):
            shift = 0.7 * ((place + 0.5) / len(groups) - 0.5)  # side by side, not on one another
            own = {"color": look[method]["color"], "marker": marker[method]}
            size: dict[str, Any] = {"markersize": 3.5, "elinewidth": 0.7, "linestyle": "none"}
            mean, spread = group["accuracy_mean"], group["accuracy_std"].fillna(0.0)
            axes.errorbar(group["class"] + shift, mean, spread, **own, **size)
        axes.set_xlabel("Class")
        step = -(-panel["class"].nunique() // MOST_LABELS)
        axes.set_xticks(sorted(panel["class"].unique())[::step])
        axes.grid(axis="x", visible=False)
        accuracies(axes)

    keys = [
        Line2D([], [], label=name, color=own["color"], marker=marker[name], linestyle="none")
        for name, own in look.items()
    ]
    return panels(table, draw, keys)
