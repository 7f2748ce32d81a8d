"""Figures, from records and the training curves beside them. The same inputs give the same
bytes.
"""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import pandas as pd

from ttfs.config import SHIPPED, Grid
from ttfs.results.figures.answers import class_accuracy, confusion
from ttfs.results.figures.chips import axes_of, hardware, pareto
from ttfs.results.figures.costs import cost
from ttfs.results.figures.networks import (
    accuracy_by_spikes,
    few_labels,
    labels_of,
    sparsity,
    spikes_by_layer,
    training_curves,
)
from ttfs.results.figures.spikes import Spikes, raster, spike_times
from ttfs.results.figures.style import STYLE, save
from ttfs.results.frame import Results, cells, classes, layers, on_hardware, steps, summary
from ttfs.results.record import CURVE, MADE, damaged, read_curve, read_made
from ttfs.results.sparsity import trade_off


def write(results: Results, folder: Path, spikes: Sequence[Spikes] = ()) -> None:
    """Write every figure of a grid into a folder, e.g. ``results/quick/figures``, as SVG, PDF and
    PNG, with its caption beside it. A figure that has nothing to show is not made; those of
    `spikes` need the networks, too.
    """
    grid, references = results.grid, results.grid.references
    cell_table, hardware_table = cells(results), on_hardware(results)
    summary_table = summary(results, cell_table)
    curve = trade_off(results, grid.settings["sparsity_tolerance"])
    networks = results.of("networks")
    with matplotlib.rc_context(STYLE):
        for name, figure in {
            "accuracy-by-spikes": accuracy_by_spikes(cell_table, references),
            "spikes-by-layer": spikes_by_layer(layers(results)),
            "sparsity": sparsity(curve, cell_table, references),
            "hardware": hardware(hardware_table, axes_of(grid)),
            "pareto": pareto(hardware_table),
            "cost": cost(steps(results), summary_table, references),
            "training-curves": training_curves(curves_of(results)),
            "confusion": confusion(networks, summary_table),
            "class-accuracy": class_accuracy(classes(results)),
            "spike-raster": raster(spikes),
            "spike-times": spike_times(spikes),
            "few-labels": few_labels(cell_table, labels_of(grid)),
        }.items():
            save(figure, folder, name, caption_of(name, grid))


def caption_of(name: str, grid: Grid) -> str:
    """Return the caption of a figure of a grid: as the report has it, and the command that makes
    it.
    """
    path = SHIPPED / "workflow" / "report" / f"{name}.rst"
    return f"{path.read_text(encoding='utf-8')}\nMade by ``ttfs figures {grid.file}``.\n"


def curves_of(results: Results) -> pd.DataFrame:
    """Return a row for each network and epoch, from the files beside the records.

    A curve that was changed since it was made is left out, and so is one of before, where making
    the network anew failed.
    """
    columns = ["dataset", "model", "method", "seed", "epoch", "validation_accuracy"]
    rows = []
    for record in results.of("networks"):
        folder = results.store / record.name
        if not record.unmade and _is_whole(folder):
            rows += [{**record.ids, **row} for row in read_curve(folder)]
    return pd.DataFrame(rows, columns=columns)


def _is_whole(folder: Path) -> bool:
    """Whether the curve of a folder is the one that was made, by its checksum where there is
    one.
    """
    if not (folder / MADE).exists():
        return True
    files = {name: entry for name, entry in read_made(folder).files.items() if name == CURVE}
    return damaged(folder, files, MADE, closely=True) is None
