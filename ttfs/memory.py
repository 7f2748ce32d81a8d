"""The memory that there is, and whether vectors fit into it."""

import os
import resource
from contextlib import suppress
from pathlib import Path

from ttfs.errors import UserError

GROUP_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
"""Files that hold the limit of the control group, of version 2 and 1."""


def memory() -> int:
    """Return the bytes that a process may use: the machine's, or a lower limit on it."""
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY:
        found.append(limit)
    for path in GROUP_LIMITS:
        with suppress(OSError, ValueError):  # "max" is no limit
            found.append(int(path.read_text()))
    return min(found)


def gib(count: int) -> str:
    """Return bytes in words."""
    return f"{count / 2**30:,.1f} GiB"


def check_vectors(records: int, features: int) -> None:
    """Raise UserError where float32 [records, features], key by key and then joined, do not fit."""
    needed, there = 2 * 4 * records * features, memory()
    if needed > there:
        raise UserError(
            f"{features:,} features or more of {records:,} records need at least {gib(needed)} of "
            f"memory, and there are {gib(there)}; take fewer keys, or fewer neurons of each"
        )
