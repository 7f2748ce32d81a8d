"""The stages of one cell: make, evaluate, deploy, study. Each leaves a record, of success or of
failure.
"""

import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ttfs import digest
from ttfs.config import Cell, Grid, Stage, Study, load_grid
from ttfs.errors import UserError
from ttfs.files import atomic_write, is_locked, locked
from ttfs.methods import Job, Task
from ttfs.results.provenance import Provenance
from ttfs.results.record import (
    CURVE,
    MADE,
    WEIGHTS,
    Made,
    Record,
    damaged,
    file_entry,
    read_made,
    write,
)
from ttfs.results.state import Expected, State

if TYPE_CHECKING:
    from ttfs.data import DataSet

LOCK = ".lock"


def run(stage: Stage, grid_file: Path, name: str) -> int:
    """Run a stage on the cell of a name, unless it is current; a failure leaves a record too.

    Returns the exit status: 0, 2 where the user can correct it, 1 where the code is at fault.
    """
    grid = load_grid(grid_file)
    cell = grid.find(name)
    _check_stage(stage, cell)
    with locked(cell.folder / LOCK):
        state = State(grid)
        reason = state.reason(stage, cell)
        job = task(stage, grid, cell)
        if reason is None:
            _forget_trainings(job)
            return 0
        job.say(f"{stage}: {reason}")
        return attempt(lambda: _STAGES[stage](job, state.expected), job, state.expected, grid_file)


def attempt(
    work: Callable[[], "Record | Made"], job: Task, expected: Expected, grid_file: Path
) -> int:
    """Do the work and write its result, if configuration and code are still the same; or the
    failure.
    """
    try:
        _prepare(job)
        wanted = expected.digest(job.stage, job.cell)
        result = work()
        _still_wanted(job, wanted, grid_file)
        if isinstance(result, Made):
            atomic_write(job.folder / MADE, result.to_json())
        else:
            write(result, job.folder)
    except UserError as error:
        job.say(f"error: {error}")
        _fail(job, expected, f"{job.stage}: {error}")
        return 2
    except Exception as error:
        traceback.print_exc()
        _fail(job, expected, f"{job.stage}: {type(error).__name__}: {' '.join(str(error).split())}")
        return 1
    _forget_trainings(job)
    return 0


def _forget_trainings(job: Task) -> None:
    if job.stage in ("make", "deploy"):
        job.forget_trainings()


def task(stage: Stage, grid: Grid, cell: Cell | Study) -> Task:
    """Return the task of a stage on a cell."""
    return Job(stage, grid, cell) if isinstance(cell, Cell) else Task(stage, grid, cell)


def record_death(stage: Stage, grid_file: Path, name: str, cause: str) -> None:
    """Write the failure record of a stage whose process died. Called by its parent, without
    torch.
    """
    grid = load_grid(grid_file)
    job = task(stage, grid, grid.find(name))
    job.say(f"error: {cause}")
    if is_locked(job.folder / LOCK) or State(grid).reason(stage, job.cell) is None:
        return  # somebody else has the cell, or it was finished: a result stays
    _fail(job, Expected(grid), f"{stage}: {cause}")


def _make(job: Job, expected: Expected) -> Made:
    """Make the network, unless only the times of its data's files changed."""
    from ttfs.stages.memory import check_job  # imports torch, which a parent process lacks

    data, stamp = _stamped(lambda: job.data, job, expected)
    source = None
    if job.source is not None:
        made = read_made(job.source.folder)
        reason = damaged(job.source.folder, made.files, MADE, closely=True)
        if reason is not None:
            raise UserError(
                f"{job.source.folder}: {reason}; run the workflow again, which makes it anew"
            )
        source = made.files[WEIGHTS]["sha256"]
    job.start = source
    before = _before(job, source)
    files: Mapping[str, Mapping[str, Any]]
    if before is None:
        check_job(job)
        _make_on_devices(job)
        if CURVE not in job.files:  # that of a training that the cell's method once had
            (job.folder / CURVE).unlink(missing_ok=True)
        files = {name: file_entry(job.folder / name) for name in job.files}
        provenance = _provenance(job)
    else:
        files, provenance = before.files, before.provenance
    return Made(
        ids=job.cell.ids,
        digest=job.digest,
        code=expected.code("make", job.cell),
        config=job.config,
        data=data.digest,
        stamp=stamp,
        source=source,
        files=files,
        provenance=provenance,
    )


def _stamped(
    load: Callable[[], "DataSet"], job: Task, expected: Expected
) -> tuple["DataSet", str | None]:
    """Load the data of a job; return them and their stamp of before, since they may be replaced
    while the job runs: then the next run looks at them.
    """
    stamp = expected.stamp(job.cell)
    data = load()
    return data, stamp or expected.stamp(job.cell)  # they may have been downloaded


