"""The spikes of a grid's networks, for the figures that show them."""

import sys
from collections.abc import Iterator

from ttfs.config import Cell
from ttfs.errors import UserError
from ttfs.results.figures.spikes import Spikes
from ttfs.results.frame import Results, best, cells, summary, timed
from ttfs.results.record import WEIGHTS

MOST_NETWORKS = 4
ITEMS = 256
"""Test items in the histograms; the raster shows the first of them."""


def spikes(results: Results) -> list[Spikes]:
    """Return the spikes of the most accurate TTFS network of each data set and model whose weights
    are here, of its first seed.
    """
    found = []
    for cell in list(_chosen(results))[:MOST_NETWORKS]:
        try:
            found.append(_observed(cell))
        except UserError as error:  # records can be drawn where the data are not at hand
            print(f"no figure of the spikes of {cell.name}: {error}", file=sys.stderr)
    return found


def _chosen(results: Results) -> Iterator[Cell]:
    table = summary(results, cells(results))
    for (dataset, model), block in table[timed(table)].groupby(["dataset", "model"], sort=False):
        chosen = best(block)
        if chosen is None:
            continue
        for seed in results.grid.settings["seeds"]:
            cell = Cell(dataset, model, str(chosen["method"]), seed)
            if cell.name not in results.stale and (cell.folder / WEIGHTS).exists():
                yield cell
                break


def _observed(cell: Cell) -> Spikes:
    import torch

    from ttfs.stages.load import load

    run = load(cell.folder)
    images, labels = next(iter(run.data.test.batches(ITEMS)))
    with torch.no_grad():
        times = run.network.spike_times(images)
        answer = int(run.network(images[:1]).argmax(1))
    return Spikes(
        f"{cell.dataset}, {cell.model}: {cell.method}",
        f"class {int(labels[0])}, answer {answer}",
        {name: t.flatten(1).numpy() for name, t in times.items()},
        run.network.windows,
    )
