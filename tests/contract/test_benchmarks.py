"""Each benchmark starts: imports are those of today, and `--help` tells what it takes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from kit.sandbox import ROOT


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda p: p.stem)
def test_a_benchmark_starts(path: Path, tmp_path: Path):
    done = subprocess.run(
        [sys.executable, str(path), "--help"], cwd=tmp_path, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: ")
