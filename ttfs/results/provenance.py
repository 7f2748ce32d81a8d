"""Where a number comes from: versions, commit, processor, device, threads, precision, time."""

import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Self

PACKAGES = ("ttfs", "torch", "torchvision", "numpy", "scikit-learn", "pytorch-lightning")


@dataclass(frozen=True)
class Provenance:
    """Where the numbers of a stage come from. ``git_commit`` and ``git_dirty`` are None outside
    git.
    """

    versions: Mapping[str, str | None]
    git_commit: str | None
    git_dirty: bool | None
    platform: str
    processor: str
    device: str
    threads: int
    wall_seconds: float
    finished: str
    """ISO 8601, UTC."""
    precision: str | None = None
    """Of the passes in training; None without a training, and in older records."""

    @classmethod
    def now(
        cls, device: str, threads: int, wall_seconds: float, precision: str | None = None
    ) -> Self:
        """Return the provenance of numbers made now, by this code on this machine. Packages are
        asked, not imported.
        """
        commit, dirty = git_state(Path(__file__).parent)
        return cls(
            versions={"python": platform.python_version()}
            | {name: _version(name) for name in PACKAGES},
            git_commit=commit,
            git_dirty=dirty,
            platform=platform.platform(),
            processor=processor(),
            device=device,
            threads=threads,
            wall_seconds=round(wall_seconds, 3),
            finished=datetime.now(UTC).isoformat(timespec="seconds"),
            precision=precision,
        )


def processor() -> str:
    """Return the name of the processor and how many of its cores this process may use."""
    name = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.is_file():
        lines = information.read_text(encoding="utf-8", errors="replace").splitlines()
        named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
        name = next(named, name)
    return f"{name}, {len(os.sched_getaffinity(0))} cores"


def git_state(folder: Path) -> tuple[str | None, bool | None]:
    """Return the commit checked out at a folder and whether tracked files differ from it, but for
    `results/`, where archived records are no part of the code; (None, None) outside git, and where
    a repository around the folder does not hold its files.
    """
    status = ["status", "--porcelain", "--untracked-files=no", "--", ":/", ":(top,exclude)results"]
    try:
        _git(folder, "ls-files", "--error-unmatch", "--", ".")
        return _git(folder, "rev-parse", "HEAD"), bool(_git(folder, *status))
    except (OSError, subprocess.CalledProcessError):
        return None, None


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
