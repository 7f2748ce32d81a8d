"""Houses that tests share: an empty one, and one in which the tiny grid has finished."""

import os
import shutil
from pathlib import Path

import pytest
from filelock import FileLock
from house import House


@pytest.fixture
def house(tmp_path: Path) -> House:
    """A house in which nothing has run."""
    return House(tmp_path / "house").build()


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> House:
    """A house in which the tiny grid has finished, the same for all test processes. To look at, not to change."""
    root = tmp_path_factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root
    house, log = House(root / "finished"), root / "finished.log"
    with FileLock(root / "finished.lock"):
        if not log.exists():
            status, said = house.build().run()
            assert status == 0, said
            log.write_text(said)
    return house


@pytest.fixture
def copy(finished: House, tmp_path: Path) -> House:
    """A copy of the finished house, to change; Snakemake takes it for the same, as paths are relative to it."""
    shutil.copytree(finished.folder, tmp_path / "copy", symlinks=True)
    return House(tmp_path / "copy")
