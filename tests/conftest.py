"""What all tests share."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def data_at_hand() -> Callable[[str], Path]:
    """Return a function that gives the folder of data at hand, once it is known to hold the set asked for.

    Where TTFS_DATA is unset the test skips and says so; in CI, which sets it, missing data are a failure.
    """

    def find(name: str) -> Path:
        folder = os.environ.get("TTFS_DATA")
        if folder and (Path(folder) / name).exists():
            return Path(folder)
        reason = f"needs {name} in the folder that TTFS_DATA names; TTFS_DATA is {folder or 'unset'}"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)

    return find
