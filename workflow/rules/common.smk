"""The grid, and the helpers that all rules share."""

import fcntl
import sys
from pathlib import Path
from shlex import quote

from ttfs.config import CONFIGS, Cell, kind_of, load_grid, shorten
from ttfs.digest import code_digest, stage_digest
from ttfs.errors import UserError

TTFS = f"OMP_NUM_THREADS={{threads}} {quote(sys.executable)} -m ttfs"
CELL = "results/{grid}/{dataset}/{model}/seed{seed}/{method}"
DEPLOYED = f"{CELL}/hardware/{{hardware}}"
STUDY = "results/{grid}/studies/{study}"


def read_grid():
    unknown = sorted(set(config) - {"grid"})
    if unknown:
        raise UserError(f"--config {unknown[0]}: the workflow takes only grid=<file>; settings belong in that file")
    path = str(config.get("grid", "configs/quick.yaml"))
    grid = load_grid(path)
    for folder in (grid.folder.parent, grid.folder):
        if folder.is_file():
            raise UserError(f"{folder}: a file is where the results go; move it away")
    return path, grid


try:
    GRID_FILE, GRID = read_grid()
except UserError as error:
    sys.exit(f"error: {error}")


wildcard_constraints:
    grid=GRID.name,
    dataset="|".join(GRID.datasets),
    model="|".join(GRID.models),
    seed="[0-9]+",
    method="|".join(GRID.methods),
    hardware="|".join(GRID.hardware) or "none",


def cell_of(wildcards):
    return Cell(GRID.name, wildcards.dataset, wildcards.model, int(wildcards.seed), wildcards.method)


def digest_of(stage):
    """Parameter that re-runs a job when its stage's code or slice of the configuration changes."""
    return lambda wildcards: stage_digest(stage, GRID.slice(stage, cell_of(wildcards)))


def methods_of(*stages):
    """Pattern of the methods whose cells these stages make."""
    return "|".join(name for name in GRID.methods if GRID.stages(name) == stages) or "none"


def digest_on_hardware(wildcards):
    return stage_digest("sweep", GRID.hardware_slice(cell_of(wildcards), wildcards.hardware))


def digest_of_study(wildcards):
    return stage_digest("study", GRID.study_slice(wildcards.study))


def studies_of(kind):
    """Pattern of the studies of a kind."""
    return "|".join(name for name, study in GRID.studies.items() if kind_of(study) == kind) or "none"


def source_weights(wildcards):
    source = GRID.source(cell_of(wildcards))
    return [] if source is None else source.folder / "weights.pt"


def all_records(wildcards):
    return [cell.folder / "record.json" for cell in GRID.cells()] + [
        cell.hardware_folder(hardware) / "record.json" for cell, hardware in GRID.deployments()
    ]


def networks():
    """Names of all that tables are about: a change of the grid makes them anew."""
    return [cell.name for cell in GRID.cells()] + [f"{cell.name} on {name}" for cell, name in GRID.deployments()]


def all_studies(wildcards):
    return [GRID.folder / "studies" / f"{name}.svg" for name in GRID.studies]


LOCK = None


def lock_results():
    """Let one run at a time write to a grid's results. The lock ends with the process, however that ends."""
    global LOCK
    try:
        GRID.folder.mkdir(parents=True, exist_ok=True)
        LOCK = open(GRID.folder / ".lock", "w")
        fcntl.flock(LOCK, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(f"error: {GRID.folder}: another run writes there; wait for it or stop it")
    except OSError as error:
        sys.exit(f"error: {GRID.folder}: cannot be written ({error.strerror}); make the folder writable")


onstart:
    lock_results()


# What did succeed is worth a table, and what did not is shown in it.
onerror:
    for verb in ("tables", "figures", "publish"):
        shell(f"{quote(sys.executable)} -m ttfs {verb} {quote(GRID_FILE)} || true")
