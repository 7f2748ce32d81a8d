"""The kit of the tests, where a fault of it would hide one of the project."""

import sys
from pathlib import Path

import pytest
from kit.ports import free_port
from kit.tracking_server import served


def test_a_server_that_cannot_start_says_why(tmp_path: Path):
    address = f"http://localhost:{free_port()}"
    words = ["bash", "-c", "echo no such store; exit 1"]
    with pytest.raises(AssertionError, match="no such store"), served(words, address, tmp_path):
        pass


def test_a_server_is_a_program_of_this_environment(tmp_path: Path, monkeypatch):
    """Also where nobody activated it: `make test-cluster` does not."""
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    address = f"http://localhost:{free_port()}"
    words = ["bash", "-c", "type -p mlflow; exit 1"]
    mlflow = str(Path(sys.executable).parent / "mlflow")
    with pytest.raises(AssertionError, match=mlflow), served(words, address, tmp_path):
        pass
