"""The command line: one verb a stage. `snakemake all` calls these; so can you.

Verbs import what they need when they are called, so that `--help` is quick and evaluation loads no trainer.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from ttfs.config import load_grid
from ttfs.errors import UserError

OF_A_CELL = {
    "train": "learn a network: weights.pt, curve.csv, record.json",
    "convert": "map a trained ReLU network exactly to a TTFS network: weights.pt",
    "verify": "hold a TTFS network against its ReLU network and the event-driven simulator: record.json",
}
SWEEP = "put a TTFS network on hardware, as mapped and fine-tuned: hardware/<id>/record.json"
OF_A_GRID = {
    "check": "check a grid and every file it names, and list its cells",
    "tables": "write the tables of a grid from its records",
    "figures": "draw the figures of a grid from its records",
    "publish": "make the MLflow store agree with the records of a grid",
    "keep": "copy the records and tables of a grid to results/published/, for git",
}
STUDY = "compare how the networks of one initial draw learn: studies/<id>.csv, .svg"
DEFAULT_GRID = Path("configs/quick.yaml")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb; return the exit status: 0, 2 for what the user can mend, 1 for a fault of the program."""
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ttfs", description=__doc__.split("\n")[0])
    verbs = parser.add_subparsers(title="verbs", metavar="verb", required=True)

    def verb(name: str, help: str, run: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
        added = verbs.add_parser(name, help=help, description=help)
        added.set_defaults(run=run, verb=name)
        return added

    for name, help in OF_A_CELL.items():
        added = verb(name, help, _on_cell)
        added.add_argument("grid", type=Path, help="a grid file")
        added.add_argument("cell", help="<dataset>/<model>/seed<k>/<method>, as `check` lists them")
    added = verb("sweep", SWEEP, _on_hardware)
    added.add_argument("grid", type=Path, help="a grid file")
    added.add_argument("cell", help="<dataset>/<model>/seed<k>/<method>, as `check` lists them")
    added.add_argument("hardware", help="the id of a hardware that the grid names")
    added = verb("study", STUDY, _on_study)
    added.add_argument("grid", type=Path, help="a grid file")
    added.add_argument("study", help="the id of a study that the grid names")
    for name, help in OF_A_GRID.items():
        added = verb(name, help, _check if name == "check" else _on_grid)
        added.add_argument("grid", type=Path, nargs="?", default=DEFAULT_GRID, help="a grid file (%(default)s)")
    return parser


def _check(options: argparse.Namespace) -> int:
    for cell in load_grid(options.grid).cells():
        print(cell.name)
    return 0


def _on_cell(options: argparse.Namespace) -> int:
    from ttfs.stages._job import run

    return run(options.verb, _stage(options.verb), options.grid, options.cell)


def _on_hardware(options: argparse.Namespace) -> int:
    from ttfs.stages._job import run

    return run(options.verb, _stage(options.verb), options.grid, options.cell, options.hardware)


def _on_study(options: argparse.Namespace) -> int:
    _stage("study")(load_grid(options.grid), options.study)
    return 0


def _on_grid(options: argparse.Namespace) -> int:
    _stage(options.verb)(load_grid(options.grid))
    return 0


def _stage(verb: str) -> Callable:
    return getattr(import_module(f"ttfs.stages.{verb}"), verb)


if __name__ == "__main__":
    sys.exit(main())
