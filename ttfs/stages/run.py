"""run: a grid, from any folder, by Snakemake."""

import json
import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from ttfs.config import SHIPPED, load_grid
from ttfs.errors import UserError

VERBOSE = ("-v", "--verbose")
"""Ask for all that Snakemake says; alone it would take the first for its version."""


def run(grid: Path, rest: Sequence[str], verbose: bool = False) -> int:
    """Run all of a grid that is not up to date; results land in the working directory.

    This process becomes Snakemake, with the shipped workflow and profile; `rest` are further
    options of it, or targets, but for those of `VERBOSE`.
    """
    if find_spec("snakemake") is None:
        raise UserError(
            "run needs the workflow's packages; install them with: pip install 'ttfs[bench]'"
        )
    load_grid(grid)  # a fault is said before Snakemake starts
    command = [sys.executable, "-m", "snakemake"]
    command += ["--snakefile", str(SHIPPED / "workflow" / "checked.smk")]
    command += ["--workflow-profile", str(SHIPPED / "profiles" / "default")]
    command += [word for word in rest if word not in (*VERBOSE, "--")]
    # A text, whatever it looks like: Snakemake strips quotes that no blank is around.
    command += ["--config", f"grid= {json.dumps(str(grid), ensure_ascii=False)} "]
    if verbose or set(VERBOSE) & set(rest):
        command += ["--quiet", "host"]
    sys.stdout.flush()
    os.execv(sys.executable, command)
