"""reproduce: the numbers of a record made again, in an empty folder."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ttfs.config import STORE, Cell, Grid, Study
from ttfs.errors import UserError
from ttfs.results.record import FAILURE, RECORD, Record, read
from ttfs.stages.compare import differing
from ttfs.stages.lookup import one
from ttfs.stages.process import RUN
from ttfs.stages.server import SERVER

SHARED = ("configs", "methods", "data")
"""Folders of the working directory that are seen from the empty one, too."""


def reproduce(grid: Grid, cell: str) -> int:
    """Make a cell, and all that it starts from, anew in a temporary folder; print whether each
    number is the record's, bit for bit. Return 0 if all are, 1 if not.
    """
    wanted, found = one(cell), grid.find(cell)
    commits = {part.git_commit for part in wanted.provenance.values()}
    with tempfile.TemporaryDirectory(prefix="ttfs-") as place:
        for name in SHARED:
            if Path(name).is_dir():
                (Path(place) / name).symlink_to(Path(name).resolve())
        for stage, network in _stages(grid, found):
            print(f"{stage} {network.name}", file=sys.stderr)
            _run(Path(place), stage, str(Path(grid.file).resolve()), network.name)
        again = read(Path(place) / STORE / cell / RECORD)
    return _say(wanted, again, commits)


def _stages(grid: Grid, cell: Cell | Study) -> Iterator[tuple[str, Cell | Study]]:
    """The stages of a cell, those of what it starts from first."""
    if isinstance(cell, Study):
        yield "study", cell
        return
    networks = [cell.network]
    while (source := grid.source(networks[0])) is not None:
        networks.insert(0, source)
    yield from (("make", network) for network in networks)
    yield ("deploy" if cell.hardware else "evaluate"), cell


def _run(place: Path, stage: str, grid: str, cell: str) -> None:
    environment = {key: value for key, value in os.environ.items() if key not in (SERVER, RUN)}
    environment["MLFLOW_TRACKING_URI"] = f"sqlite:///{place}/mlflow.db"
    given = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    path = [Path.cwd(), Path(__file__).parents[2], *map(os.path.abspath, given)]
    environment["PYTHONPATH"] = os.pathsep.join(map(str, path))  # modules of models lie here
    if environment.get("TTFS_DATA"):
        environment["TTFS_DATA"] = str(Path(environment["TTFS_DATA"]).resolve())
    command = [sys.executable, "-m", "ttfs", stage, grid, cell]
    done = subprocess.run(
        command, cwd=place, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True,
    )  # fmt: skip
    if done.returncode != 0:
        failure = place / STORE / cell / FAILURE
        last = done.stdout.strip().rpartition("\n")[2]
        reason = read(failure).error if failure.exists() else f"{stage}: {last}"
        raise UserError(f"{cell}, made anew: {reason}")


def _say(wanted: Record, again: Record, commits: set[str | None]) -> int:
    lines = differing(wanted, again)
    for line in lines:
        print(line)
    here = {part.git_commit for part in again.provenance.values()}
    other = "" if commits == here else f"; the record is of commit {', '.join(map(str, commits))}"
    verdict = f"{len(lines)} of {len(wanted.rows)} numbers differ" if lines else (
        f"all {len(wanted.rows)} numbers are the record's, bit for bit"
    )  # fmt: skip
    print(f"{wanted.name}: {verdict}{other}")
    for name, value in again.metrics.items():
        print(f"  {name}: {value!r}")
    return 1 if lines else 0
