"""The grid, what of it is due, and the helpers that all rules share.

What is due is decided here, from records, configuration, code and data (`ttfs.results.state`), not
from what Snakemake remembers or from times of files. A job's output is a marker below
results/<grid>/.jobs/ whose name holds the state that the job starts from: it never exists before
the job ran, and Snakemake never touches a result.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from shlex import quote

from ttfs.config import POINT, SHIPPED, STORE, Study, kind_of, load_grid
from ttfs.config.read import grid_path
from ttfs.digest import code_digest, digest_of, files_digest
from ttfs.errors import UserError
from ttfs.files import locked
from ttfs.models.stamp import model_stamp
from ttfs.results.record import FAILURE, RECORD, read, told
from ttfs.results.seen import records_of, seen
from ttfs.results.state import State
from ttfs.stages.process import RUN, this_run
from ttfs.stages.server import SERVER

os.environ.setdefault(RUN, this_run())
TTFS = f"OMP_NUM_THREADS={{threads}} {quote(sys.executable)} -m ttfs"


def read_grid():
    unknown = sorted(set(config) - {"grid"})
    if unknown:
        raise UserError(
            f"--config {unknown[0]}: the workflow takes only grid=<file>; settings belong in that "
            "file"
        )
    path = str(config.get("grid", "configs/quick.yaml") or "")
    if not path:
        raise UserError(
            "--config grid=: names no grid; write --config grid=configs/quick.yaml, say"
        )
    if workflow.resource_settings.cores == 0:
        raise UserError("--cores 0: no job could run; give 1 or more")
    grid = load_grid(path)
    _check_places(grid, path)
    return path, grid


def _check_places(grid, path):
    """Refuse what would stop a run after hours, or mix the results of two grids."""
    folders = {grid.folder / name for name in ("tables", "figures", "logs", ".jobs", ".views")}
    folders |= {cell.folder for cell in grid.every}
    for folder in sorted(folders.union(*(folder.parents for folder in folders))):
        if folder.exists() and not folder.is_dir():
            raise UserError(f"{folder}: a file is where the results go; move it away")
    for folder in (grid.folder.parent, grid.folder, STORE):
        if folder.is_dir() and not os.access(folder, os.W_OK | os.X_OK):
            raise UserError(f"{folder}: cannot be written; make the folder writable")
    named = grid.folder / ".grid"
    before = named.read_text(errors="replace").strip() if named.exists() else ""
    there = before and grid_path(before).exists()
    if there and not grid_path(path).samefile(grid_path(before)):
        raise UserError(f"{grid.folder}: holds the results of {before}; give {path} another name")


try:
    GRID_FILE, GRID = read_grid()
    STATE = State(GRID)
    # A job of a cluster reads this file again: its inputs are there, and it asks for its own cell
    # alone.
    DUE = STATE.due if workflow.is_main_process else {}
except UserError as error:
    sys.exit(f"error: {error}")

TABLES = ("ttfs.results.tables", "ttfs.results.frame", "ttfs.results.sparsity")
FIGURES = (
    "ttfs.results.figures", "ttfs.studies.figures", "ttfs.results.frame", "ttfs.results.sparsity",
)
PAGE = ("ttfs.results.page", "ttfs.results.tables", "ttfs.results.frame")
TEXTS = {"figures": SHIPPED / "workflow" / "report", "page": SHIPPED.parent / "results" / "page"}
"""The folders of what else a view is made from: captions; the page's template, style and script."""
JOBS = f"{GRID.folder}/.jobs"
SEEN = records_of(GRID)
LOGS = f"{GRID.folder}/logs"


wildcard_constraints:
    cell=f"({POINT}/)+{POINT}",
    token="[0-9a-f]{12}",


def token(stage, cell):
    """A name for the state that a job starts from: what is wanted, and the record that is there."""
    path = cell.folder / ("made.json" if stage == "make" else "record.json")
    found = f"{path.stat().st_mtime_ns} {path.stat().st_size}" if path.exists() else "nothing"
    text = f"{STATE.expected.digest(stage, cell)} {found}"
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def marker(stage, cell):
    """The output of a job that is due; nothing for one that is not."""
    return [f"{JOBS}/{stage}/{cell.name}/{token(stage, cell)}"] if (stage, cell) in DUE else []


def source_marker(wildcards):
    """The marker of the network that a cell starts from."""
    source = GRID.source(cell_of(wildcards))
    return [] if source is None else marker("make", source)


def source_name(cell):
    """The name of the cell that a cell's network starts from; nothing where there is none."""
    source = None if isinstance(cell, Study) else GRID.source(cell)
    return "" if source is None else source.name


def cell_of(wildcards):
    return GRID.find(wildcards.cell)


def all_jobs():
    return [marker(stage, cell) for stage, cell in DUE]


def records():
    """The records of what is not due: views are made anew when one is newer than they are."""
    cells = GRID.every
    due = {cell for _, cell in DUE}
    return [cell.folder / "record.json" for cell in cells if cell not in due]


def view_markers(name, *modules):
    """The files that say of which code and configuration a view is, and of which jobs.

    The second is there while something is due, or where the view has seen other records, alone, and
    never before the view was made: Snakemake does not make a missing input for an output that
    exists, so the output has to be missing, too.
    """
    markers = [view_marker(name, *modules)]
    if DUE:
        jobs = "".join(sorted(path for paths in all_jobs() for path in paths))
        markers.append(f"{JOBS}/views/{name}-{digest_of({}, jobs)}")
    elif seen(GRID, name) not in (None, SEEN):
        markers.append(f"{JOBS}/views/{name}-{SEEN}")
    return markers


