"""Windows that follow the activations while a TTFS network learns."""

from typing import Any

import pytorch_lightning as pl

from ttfs.snn import SpikingNetwork, WindowGrowth
from ttfs.training import ranks


class GrowingWindows(pl.Callback):
    """Lets the windows of a TTFS network grow after each training batch, as `WindowGrowth` says."""

    def __init__(self, snn: SpikingNetwork, growth: float):
        self._windows = WindowGrowth(snn, growth)

    def on_fit_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Listen to the potentials that reach each layer."""
        self._windows.start()

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, *batch: Any
    ) -> None:
        """Widen the windows that the batch came close to filling."""
        self._windows.grow(ranks.largest)

    def on_fit_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Stop listening: the network outlives its training."""
        self._windows.stop()

    def on_exception(
        self, trainer: pl.Trainer, module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Stop listening, as at a training's end."""
        self._windows.stop()
