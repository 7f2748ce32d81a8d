"""Tables of records for tests, below data/ of the working directory, and data sets made of them."""

import lzma
from pathlib import Path

import pytest
from kit.data import shipped

from ttfs.data import load
from ttfs.errors import UserError

INFORMED = shipped("files")["encoding"]["correlative"] | {"weights": "mutual-information"}
ENCODINGS = {
    "one-hot": "one-hot",
    "equal": shipped("files")["encoding"],
    "informed": {"correlative": INFORMED | {"neurons_per_member": 1}},
}


def write(table: dict, path: Path) -> None:
    rows = [",".join(row) for row in (tuple(table), *zip(*table.values(), strict=True))]
    text = "\n".join(rows) + "\n"
    path.write_bytes(lzma.compress(text.encode()) if path.suffix == ".xz" else text.encode())


def made(name: str = "made.csv", **changes) -> dict:
    """Return the config of a data set of that table."""
    return shipped("files") | {"source": {"table": name}} | changes


def fault(**changes) -> str:
    """Return what loading the data set complains of."""
    with pytest.raises(UserError) as caught:
        load(made(**changes), "made.yaml")
    assert "\n" not in str(caught.value)
    return str(caught.value)
