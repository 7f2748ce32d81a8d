"""Processes that do one piece of work together, as the ranks of torch's process group.

They are forks of this process and share what it holds. It must have started neither CUDA nor
threads of torch, because a fork cannot go on with these.
"""

import contextlib
import os
import pickle
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from ttfs.errors import UserError
from ttfs.stages.process import ENDING, POLL, die_with, end_by, handed_on

ECHO = 2.0
"""Seconds in which the end of a rank is waited for, once another failed by an error."""


@dataclass
class Word:
    """The last word of a rank: its answer, or the error that ended it, and when."""

    answer: Any = None
    error: Exception | None = None
    at: float = 0.0


@dataclass
class Rank:
    """A rank, seen from the process that started it."""

    process: BaseProcess
    pipe: Connection
    word: Word | None = None
    ended: int | None = None
    """Its exit status, once it ended without a word; negative for a signal."""

    def look(self) -> None:
        """Take its word, or note its end."""
        ended = self.process.exitcode  # before the word, which it may say at last
        with contextlib.suppress(EOFError):
            if self.word is None and self.pipe.poll():
                self.word = pickle.loads(self.pipe.recv_bytes())
        self.ended = ended if self.word is None else None

    def send(self, number: int) -> None:
        """Send it a signal."""
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    @property
    def failed(self) -> bool:
        """Whether the others wait for it in vain."""
        return self.ended is not None or (self.word is not None and self.word.error is not None)


def together(count: int, backend: str, work: Callable[[int], Any]) -> list[Any]:
    """Have `count` processes do the work, and return their answers by rank.

    A signal to this process goes to rank 0, which decides. When one rank fails, all are ended. A
    signal that ends a rank ends this process too, as if it had done the work itself.

    Args:
        count: processes.
        backend: of torch's process group, "gloo" or "nccl".
        work: called with the rank, in its process; the answer is pickled.

    Raises:
        UserError: of the rank that failed first.
        RuntimeError: names rank and error, with its traceback as a note, if it was another error.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    with (
        tempfile.TemporaryDirectory(prefix="ttfs-") as folder,
        _started(count, backend, f"file://{folder}/meeting", work) as ranks,
        handed_on(ranks[0].send),
    ):
        while not all(rank.word for rank in ranks) and not any(rank.failed for rank in ranks):
            time.sleep(POLL)
            _look(ranks)
        _wait_for_an_end(ranks)
    _raise_first(ranks)
    return [rank.word.answer for rank in ranks if rank.word]


def _wait_for_an_end(ranks: list[Rank]) -> None:
    """An error is often the echo of the end of another rank, which may be told a moment later."""
    until = time.monotonic() + ECHO
    _look(ranks)
    while _unexplained(ranks) and time.monotonic() < until:
        time.sleep(POLL)
        _look(ranks)


def _unexplained(ranks: list[Rank]) -> bool:
    """Whether no rank is known to have ended without a word, and one may have."""
    ended = any(rank.ended is not None for rank in ranks)
    return not ended and not all(rank.word for rank in ranks)


def _look(ranks: list[Rank]) -> None:
    for rank in ranks:
        rank.look()


def _raise_first(ranks: list[Rank]) -> None:
    """Fail as the first rank did that failed."""
    for number, rank in enumerate(ranks):
        if rank.ended is not None and rank.ended < 0:
            end_by(-rank.ended)
        if rank.ended is not None:
            raise RuntimeError(f"device {number}: its process ended with status {rank.ended}")
    words = [rank.word for rank in ranks if rank.word and rank.word.error]
    if words:
        first = min(words, key=lambda word: word.at).error
        assert first is not None
        raise first


@contextlib.contextmanager
def _started(
    count: int, backend: str, meeting: str, work: Callable[[int], Any]
) -> Iterator[list[Rank]]:
    """Start the ranks, and end those that are left."""
    ranks: list[Rank] = []
    context = get_context("fork")
    try:
        for number in range(count):
            here, there = context.Pipe(duplex=False)
            words = (os.getpid(), number, count, backend, meeting, work, there)
            process = context.Process(target=_take_part, args=words)
            process.start()
            there.close()
            ranks.append(Rank(process, here))
        yield ranks
    finally:
        for rank in ranks:
            rank.process.kill()
            rank.process.join()


def _take_part(
    parent: int,
    rank: int,
    count: int,
    backend: str,
    meeting: str,
    work: Callable[[int], Any],
    pipe: Connection,
) -> None:
    """Do the work in this process, one of the ranks, and say how it ended."""
    for number in ENDING:  # a cluster sends SIGTERM to all processes of a job
        signal.signal(number, signal.SIG_IGN if rank else signal.SIG_DFL)
    die_with(parent)
    import torch.distributed as dist

    def say(word: Word) -> None:
        pipe.send_bytes(pickle.dumps(word))  # with tensors as they are, not shared

    try:
        dist.init_process_group(backend, init_method=meeting, rank=rank, world_size=count)
        answer = work(rank)
        dist.destroy_process_group()
    except UserError as error:
        say(Word(error=error, at=time.monotonic()))
    except Exception as error:
        told = RuntimeError(f"device {rank}: {type(error).__name__}: {error}")
        told.add_note(traceback.format_exc())
        say(Word(error=told, at=time.monotonic()))
    else:
        say(Word(answer))
