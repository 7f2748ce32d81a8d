"""The progress of a run in a line: stages done and running, time left, the best accuracy yet."""

import contextlib
import shutil
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ttfs.errors import UserError

LINES = 40
"""Lines of progress of a run, at most, where they stay: in a file, in the log of a cluster."""


@dataclass(frozen=True)
class Due:
    """A stage that is due, of the cell of a name, such as `digits/fc2/ann/seed0`."""

    stage: str
    cell: str
    source: str = field(default="", compare=False)
    """The cell whose network that of this cell starts from."""

    def needs(self, other: "Due") -> bool:
        """Whether it cannot run where another stage failed: that which makes its network, or the
        one that its network starts from.
        """
        below = self.cell == other.cell or self.cell.startswith(f"{other.cell}/")
        return other.stage == "make" and (below or self.source == other.cell)

    def kin(self) -> Iterator[tuple[str, ...]]:
        """Yield the groups of stages like this one, the most alike first: of seeds and chips of one
        network, then of one network on all data sets, of one model, of one kind, and all.
        """
        dataset, model, method, *_ = *self.cell.split("/"), "", ""
        yield self.stage, dataset, model, method
        yield self.stage, model, method
        yield self.stage, model
        yield (self.stage,)
        yield ()


class Progress:
    """The progress of a run: one line, rewritten on a terminal, and printed now and then
    elsewhere.

    due: the stages of the run.
    """

    def __init__(self, due: Sequence[Due]):
        self.waiting = set(due)
        self.jobs, self.done, self.failed = len(due), 0, 0
        self.running: dict[Due, float] = {}
        self.seconds: dict[tuple[str, ...], list[float]] = defaultdict(list)
        self.best: dict[str, tuple[float, str]] = {}
        self.said = ""
        self.began: float | None = None
        self.told = 0.0
        self.share = 0

    def start(self, stage: Due) -> None:
        """Note that a stage begins."""
        self.running[stage] = time.monotonic()
        if self.began is None:
            self.began = self.running[stage]

    def end(self, stage: Due, status: int) -> None:
        """Note that a stage ended, with an exit status, and how long it took, if it ran here."""
        began = self.running.pop(stage, None)
        self.waiting.discard(stage)
        if status != 0:
            self.failed += 1
            self._give_up([stage] if stage.stage == "make" else [])
            return
        self.done += 1
        if began is None:
            return
        for kin in stage.kin():
            self.seconds[kin].append(time.monotonic() - began)
        if stage.stage == "evaluate":
            self._compare(stage.cell)

    def _give_up(self, lost: list[Due]) -> None:
        """Wait no more for what needs a stage that is lost, nor for what needs that."""
        while lost:
            needing = {other for other in self.waiting if any(map(other.needs, lost))}
            self.waiting -= needing
            lost = [other for other in needing if other.stage == "make"]

    def drop(self, stage: Due) -> None:
        """Note that a stage runs elsewhere."""
        self.jobs -= stage in self.waiting
        self.waiting.discard(stage)

    def left(self) -> float | None:
        """Return the seconds until the run ends: what waits takes as long as its like took, as many
        at once as so far. None before anything ended.
        """
        if self.began is None or not self.seconds[()]:
            return None
        now = time.monotonic()
        begun = {stage: now - since for stage, since in self.running.items()}
        usual = {kin: sum(times) / len(times) for kin, times in self.seconds.items() if times}

        def like(stage: Due) -> float:
            return next(usual[kin] for kin in stage.kin() if kin in usual)

        work = sum(like(stage) for stage in self.waiting)
        work -= sum(min(taken, like(stage)) for stage, taken in begun.items())
        at_once = (sum(self.seconds[()]) + sum(begun.values())) / max(now - self.began, 1e-9)
        return max(work, 0.0) / max(at_once, 1e-9)

    def tell(self) -> None:
        """Write the line, if the last one is old enough; where lines stay, if a share of LINES of
        the stages has ended since.
        """
        terminal = sys.stderr.isatty()
        now, ended = time.monotonic(), self.done + self.failed
        if now - self.told < (0.5 if terminal else 15.0) or not ended:
            return
        share = LINES * ended // max(self.jobs, ended)
        if not terminal and share == self.share:
            return
        self.told, self.share = now, share
        line = f"{self.done} of {self.jobs} stages done, {len(self.running)} running, "
        line += f"{self.failed} failed"
        if (left := self.left()) is not None:
            line += f", about {int(left // 60)}:{int(left % 60):02d} left"
        line += self.said
        print(
            f"\r{line[: shutil.get_terminal_size().columns - 1]}\033[K" if terminal else line,
            end="" if terminal else "\n",
            file=sys.stderr,
            flush=True,
        )

    def _compare(self, cell: str) -> None:
        """Say the best accuracy yet on the data set of a cell that was evaluated."""
        from ttfs.config import STORE  # here: stages import this module before they ask the server
        from ttfs.results.record import RECORD, read

        dataset, _, network = cell.partition("/")
        with contextlib.suppress(UserError, OSError):
            rows = read(STORE / cell / RECORD).rows
            found = [row["value"] for row in rows if row["metric"] == "accuracy" and len(row) == 2]
            for accuracy in found:
                self.best[dataset] = max(self.best.get(dataset, (0.0, "")), (accuracy, network))
        if dataset in self.best:
            accuracy, network = self.best[dataset]
            self.said = f"; best on {dataset}: {accuracy:.2f} % ({network})"
