"""trial: each model of a grid with each method, before anything is trained."""

import sys
from collections.abc import Iterator

import torch
from torch import nn

from ttfs.config import Grid
from ttfs.errors import UserError
from ttfs.models import build


def trial(grid: Grid) -> int:
    """Build each model for each data set, with random weights, and try each method on it.

    Prints a line for each pair that cannot work. Returns the exit status: 2 where there is one.
    """
    faults = list(dict.fromkeys(_faults(grid)))
    for fault in faults:
        print(f"error: {fault}", file=sys.stderr)
    return 2 if faults else 0


def _faults(grid: Grid) -> Iterator[str]:
    tried: dict[tuple[str, str], nn.Module | None] = {}
    for cell in grid.cells:
        kind = grid.kind(cell.method)
        if not kind.uses_model:
            continue
        place = (cell.dataset, cell.model)
        shape = tuple(grid.datasets[cell.dataset].config["shape"])
        if place not in tried:
            tried[place] = None
            try:
                tried[place] = _network(grid, cell.model, shape, cell.dataset)
            except UserError as error:
                yield f"{cell.dataset}: {error}"
        network = tried[place]
        if network is None:
            continue
        try:
            kind.try_out(network, torch.rand(2, *shape))
        except UserError as error:
            yield f"{cell.dataset}, model '{cell.model}', method '{cell.method}': {error}"


def _network(grid: Grid, model: str, shape: tuple[int, ...], dataset: str) -> nn.Module:
    torch.manual_seed(0)
    return build(grid.models[model].config, shape, grid.datasets[dataset].config["classes"]).eval()