def view_marker(name, *modules):
    """The file that says of which code, texts and configuration a view is."""
    parts = [code_digest(*modules), *(cell.name for cell in GRID.every)]
    if name in TEXTS:
        parts.append(files_digest(TEXTS[name]))
    content = {"settings": GRID.settings, "published": GRID.published}
    return f"{GRID.folder}/.views/{name}-{digest_of(content, *parts)}"


def shape_of(dataset):
    """What the shape of inputs and logits follows from; of a table, from all that it says of it."""
    return [dataset["shape"], dataset["classes"]] if "shape" in dataset else dataset


def trial_marker():
    """The file that says which models, methods and chips were tried, with which code."""
    content = {
        "datasets": {
            name: [shape_of(v.config), v.config["augment"]] for name, v in GRID.datasets.items()
        },
        "models": {name: [v.config, model_stamp(v.config)] for name, v in GRID.models.items()},
        "methods": {name: v.config for name, v in GRID.methods.items()},
        "hardware": {name: v.config for name, v in GRID.hardware.items()},
        "cells": sorted({f"{cell.dataset} {cell.model} {cell.method}" for cell in GRID.cells}),
    }
    kinds = {method.config["kind"].replace("-", "_") for method in GRID.methods.values()}
    code = code_digest("ttfs.stages.trial", *(f"ttfs.methods.{kind}" for kind in sorted(kinds)))
    return f"{GRID.folder}/.views/trial-{digest_of(content, code)}"


def threads_of(wildcards):
    """The threads of a job, which its method or study sets."""
    cell = cell_of(wildcards)
    if isinstance(cell, Study):
        return GRID.studies[cell.study]["threads"]
    return GRID.methods[cell.method].config.get("threads", 1)


def gpus_of(wildcards):
    """The GPUs that a job asks for: one if its method is to run on a GPU."""
    cell = cell_of(wildcards)
    device = None if isinstance(cell, Study) else GRID.methods[cell.method].config.get("device")
    return int(device == "cuda")


def devices_of(wildcards):
    """The devices that a training uses: each asks for a GPU and threads."""
    return GRID.methods[cell_of(wildcards).method].config.get("devices", 1)


TRIAL = trial_marker()
LOCK = None


def lock_results():
    """Let one run at a time write to a grid's results. The lock ends with the process, however that
    ends.
    """
    global LOCK
    try:
        GRID.folder.mkdir(parents=True, exist_ok=True)
        LOCK = open(GRID.folder / ".lock", "w")
        fcntl.flock(LOCK, fcntl.LOCK_EX | fcntl.LOCK_NB)
        (GRID.folder / ".grid").write_text(f"{GRID_FILE}\n")
        with locked(STORE / ".lock"):  # the store can be written
            pass
    except UserError as error:
        sys.exit(f"error: {error}")
    except BlockingIOError:
        sys.exit(f"error: {GRID.folder}: another run writes there; wait for it or stop it")
    except OSError as error:
        reason = f"cannot be written ({error.strerror}); make the folder writable"
        sys.exit(f"error: {GRID.folder}: {reason}")


def start_server():
    """Start the process that imports torch once for all jobs here; jobs of a cluster do without."""
    path = Path(tempfile.mkdtemp(prefix="ttfs-"), "socket")
    os.environ[SERVER] = str(path)
    words = ["serve", str(path), str(os.getpid()), GRID_FILE]
    server = subprocess.Popen(
        [sys.executable, "-m", "ttfs", *words],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True, text=True,
    )
    with suppress(BrokenPipeError), server.stdin as due:  # without a server, stages run alone
        due.writelines(f"{stage} {cell.name} {source_name(cell)}\n" for stage, cell in DUE)


def tell_results():
    """Print the table, the paths and the failures; of a trial that failed, its findings alone."""
    if not Path(TRIAL).exists() and Path(f"{LOGS}/trial.log").exists():
        print(Path(f"{LOGS}/trial.log").read_text(), file=sys.stderr)
        return
    if Path(f"{GRID.folder}/tables/summary.csv").exists():  # not yet, where --until asked for less
        shell(f"{quote(sys.executable)} -m ttfs show {quote(GRID_FILE)} || true")
    print(f"\npage: {GRID.folder}/index.html; tables and figures beside it", file=sys.stderr)
    # A stage that was killed may have left the failure of before beside its record.
    bad = [cell.folder / FAILURE for cell in GRID.every if not (cell.folder / RECORD).exists()]
    for line in told(read(path) for path in bad if path.exists()):
        print(f"failed: {line}", file=sys.stderr)


def refuse_force():
    """Refuse options that force what records decide: a stage whose record is current does
    nothing.
    """
    asked = workflow.dag_settings
    options = {
        "--touch": workflow.touch,
        "--forceall": asked.forceall,
        "--forcerun": asked.forcerun,
        "--force": asked.forcetargets,
    }
    for option, given in options.items():
        if given:
            instead = "delete a cell's folder to make it anew"
            sys.exit(f"error: {option}: records say what is due (`ttfs why`); {instead}")


onstart:
    refuse_force()
    lock_results()
    print(f"{GRID.name}: {len(DUE)} stages are due; logs in {LOGS}", file=sys.stderr)
    if DUE and workflow.local_exec:
        start_server()


onsuccess:
    shutil.rmtree(JOBS, ignore_errors=True)
    tell_results()


# What did succeed is worth a table, and what did not is shown in it.
onerror:
    if any((cell.folder / name).exists() for cell in GRID.every for name in (RECORD, FAILURE)):
        for verb in ("tables", "figures", "page", "publish"):
            shell(f"{quote(sys.executable)} -m ttfs {verb} {quote(GRID_FILE)} > /dev/null || true")
    tell_results()
