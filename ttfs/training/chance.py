"""The chance of a chip that is fine-tuned, in the checkpoints of its training."""

from collections.abc import Sequence
from typing import Any, Protocol

import pytorch_lightning as pl


class Stream(Protocol):
    """Random numbers that go on from a state; None before the first one."""

    state: Any


class ChipStreams(pl.Callback):
    """Lets the random numbers of a chip go on where they were when its training was interrupted."""

    def __init__(self, streams: Sequence[Stream]):
        self._streams = streams

    def state_dict(self) -> dict[str, Any]:
        """Return how far each stream has come."""
        return {"streams": [stream.state for stream in self._streams]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        for stream, at in zip(self._streams, state["streams"], strict=True):
            stream.state = at
