"""An MLflow store, and records to publish in it."""

import shutil
from pathlib import Path

import pytest
from kit.records import made_up, records, write_curve

from ttfs.config import STORE
from ttfs.results.record import Record
from ttfs.results.tracking import store as stores


@pytest.fixture(scope="session")
def fresh_store(tmp_path_factory) -> Path:
    """A prepared store, made once: making one takes seconds."""
    file = tmp_path_factory.mktemp("store") / "mlflow.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{file}")
        stores.client()
    return file


@pytest.fixture
def store(fresh_store, tmp_path, monkeypatch) -> Path:
    file = tmp_path / "mlflow.db"
    shutil.copy(fresh_store, file)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{file}")
    return file


@pytest.fixture
def found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Record]:
    """Records of a grid, with curves of its ReLU networks in the working directory."""
    monkeypatch.chdir(tmp_path)
    for seed in range(3):
        write_curve(STORE / made_up(seed=seed).name)
    return records()
