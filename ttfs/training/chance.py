"""The chance of a chip that is fine-tuned, in the checkpoints of its training."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import pytorch_lightning as pl
from torch import nn


class Stream(Protocol):
    """Random numbers that go on from a state; None before the first one."""

    state: Any


class ChipStreams(pl.Callback):
    """Lets the random numbers of a chip, and of the average of its weights, go on where they were
    when its training was interrupted.

    streams: gives the streams of a network's parts.
    """

    def __init__(self, streams: Callable[[nn.Module], Sequence[Stream]]):
        self._streams = streams

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Note how far each stream has come."""
        checkpoint["streams"] = [stream.state for stream in self._streams(pl_module)]

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Go on from there."""
        for stream, at in zip(self._streams(pl_module), checkpoint["streams"], strict=True):
            stream.state = at
