"""A Slurm and a PostgreSQL of this machine, for the tests that ask for one."""

import os
from collections.abc import Iterator
from importlib.util import find_spec

import pytest
from kit import postgres, slurm
from kit.postgres import Postgres
from kit.slurm import Slurm


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    """A Slurm of two nodes."""
    reason = slurm.missing()
    if find_spec("snakemake_executor_plugin_slurm") is None:
        reason = "needs snakemake-executor-plugin-slurm: pip install 'ttfs[cluster]'"
    elif os.geteuid() != 0:
        reason = "needs root, whose jobs the nodes start"
    if reason:
        pytest.skip(reason)
    with slurm.started(tmp_path_factory.mktemp("slurm")) as running:
        yield running


@pytest.fixture
def database_server() -> Iterator[Postgres]:
    """A PostgreSQL with the database of docs/cluster.md, which is empty."""
    if reason := postgres.missing():
        pytest.skip(reason)
    with postgres.started() as running:
        yield running
