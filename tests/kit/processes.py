"""Processes: where they find programs, and those that work in a folder."""

import os
import sys
from pathlib import Path


def path_of_programs() -> str:
    """Return the PATH of a user who has activated the environment of this Python."""
    return f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


def processes_in(folder: Path, *words: str) -> list[int]:
    """Return the processes whose working directory is a folder, without those that have ended;
    with words, those whose first words after the program are these.
    """
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            state = (process / "stat").read_bytes().rpartition(b")")[2].split()[0]
            said = (process / "cmdline").read_text(errors="replace").split("\0")[1:]
            here = (process / "cwd").readlink() == folder and said[: len(words)] == [*words]
            if here and state != b"Z":
                found.append(int(process.name))
        except OSError:
            continue
    return found
