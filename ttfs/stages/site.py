"""site: the published grids as pages, and one page that gathers them."""

import os
import sys
from pathlib import Path

from ttfs.config import RESULTS, load_grid
from ttfs.config.read import grid_path
from ttfs.errors import UserError
from ttfs.results import figures, page
from ttfs.results.frame import Results, collect
from ttfs.stages.lookup import PUBLISHED

SITE = RESULTS / "site"


def site() -> int:
    """Write results/site/ from results/published/, without training and without networks."""
    gathered = [published(path) for path in published_grids()]
    for results in gathered:
        folder = SITE / results.grid.name
        figures.write(results, folder / "figures")
        page.write(results, folder, _store(folder))
    page.write_site(gathered, SITE, _store(SITE))
    print(f"{SITE}/index.html: {len(gathered)} grids")
    return 0


def published_grids() -> list[Path]:
    """Return the grid files of all that is published; one that is not there is left out, with a
    warning. Raises UserError without any.
    """
    names = sorted(path.parent.name for path in PUBLISHED.glob("*/tables"))
    found = [Path("configs", f"{name}.yaml") for name in names]
    for path in [path for path in found if not grid_path(path).is_file()]:
        print(
            f"warning: {path}: no such file; {PUBLISHED / path.stem} is left out", file=sys.stderr
        )
        found.remove(path)
    if not found:
        raise UserError(f"{PUBLISHED}: holds no published grid; run `ttfs archive <grid>` first")
    return found


def published(path: Path) -> Results:
    """Return the published records of a grid."""
    return collect(load_grid(path), PUBLISHED / "cells")


def _store(folder: Path) -> str:
    return os.path.relpath(PUBLISHED / "cells", folder)
