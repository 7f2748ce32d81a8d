"""Fixtures that all tests share."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock
from kit.sandbox import Sandbox


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


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    """A sandbox in which nothing has run."""
    return Sandbox(tmp_path / "sandbox").build()


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    """A sandbox in which the tiny grid has finished, one for all test processes. To look at, not to change."""
    root = tmp_path_factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root
    sandbox, log = Sandbox(root / "finished"), root / "finished.log"
    with FileLock(root / "finished.lock"):
        if not log.exists():
            status, said = sandbox.build().run()
            assert status == 0, said
            log.write_text(said, encoding="utf-8")
    return sandbox


@pytest.fixture
def copy(finished: Sandbox, tmp_path: Path) -> Sandbox:
    """A copy of the finished sandbox, to change."""
    shutil.copytree(finished.folder, tmp_path / "copy", symlinks=True)
    return Sandbox(tmp_path / "copy")