def _make_on_devices(job: Job) -> None:
    """Make the network, by a process for each device where there are several."""
    import torch

    from ttfs.stages.ranks import together

    if job.ranks == 1:
        job.kind.make(job)
        return
    found = torch.cuda.device_count()
    if job.device == "cuda" and job.ranks > found:
        raise UserError(
            f"method {job.cell.method}: key 'devices' is {job.ranks}, more than this machine's "
            f"GPUs ({found}); lower it"
        )

    def work(rank: int) -> tuple[list[str], dict[str, Any]]:
        job.rank = rank
        torch.set_num_threads(job.threads)
        if job.device == "cuda":
            torch.cuda.set_device(rank)
        job.kind.make(job)
        return job.files, job.train

    job.files, job.train = together(job.ranks, "nccl" if job.device == "cuda" else "gloo", work)[0]


def _before(job: Job, source: str | None) -> Made | None:
    """The `Made` of before, if the same would be made now."""
    try:
        made = read_made(job.folder)
    except UserError:
        return None
    same = (made.digest, made.source, made.data) == (job.digest, source, job.data.digest)
    return made if same and damaged(job.folder, made.files, MADE, closely=True) is None else None


def _measure(job: Job, expected: Expected) -> Record:
    """Evaluate a network, or put it onto hardware."""
    network = job.cell.network
    made = read_made(network.folder)
    reason = damaged(network.folder, made.files, MADE, closely=True)
    if reason is not None:
        raise UserError(f"{network.folder}: {reason}; run the workflow again, which makes it anew")
    if job.data.digest != made.data:
        # A stamp that no data have: the network is due, whatever the data's stamp says of them.
        atomic_write(network.folder / MADE, replace(made, stamp="").to_json())
        raise UserError(
            f"{network.folder}: made with other data than there are now; run the workflow again"
        )
    job.start = made.files.get(WEIGHTS, {}).get("sha256")
    rows = job.kind.evaluate(job) if job.stage == "evaluate" else job.kind.deploy(job)
    digests = {
        "stage": job.digest,
        "code": expected.code(job.stage, job.cell),
        "data": made.data,
        "weights": job.start,
        "files": {name: file_entry(job.folder / name) for name in job.files},
    }
    provenance: dict[str, Provenance] = {"make": made.provenance, job.stage: _provenance(job)}
    return Record(job.cell.ids, provenance, rows, config=job.config, digests=digests)


def _study(job: Task, expected: Expected) -> Record:
    from ttfs.stages.study import load_data, study

    cell = job.cell
    assert isinstance(cell, Study)
    data, stamp = _stamped(lambda: load_data(job.grid, cell), job, expected)
    rows, files = study(job.grid, cell, data, job.say)
    digests = {
        "stage": job.digest,
        "code": expected.code("study", cell),
        "data": data.digest,
        "stamp": stamp,
        "files": {name: file_entry(job.folder / name) for name in files},
    }
    provenance = {"study": _provenance(job)}
    return Record(cell.ids, provenance, rows, config=job.config, digests=digests)


_STAGES: dict[str, Callable[[Any, Expected], Record | Made]] = {
    "make": _make,
    "evaluate": _measure,
    "deploy": _measure,
    "study": _study,
}


def _prepare(job: Task) -> None:
    import torch

    # Ranks are forks, and a fork hangs where its parent has used threads.
    torch.set_num_threads(job.threads if job.ranks == 1 else 1)
    torch.backends.cudnn.allow_tf32 = False  # float32 is float32 on every device
    torch.set_flush_denormal(
        True
    )  # moments of idle weights sink below 1e-38, where processors are many times slower


def _still_wanted(job: Task, wanted: str, grid_file: Path) -> None:
    """Raise UserError if configuration or code changed while the job ran: the result is out of
    date.
    """
    digest.forget()
    grid = load_grid(grid_file)
    names = {cell.name for cell in grid.every}
    if job.cell.name not in names or Expected(grid).digest(job.stage, job.cell) != wanted:
        raise UserError("its configuration or code changed while it ran; run the workflow again")


def _fail(job: Task, expected: Expected, error: str) -> None:
    digests = {
        "stage": expected.digest(job.stage, job.cell),
        "code": expected.code(job.stage, job.cell),
    }
    provenance: dict[str, Provenance] = {job.stage: _provenance(job)}
    write(
        Record(job.cell.ids, provenance, error=error, config=job.config, digests=digests),
        job.folder,
    )


def _provenance(job: Task) -> Provenance:
    """Device and precision are those that the job asked for, if it came so far."""
    device, train = vars(job).get("device", "cpu"), vars(job).get("train", {})
    passed = time.monotonic() - job.started
    return Provenance.now(device, job.threads, passed, train.get("precision"))


def _check_stage(stage: Stage, cell: Cell | Study) -> None:
    own = (
        ("study",)
        if isinstance(cell, Study)
        else ("deploy",)
        if cell.hardware
        else ("make", "evaluate")
    )
    if stage not in own:
        raise UserError(
            f"{stage}: {cell.name} has no such stage; its stages are: {' and '.join(own)}"
        )
