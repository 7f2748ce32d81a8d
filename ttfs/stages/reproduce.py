"""reproduce: the numbers of a record made again, in an empty folder."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ttfs.config import STORE, Cell, Grid, Stage, Study
from ttfs.errors import UserError
from ttfs.results.record import FAILURE, RECORD, Record, read
from ttfs.results.state import difference
from ttfs.stages.compare import SHOWN, differing, origin
from ttfs.stages.lookup import one, stage_of
from ttfs.stages.process import RUN, handed_on
from ttfs.stages.server import SERVER

SHARED = ("configs", "methods", "data")
"""Folders of the working directory that are seen from the empty one, too."""


def reproduce(grid: Grid, cell: str) -> int:
    """Make a cell, and all that it starts from, anew in a temporary folder; print whether each
    number is the record's, bit for bit. Return 0 if all are, 1 if not.
    """
    wanted, found = one(cell), grid.find(cell)
    if wanted.error is not None:
        raise UserError(f"{cell}: its record is of a failure ({wanted.error}); run it first")
    with handed_on(_end), tempfile.TemporaryDirectory(prefix="ttfs-") as place:
        for name in SHARED:
            if Path(name).is_dir():
                (Path(place) / name).symlink_to(Path(name).resolve())
        for stage, network in stages(grid, found):
            print(f"{stage} {network.name}", file=sys.stderr)
            _run(Path(place), stage, str(Path(grid.file).resolve()), network.name)
        again = read(Path(place) / STORE / cell / RECORD)
    return _say(wanted, again)


def _end(number: int) -> None:
    """End by a signal as by an error: the temporary folder is removed."""
    sys.exit(128 + number)


def stages(grid: Grid, cell: Cell | Study) -> Iterator[tuple[Stage, Cell | Study]]:
    """Yield the stages of a cell, those of what it starts from first."""
    if not isinstance(cell, Study):
        networks = [cell.network]
        while (source := grid.source(networks[0])) is not None:
            networks.insert(0, source)
        yield from (("make", network) for network in networks)
    yield stage_of(cell), cell


def _run(place: Path, stage: str, grid: str, cell: str) -> None:
    environment = {key: value for key, value in os.environ.items() if key not in (SERVER, RUN)}
    environment["MLFLOW_TRACKING_URI"] = f"sqlite:///{place}/mlflow.db"
    given = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    path = [Path.cwd(), Path(__file__).parents[2], *map(os.path.abspath, given)]
    environment["PYTHONPATH"] = os.pathsep.join(map(str, path))  # modules of models lie here
    if environment.get("TTFS_DATA"):
        environment["TTFS_DATA"] = str(Path(environment["TTFS_DATA"]).resolve())
    command = [sys.executable, "-m", "ttfs", stage, grid, cell]
    with subprocess.Popen(
        command, cwd=place, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True,
    ) as child:  # fmt: skip
        try:
            said, _ = child.communicate()
        except BaseException:
            child.terminate()  # and the block waits for it: nobody writes there any more
            raise
    if child.returncode != 0:
        failure = place / STORE / cell / FAILURE
        last = said.strip().rpartition("\n")[2]
        reason = read(failure).error if failure.exists() else f"{stage}: {last}"
        raise UserError(f"{cell}, made anew: {reason}")


def _say(wanted: Record, again: Record) -> int:
    """Compare the numbers that the record has; code of now may measure more."""
    old, new = wanted.numbers, again.numbers
    count, more = len(old), len(new.keys() - old.keys())
    lines = differing(old, {key: value for key, value in new.items() if key in old})
    for line in lines:
        print(line)
    verdict = f"{len(lines)} of {count} numbers differ" if lines else (
        f"all {count} numbers are the record's, bit for bit"
    )  # fmt: skip
    print(f"{wanted.name}: {verdict}" + (f"; {more} more not in it" if more else ""))
    print(f"origin: {difference(origin(wanted), origin(again), most=SHOWN) or 'equal'}")
    for name, value in again.metrics.items():
        print(f"  {name}: {value!r}")
    return 1 if lines else 0
