"""Train a network on a data set, epoch by epoch, and keep the epoch that the validation split chooses."""

import copy
import logging
import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn

from ttfs.data import DataSet
from ttfs.metrics import score
from ttfs.seeds import seed
from ttfs.snn import SpikingNetwork, calibrate
from ttfs.training._classifier import Classifier
from ttfs.training._windows import GrowingWindows


def fit(
    network: nn.Module,
    data: DataSet,
    config: Mapping[str, Any],
    axes: tuple[str | int, ...],
    device: str = "cpu",
    on_epoch: Callable[[dict[str, float]], None] = lambda row: None,
) -> list[dict[str, float]]:
    """Train the network in place and return its curve, a row an epoch.

    The windows of an ideal SpikingNetwork grow with its activations (`GrowingWindows`), and are set at the end to (1 +
    headroom) times the largest activation of the weights that are kept, over the training images as they are.
    Those of a chip stay: they are the chip's.

    Args:
        network: maps images [N, C, H, W] to logits [N, classes]; a ReLU network or a SpikingNetwork.
        data: train and validation splits; the test split is never read.
        config: the `train` block of a method (workflow/schemas/method.schema.yaml) with `epochs`, `batch_size` and
            `augment` filled in.
        axes: names of the random streams, e.g. ("mnist", "fc2", 0): the same axes draw the same batches.
        device: "cpu" or "cuda".
        on_epoch: called with each new row: epoch, train and validation loss and accuracy [%], learning_rate.

    Raises:
        UserError: if the loss becomes infinite or NaN.
    """
    for name in ("pytorch_lightning.utilities.rank_zero", "pytorch_lightning.accelerators.cuda"):
        logging.getLogger(name).setLevel(logging.WARNING)
    torch.manual_seed(seed(*axes, "dropout"))
    order = torch.Generator().manual_seed(seed(*axes, "order"))
    train = data.train.batches(config["batch_size"], generator=order, augment=True, device=device)
    validation = data.validation.batches(1000, device=device)
    epochs = _Epochs(config["select"], config["patience"], on_epoch)
    callbacks: list[pl.Callback] = [epochs]
    if isinstance(network, SpikingNetwork) and network.ideal:
        callbacks.append(GrowingWindows(network, config["window_growth"]))
    narrow = config["precision"] == "bfloat16"
    if narrow:
        network.to(memory_format=torch.channels_last)  # twice as fast on processors with bfloat16 units
    # Filling fresh memory takes a sixth of a step, to no end: we read none.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    trainer = pl.Trainer(
        accelerator="gpu" if device == "cuda" else "cpu",
        devices=1,
        max_epochs=config["epochs"],
        deterministic="warn" if device == "cuda" else True,  # CUDA has no deterministic adaptive pooling
        precision="bf16-mixed" if narrow else "32-true",
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*LeafSpec.*")  # Lightning's own use of torch, nothing of ours
        trainer.fit(Classifier(network, config), train, validation)
    network.to(memory_format=torch.contiguous_format).load_state_dict(epochs.chosen)
    if isinstance(network, SpikingNetwork) and network.ideal:
        images = (images for images, _ in data.train.batches(1000, device=device))
        calibrate(network.to(device).eval(), images, config["headroom"])
    return epochs.rows


class _Epochs(pl.Callback):
    """Writes the curve, keeps the chosen weights, and stops a training that no longer gets better."""

    def __init__(self, select: str, patience: int | None, on_epoch: Callable[[dict[str, float]], None]):
        self.select, self.patience, self.on_epoch = select, patience, on_epoch
        self.rows: list[dict[str, float]] = []
        self.chosen: dict[str, Any] = {}
        self._best, self._best_epoch = (-math.inf, -math.inf), 0

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Lightning runs the validation of an epoch before it calls this."""
        assert isinstance(module, Classifier)
        row = {"epoch": trainer.current_epoch + 1, **module.row()}
        better = score(row) > self._best
        if better:
            self._best, self._best_epoch = score(row), trainer.current_epoch
        if better or self.select == "last":
            self.chosen = copy.deepcopy(module.network.state_dict())
        self.rows.append(row)
        self.on_epoch(row)
        if self.patience is not None and trainer.current_epoch - self._best_epoch >= self.patience:
            trainer.should_stop = True
