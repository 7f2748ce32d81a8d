"""The command line: one verb a stage. `snakemake all` calls the verbs, and users may too.

Verbs import their modules when they are called: `--help` is quick, evaluation loads no trainer.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from io import TextIOWrapper
from pathlib import Path

from ttfs.errors import guarded

OF_A_CELL = {
    "make": "build or convert a network, and train it: made.json, weights.pt, curve.csv",
    "evaluate": "measure a network on the whole test split, and check it: record.json",
    "deploy": "put a network onto its hardware, as mapped or fine-tuned: record.json",
    "study": "compare how the networks of one initial draw learn: table.csv, record.json",
}
OF_A_GRID = {
    "check": "check a grid and every file that it names, and list its cells",
    "trial": "try each model of a grid with each method, before anything is trained",
    "tables": "write the tables of a grid from its records",
    "figures": "draw the figures of a grid from its records",
    "page": "write the page of a grid, one HTML file, from its records and figures",
    "publish": "make the MLflow store agree with the records of a grid",
    "archive": "copy the records and tables of a grid to results/published/, for git",
    "show": "print the summary of a grid, filtered and sorted, as Markdown, CSV, LaTeX or JSON",
    "why": "say what the next run will do, and why",
    "browse": "open MLflow's page on the runs of a grid",
}
DEFAULT_GRID = Path("configs/quick.yaml")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb; return the exit status: 0, 2 for an error that the user can correct, 1 for a
    fault of the program.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal may lack ± and →
    options = _parser().parse_args(arguments)
    return guarded(lambda: options.run(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ttfs", description=(__doc__ or "").split("\n")[0])
    verbs = parser.add_subparsers(title="verbs", metavar="verb", required=True)

    def verb(
        name: str, help: str, run: Callable[[argparse.Namespace], int]
    ) -> argparse.ArgumentParser:
        added = verbs.add_parser(name, help=help, description=help)
        added.set_defaults(run=run, verb=name)
        return added

    added = verb("run", "run a grid: all that is not up to date", _run)
    added.add_argument(
        "grid", type=Path, nargs="?", default=DEFAULT_GRID, help="a grid file (%(default)s)"
    )
    added.add_argument("rest", nargs=argparse.REMAINDER, help="further options of snakemake")
    added.add_argument("-v", "--verbose", action="store_true", help="all that Snakemake says, too")
    added = verb(
        "serve",
        "keep torch imported for the stages of a run, listed on standard input",
        _serve,
    )
    added.add_argument("socket", help="path of the socket")
    added.add_argument("process", type=int, help="process of the run, with which it ends")
    added.add_argument("grid", type=Path, help="the grid file of the run")
    added = verb("init", "copy a grid and a data set's file to configs/, to start from", _init)
    added.add_argument("name", nargs="?", default="my-grid", help="name of the grid (%(default)s)")
    verb("site", "gather the published grids into results/site/, a page for each and one for all",
         _site)  # fmt: skip
    added = verb("compare", "say how two records, cells, grids or commits differ", _compare)
    for name in ("first", "second"):
        added.add_argument(name, help="a record's file or folder, a cell, a grid, or a commit")
    added = verb("explain", "say where a number comes from, and how to make it again", _explain)
    added.add_argument("what", help="a record's file or folder, a cell, or a number")
    for name, help in OF_A_CELL.items():
        _add_cell(verb(name, help, _on_cell))
    help = "make a cell anew in an empty folder, and compare its numbers bit for bit"
    _add_cell(verb("reproduce", help, _on_grid))
    for name, help in OF_A_GRID.items():
        added = verb(name, help, _on_grid)
        added.add_argument(
            "grid", type=Path, nargs="?", default=DEFAULT_GRID, help="a grid file (%(default)s)"
        )
        if name == "show":
            _add_filters(added)
        if name == "why":
            added.add_argument("cell", nargs="?", default="", help="of this cell alone")
        if name == "browse":
            _add_places(added)
        if name == "check":
            added.add_argument(
                "--results", action="store_true", help="compare results with their checksums"
            )
        if name == "archive":
            added.add_argument(
                "--mixed",
                action="store_true",
                help="also records of different code or a dirty tree",
            )
    return parser


def _add_cell(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("grid", type=Path, help="a grid file")
    parser.add_argument("cell", help="name of the cell, as `check` lists them")


def _add_places(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--published", action="store_true", help="the published results, as a page")
    parser.add_argument("--no-open", action="store_true", help="print the link, open no browser")
    parser.add_argument("--port", type=int, default=5000, help="of the server (%(default)s)")


def _add_filters(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dataset", default="", help="data sets whose id contains this")
    parser.add_argument("--method", default="", help="methods whose id contains this")
    parser.add_argument(
        "--metric", dest="metrics", action="append", default=[], help="a column; again for more"
    )
    parser.add_argument(
        "--best", default="", metavar="METRIC", help="the best of each data set and model"
    )
    parser.add_argument("--under", default="", metavar="METRIC=VALUE", help="at most this")
    parser.add_argument("--format", choices=("md", "csv", "latex", "json"), default="md")


def _on_cell(options: argparse.Namespace) -> int:
    from ttfs.stages.process import supervise

    return supervise(options.verb, options.grid, options.cell)


def _on_grid(options: argparse.Namespace) -> int:
    from ttfs.stages.process import VIEWS, on_grid, run_verb

    if options.verb in VIEWS:
        return on_grid(options.verb, options.grid)
    known = ("verb", "run", "grid")
    extra = {key: value for key, value in vars(options).items() if key not in known}
    return run_verb(options.verb, options.grid, **extra)


def _run(options: argparse.Namespace) -> int:
    from ttfs.stages.run import run

    return run(options.grid, options.rest, options.verbose)


def _serve(options: argparse.Namespace) -> int:
    from ttfs.stages.progress import Due
    from ttfs.stages.server import serve

    due = [Due(*line.split()) for line in sys.stdin]
    serve(options.socket, options.process, due, options.grid)
    return 0


def _init(options: argparse.Namespace) -> int:
    from ttfs.stages.init import init

    return init(options.name)


def _compare(options: argparse.Namespace) -> int:
    from ttfs.stages.compare import compare

    return compare(options.first, options.second)


def _explain(options: argparse.Namespace) -> int:
    from ttfs.stages.explain import explain

    return explain(options.what)


def _site(options: argparse.Namespace) -> int:
    from ttfs.stages.site import site

    return site()


if __name__ == "__main__":
    sys.exit(main())
