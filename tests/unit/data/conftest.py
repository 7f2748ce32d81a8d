"""Each test of the data sets works in an empty folder."""

import numpy as np
import pytest

from ttfs.data.places import DATA


@pytest.fixture(autouse=True)
def empty_place(request, tmp_path, monkeypatch):
    """Work in an empty folder, with no data at hand but those a test asks for."""
    if "data_at_hand" in request.fixturenames:
        return
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TTFS_DATA", raising=False)
    DATA.mkdir()


@pytest.fixture
def rng():
    return np.random.default_rng(0)
