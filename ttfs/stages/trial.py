"""trial: each model of a grid with each method, before anything is trained."""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields

import torch
from torch import nn

from ttfs.config import Cell, Grid
from ttfs.data import load
from ttfs.data.augment import augmentation
from ttfs.data.inputs import Shape
from ttfs.data.tables import is_table
from ttfs.errors import UserError
from ttfs.hardware import Hardware
from ttfs.models import build
from ttfs.stages.memory import Size, check_memory, size_of

ITEMS = 2
"""Random inputs of a trial."""
PROPERTIES = tuple(field.name for field in fields(Hardware))
"""Keys of hardware that are about the chip, not about how it is measured or tuned."""


def trial(grid: Grid) -> int:
    """Build each model for each data set, with random weights, and try each method on it.

    Tables of records are read, so a bad one is said here.
    Prints a line for each pair that cannot work. Returns the exit status: 2 where there is one.
    """
    faults = list(dict.fromkeys(_faults(grid)))
    for fault in faults:
        print(f"error: {fault}", file=sys.stderr)
    return 2 if faults else 0


def _faults(grid: Grid) -> Iterator[str]:
    inputs: dict[str, tuple[Shape, int] | None] = {}
    tried: dict[tuple[str, str], _Model | None] = {}
    for cell in grid.cells:
        if cell.dataset not in inputs:
            inputs[cell.dataset] = None
            try:
                inputs[cell.dataset] = _inputs(grid, cell.dataset)
            except UserError as error:
                yield str(error)
        kind, known = grid.kind(cell.method), inputs[cell.dataset]
        if not kind.uses_model or known is None:
            continue
        place = (cell.dataset, cell.model)
        if place not in tried:
            tried[place] = None
            try:
                tried[place] = _model(grid, cell, *known)
            except UserError as error:
                yield f"{cell.dataset}: {error}"
        model = tried[place]
        if model is None:
            continue
        where = f"{cell.dataset}, model '{cell.model}', method '{cell.method}'"
        try:
            method = grid.make_slice(cell)["method"]
            steps = method.get("steps", 0)
            check_memory(model.size, ITEMS, bool(method.get("train")), where, steps=steps)
        except UserError as error:
            yield str(error)
            continue
        try:
            kind.try_out(model.network, torch.rand(ITEMS, *model.shape))
        except UserError as error:
            yield f"{where}: {error}"
    for name, chip in grid.hardware.items():
        try:
            Hardware(**{key: chip.config[key] for key in PROPERTIES if key in chip.config})
        except UserError as error:
            yield f"hardware '{name}': {str(error).removeprefix('hardware: ')}"
    yield from _misfits(grid, {name: known[0] for name, known in inputs.items() if known})


def _misfits(grid: Grid, shapes: Mapping[str, Shape]) -> Iterator[str]:
    """Faults of the augmentations of trainings, and of fine-tunings on chips."""
    trainings = [(f"method '{c.method}'", c, grid.make_slice(c)["method"]) for c in grid.cells]
    tunings = [(f"hardware '{c.hardware}'", c, grid.deploy_slice(c)) for c in grid.deployments]
    for what, cell, content in (*trainings, *tunings):
        if content.get("train") and cell.dataset in shapes:
            where = f"{cell.dataset}, {what}: key 'augment'"
            try:
                augmentation(content["train"]["augment"], shapes[cell.dataset], where)
            except UserError as error:
                yield str(error)


def _inputs(grid: Grid, dataset: str) -> tuple[Shape, int]:
    """Return the shape of an input and the number of classes; a table has to be read for them."""
    config = grid.datasets[dataset].config
    if not is_table(config):
        return tuple(config["shape"]), config["classes"]
    data = load(config, f"configs/datasets/{config['id']}.yaml")
    return data.shape, data.classes


@dataclass(frozen=True)
class _Model:
    """A network of the grid with random weights, its size, and the shape of its inputs."""

    network: nn.Module
    size: Size | None
    shape: Shape


def _model(grid: Grid, cell: Cell, shape: Shape, classes: int) -> _Model:
    config = grid.models[cell.model].config
    size = size_of(config, shape, classes)
    check_memory(size, ITEMS, False, f"model '{cell.model}'")  # before it is built
    torch.manual_seed(0)
    return _Model(build(config, shape, classes).eval(), size, shape)
