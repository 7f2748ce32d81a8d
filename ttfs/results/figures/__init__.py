"""Figures, from records and the training curves beside them. The same inputs give the same
bytes.
"""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import pandas as pd

from ttfs.config import Cell
from ttfs.files import atomic_write
from ttfs.results.figures.chips import axes_of, hardware, pareto
from ttfs.results.figures.costs import cost
from ttfs.results.figures.networks import (
    accuracy_by_spikes,
    sparsity,
    spikes_by_layer,
    training_curves,
)
from ttfs.results.figures.style import STYLE, svg
from ttfs.results.frame import Results, cells, layers, on_hardware, steps, summary
from ttfs.results.record import CURVE, MADE, Record, damaged, read_curve, read_made
from ttfs.results.sparsity import trade_off


def write(results: Results, folder: Path) -> None:
    """Write every figure of a grid into a folder, e.g. ``results/quick/figures``.

    ``accuracy-by-spikes.svg``, ``spikes-by-layer.svg``, ``sparsity.svg``, ``hardware.svg``,
    ``pareto.svg``, ``cost.svg`` and ``training-curves.svg`` from the ``curve.csv`` beside each
    record.
    """
    grid, references = results.grid, results.grid.references
    cell_table, hardware_table = cells(results), on_hardware(results)
    curve = trade_off(results, grid.settings["sparsity_tolerance"])
    with matplotlib.rc_context(STYLE):
        for name, figure in {
            "accuracy-by-spikes": accuracy_by_spikes(cell_table, references),
            "spikes-by-layer": spikes_by_layer(layers(results)),
            "sparsity": sparsity(curve, cell_table, references),
            "hardware": hardware(hardware_table, axes_of(grid)),
            "pareto": pareto(hardware_table),
            "cost": cost(steps(results), summary(results, cell_table), references),
            "training-curves": training_curves(curves_of(results.of("networks"))),
        }.items():
            atomic_write(folder / f"{name}.svg", svg(figure))


def curves_of(records: Sequence[Record]) -> pd.DataFrame:
    """Return a row for each network and epoch, from the files beside the records.

    A curve that was changed since it was made is left out.
    """
    columns = ["dataset", "model", "method", "seed", "epoch", "validation_accuracy"]
    rows = []
    for record in records:
        folder = Cell(**record.ids).folder
        if _is_whole(folder):
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
