"""The progress of a run: stages done, running, failed, and the time left."""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

LINES = 40
"""Lines of progress of a run, at most, where they stay: in a file, in the log of a cluster."""


@dataclass
class Progress:
    """The progress of a run: one line, rewritten on a terminal, and printed now and then
    elsewhere.
    """

    jobs: int
    done: int = 0
    failed: int = 0
    running: int = 0
    began: float = field(default_factory=time.monotonic)
    told: float = 0.0
    share: int = 0

    def ended(self, statuses: Sequence[int]) -> None:
        """Count stages that ended."""
        self.failed += sum(status != 0 for status in statuses)
        self.done += sum(status == 0 for status in statuses)

    def tell(self) -> None:
        """Write the line, if the last one is old enough; where lines stay, if a share of LINES of
        the stages has ended since.
        """
        terminal = sys.stderr.isatty()
        now, ended = time.monotonic(), self.done + self.failed
        if now - self.told < (0.5 if terminal else 15.0) or not ended:
            return
        share = LINES * ended // self.jobs
        if not terminal and share == self.share:
            return
        self.told, self.share = now, share
        left = (now - self.began) / ended * (self.jobs - ended)
        line = (
            f"{self.done} of {self.jobs} stages done, {self.running} running, {self.failed} "
            f"failed, about {int(left // 60)}:{int(left % 60):02d} left"
        )
        print(
            f"\r{line}\033[K" if terminal else line,
            end="" if terminal else "\n",
            file=sys.stderr,
            flush=True,
        )
