"""Opt-in tests on services that are started here: `make test-cluster`."""

import os
from collections.abc import Iterator
from importlib.util import find_spec

import pytest
from kit import postgres, slurm


@pytest.fixture(autouse=True, scope="session")
def opted_in() -> None:
    if not os.environ.get("TTFS_TEST_CLUSTER"):
        pytest.skip("starts services on this machine; run it by make test-cluster")


@pytest.fixture(scope="session")
def cluster(opted_in: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[slurm.Slurm]:
    """A Slurm of two nodes on this machine."""
    reason = slurm.missing()
    if find_spec("snakemake_executor_plugin_slurm") is None:
        reason = "needs snakemake-executor-plugin-slurm: pip install 'ttfs[cluster]'"
    elif os.geteuid() != 0:
        reason = "needs root, whose jobs the nodes start"
    if reason:
        pytest.skip(reason)
    with slurm.started(tmp_path_factory.mktemp("slurm")) as running:
        yield running


@pytest.fixture(scope="session")
def database(opted_in: None) -> Iterator[str]:
    """The URI of an empty PostgreSQL database, whose server is started for it."""
    reason = postgres.missing()
    if reason:
        pytest.skip(reason)
    with postgres.started() as uri:
        yield uri
