"""The processes that work in a folder."""

from pathlib import Path


def processes_in(folder: Path) -> list[int]:
    """Return the processes whose working directory is a folder, without those that have ended."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            state = (process / "stat").read_bytes().rpartition(b")")[2].split()[0]
            if (process / "cwd").readlink() == folder and state != b"Z":
                found.append(int(process.name))
        except OSError:
            continue
    return found
