"""Where data are looked for. Imports the standard library alone."""

import os
from importlib.util import find_spec
from pathlib import Path

from ttfs.errors import UserError

DATA = Path("data")
ARCHIVES = (".tar.xz", ".tar.gz", ".tgz", ".tar")
BUNDLED = {"digits": ("sklearn", "datasets", "data", "digits.csv.gz")}
"""Package and path in it of the sets that come with an installed package."""


def places() -> list[Path]:
    """Return the folders to look in: TTFS_DATA (only ever read) where it is set, then data/."""
    at_hand = os.environ.get("TTFS_DATA")
    if at_hand and not Path(at_hand).is_dir():
        raise UserError(
            f"TTFS_DATA={at_hand}: no such folder; name the one that holds the data, or unset it"
        )
    return [Path(at_hand), DATA] if at_hand else [DATA]


def listed() -> str:
    """Return the places as messages name them, and how to name another one."""
    found = " or ".join(str(place.absolute()) for place in places())
    return f"{found}, or set TTFS_DATA to the folder that holds it"


def find(name: str) -> Path | None:
    """Return the file or folder of that name in the first place that has it.

    An absolute path is found as it is.
    """
    try:
        return next((place / name for place in places() if (place / name).exists()), None)
    except OSError as error:
        raise UserError(
            f"{name!a}: cannot be looked for ({error.strerror}); give it another name"
        ) from None


def find_archive(name: str) -> Path | None:
    """Return the archive of a folder of that name in the first place that has one."""
    return next((found for suffix in ARCHIVES if (found := find(name + suffix))), None)


def find_bundled(name: str) -> Path | None:
    """Return the file of a set that comes with an installed package."""
    package, *path = BUNDLED[name]
    spec = find_spec(package)  # which does not import it: that takes as long as importing torch
    if spec is None or not spec.submodule_search_locations:
        return None
    file = Path(spec.submodule_search_locations[0], *path)
    return file if file.is_file() else None
