"""Fixtures that all tests share."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from kit import stages
from kit.sandbox import Sandbox

if os.environ.get("TTFS_DATA"):  # a relative one means the folder that pytest was started in
    os.environ["TTFS_DATA"] = str(Path(os.environ["TTFS_DATA"]).absolute())


@pytest.fixture
def data_at_hand() -> Callable[[str], Path]:
    """Return a function that gives the folder of data at hand, once it is known to hold the set
    asked for.

    Where TTFS_DATA is unset the test skips and says so; in CI, which sets it, missing data are a
    failure.
    """

    def find(name: str) -> Path:
        folder = os.environ.get("TTFS_DATA")
        if folder and (Path(folder) / name).exists():
            return Path(folder)
        reason = (
            f"needs {name} in the folder that TTFS_DATA names; TTFS_DATA is {folder or 'unset'}"
        )
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
    """A sandbox in which the tiny grid has finished, one for all test processes. To look at, not to
    change.
    """
    root = _shared(tmp_path_factory)
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


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the little grid has finished, one for all test processes. To look at, not
    to change.
    """
    root = _shared(tmp_path_factory)
    folder, done = root / "made", root / "made.done"
    with FileLock(root / "made.lock"):
        if not done.exists():
            with pytest.MonkeyPatch.context() as patch:
                _enter(folder, patch)
                stages.write_files(folder)
                statuses = stages.run_due()
            assert statuses == dict.fromkeys(stages.EVERYTHING, 0)
            done.touch()
    return folder


@pytest.fixture
def at(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The finished folder itself, as the working directory: to look at."""
    monkeypatch.chdir(made)
    return made


@pytest.fixture
def little(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working directory: a copy of the folder in which the little grid has finished."""
    folder = tmp_path / "little"
    shutil.copytree(made, folder)
    _enter(folder, monkeypatch)
    yield folder
    _leave()


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working directory, with the files of the little grid, of which nothing has run."""
    folder = tmp_path / "fresh"
    _enter(folder, monkeypatch)
    stages.write_files(folder)
    yield folder
    _leave()


def _shared(factory: pytest.TempPathFactory) -> Path:
    """The folder that all test processes share."""
    root = factory.getbasetemp()
    return root.parent if "PYTEST_XDIST_WORKER" in os.environ else root


def _enter(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Work in a folder, without anybody's data, server or store: MLflow takes seconds to import."""
    from ttfs.results import tracking

    folder.mkdir(exist_ok=True)
    for name in ("TTFS_DATA", "TTFS_RUN", "TTFS_SERVER", "MLFLOW_TRACKING_URI"):
        patch.delenv(name, raising=False)
    patch.chdir(folder)
    patch.setattr(tracking.LiveRun, "_attempt", lambda self, step: None)


def _leave() -> None:
    """Undo what a stage sets in its process."""
    import torch

    torch.set_flush_denormal(False)
