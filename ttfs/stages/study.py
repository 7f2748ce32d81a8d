"""study: a table and a figure on how the four networks of one initial draw learn."""

import sys

import torch

from ttfs.config import Grid, kind_of
from ttfs.data import load
from ttfs.errors import UserError
from ttfs.results.records import atomic_write
from ttfs.studies import STUDIES, draw


def study(grid: Grid, name: str) -> None:
    """Write results/<grid>/studies/<name>.csv and .svg; the figure is made from the table alone.

    A study runs on the CPU, whatever the grid's device: it is about the last digits.
    """
    if name not in grid.studies:
        raise UserError(f"grid {grid.name} has no study {name!r}; its own are: {', '.join(grid.studies) or 'none'}")
    torch.set_num_threads(grid.settings["threads"])
    torch.set_flush_denormal(True)  # moments of idle weights sink below 1e-38, where processors are many times slower
    kind = kind_of(grid.studies[name])
    config, place = grid.studies[name][kind], grid.folder / "studies" / name
    data = load(config["dataset"] | {"augment": None}, f"configs/datasets/{config['dataset']['id']}.yaml")

    def say(text: str) -> None:
        print(f"[{grid.name}/{name}] {text}", file=sys.stderr, flush=True)

    table = STUDIES[kind](config, data, say).to_csv(index=False, float_format="%.8g", lineterminator="\n")
    atomic_write(place.with_suffix(".csv"), table)
    atomic_write(place.with_suffix(".svg"), draw(kind, grid.studies[name]["title"], table))
