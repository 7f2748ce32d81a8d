"""The tags of our runs, and the names that MLflow takes."""

import re

from ttfs.files import checksum

CELL = "ttfs.cell"
"""The cell, or group of cells, that a run is about. Runs without this tag are not ours."""
DIGEST = "ttfs.digest"
"""Checksum of all of a run's content; it comes last, so a run without it is not complete."""
RECORD, CURVE = "ttfs.record", "ttfs.curve"
"""Checksums of the record and of the training curve."""
LEVEL, STATE = "ttfs.level", "ttfs.state"

MEAN, SEED, CHIP_MEAN, CHIP = "network mean", "network seed", "chip mean", "chip seed"
"""Levels: a method and one seed of it; the same on hardware."""
STUDY, GRID = "study", "grid"
"""More levels: a study; the tables and figures of the grid."""
CURRENT, SUPERSEDED, UNLISTED, LIVE, KILLED = (
    "current", "superseded", "unlisted", "live", "killed",
)  # fmt: skip
"""States. A superseded run has a newer one of its cell; the grid lists no cell of an unlisted one,
or the cell has no record.
"""
STALE = "ttfs.out_of_date"
"""Of a current run whose record is not of today's configuration, code or data: why; else "no"."""
PARENT, NOTE = "mlflow.parentRunId", "mlflow.note.content"
COMMIT = "mlflow.source.git.commit"
LONGEST = 250
"""MLflow's limit for names of metrics and parameters."""


def allowed(name: str) -> str:
    """Return the name of a metric or a parameter with the signs that MLflow takes, letters, digits,
    and those of "_-.:/ "; one that is changed ends in a checksum of its own.

    >>> allowed("dataset.keys.kind"), allowed("dataset.keys.price ($)")
    ('dataset.keys.kind', 'dataset.keys.price ___-5101658f')
    """
    parts = re.sub(r"[^\w\-.:/ ]", "_", name).split("/")
    clean = "/".join("_" if part in ("", ".", "..") else part for part in parts)
    if clean == name and len(name) <= LONGEST:
        return name
    return f"{clean[: LONGEST - 9]}-{checksum(name.encode())[:8]}"
