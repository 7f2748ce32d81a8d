"""Train a network on a data set, epoch by epoch, and keep the best by the validation split."""

import copy
import logging
import math
import os
import signal
import time
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn

from ttfs.data import DataSet
from ttfs.data.splits import Batches
from ttfs.errors import UserError
from ttfs.metrics.selection import score
from ttfs.seeds import seed
from ttfs.training import ranks
from ttfs.training.classifier import Classifier
from ttfs.training.layout import lay_channels_last

SAVE_EVERY = 2.0
"""Seconds, at least, from one checkpoint to the next."""
SAVING_SHARE = 20
"""A training lasts at least this many times as long as its checkpoints take to write."""


def fit(
    network: nn.Module,
    data: DataSet,
    config: Mapping[str, Any],
    axes: tuple[str | int, ...],
    device: str = "cpu",
    on_epoch: Callable[[dict[str, float]], None] = lambda row: None,
    callbacks: Sequence[pl.Callback] = (),
    checkpoint: Path | None = None,
) -> list[dict[str, float]]:
    """Train the network in place and return its curve, a row an epoch.

    Ranks of a process group, each of which calls this alike, train one network together, each on
    its part of every batch: the steps are those of one process, up to the order of float sums, to
    dropout, of which each rank draws its own, and to cutmix, which mixes images of one rank.

    Args:
        network: maps items [N, ...] to logits [N, classes].
        data: train and validation splits; the test split is never read.
        config: the `train` block of a method, with `epochs`, `batch_size` and `augment` filled in.
        axes: names of the random streams, e.g. ("mnist", "fc2", 0): the same axes draw the same
            batches.
        device: "cpu" or "cuda".
        on_epoch: called with each new row: epoch, train and validation loss and accuracy [%],
            learning_rate.
        callbacks: further callbacks of Lightning, such as windows that grow.
        checkpoint: a file that is written as epochs end. A training that finds it goes on from
            there, and ends in the same weights and curve, bit for bit, as one that was never
            interrupted. It stays until the caller has what it trains for, and removes it. SIGTERM,
            as at the time limit of a cluster, ends the process once the last epoch is saved: at
            once, or after the epoch that runs.

    Raises:
        UserError: if the loss becomes infinite or NaN, or a rank would have no item of a batch.
    """
    for name in ("pytorch_lightning.utilities.rank_zero", "pytorch_lightning.accelerators.cuda"):
        logging.getLogger(name).setLevel(logging.WARNING)
    narrow = config["precision"] == "bfloat16"
    if narrow or device == "cpu":  # on GPUs, float32 was not timed so
        lay_channels_last(network, data.shape)
    own = (ranks.rank(),) if ranks.rank() else ()  # each rank drops other neurons
    torch.manual_seed(seed(*axes, "dropout", *own))
    order = torch.Generator().manual_seed(seed(*axes, "order"))
    part: Any = {"device": device, "rank": ranks.rank(), "ranks": ranks.count()}
    train = data.train.batches(config["batch_size"], generator=order, augment=True, **part)
    validation = data.validation.batches(1000, **part)
    _check_parts(train, validation)
    epochs = _Epochs(config["select"], config["patience"], on_epoch, train, checkpoint, device)
    # Filling fresh memory takes a sixth of a step, and nothing reads it.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    trainer = pl.Trainer(
        accelerator="gpu" if device == "cuda" else "cpu",
        devices=ranks.count(),
        strategy=ranks.strategy(),
        max_epochs=config["epochs"],
        deterministic="warn"
        if device == "cuda"
        else True,  # CUDA has no deterministic adaptive pooling
        precision="bf16-mixed" if narrow else "32-true",
        callbacks=[*callbacks, epochs],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        # The ranks are there already; a job of Slurm's trains here too, not by its restarts.
        plugins=[ranks.Environment(), ranks.WholeBatchNorm()],
    )
    begun = checkpoint if checkpoint is not None and _is_readable(checkpoint) else None
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message=".*LeafSpec.*"
        )  # Lightning's own use of torch, nothing of ours
        warnings.filterwarnings("ignore", message=".*weights_only.*")
        warnings.filterwarnings("ignore", message=".*`srun`.*")  # Slurm is here, and starts nothing
        model = Classifier(network, config)
        weights_only = None if begun is None else False
        try:
            trainer.fit(model, train, validation, ckpt_path=begun, weights_only=weights_only)
        finally:  # the network outlives its training, however that ends
            model.stop_listening()
    network.to(memory_format=torch.contiguous_format).load_state_dict(epochs.chosen)
    return epochs.rows


class _Epochs(pl.Callback):
    """Writes the curve, keeps the chosen weights, saves checkpoints, and stops a training that no
    longer improves.
    """

    def __init__(
        self,
        select: str,
        patience: int | None,
        on_epoch: Callable[[dict[str, float]], None],
        batches: Batches,
        checkpoint: Path | None,
        device: str,
    ):
        self.select, self.patience, self.on_epoch = select, patience, on_epoch
        self.rows: list[dict[str, float]] = []
        self.chosen: dict[str, Any] = {}
        self._best, self._best_epoch = (-math.inf, -math.inf), 0
        assert batches.generator is not None
        self._batches, self._order, self._checkpoint = batches, batches.generator, checkpoint
        self._on_gpu = device == "cuda"
        self._due = time.monotonic() + SAVE_EVERY
        self._saved, self._ending = 0, False

    def on_fit_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Report the finished epochs of an interrupted training, be it at its end, where Lightning
        starts no training.
        """
        for row in self.rows:
            self.on_epoch(row)

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Let a training end that had waited enough."""
        trainer.should_stop = self._waited_enough()
        if self._checkpoint is not None:  # instead of Lightning, which ends after the batch
            asked = self._asked_to_end if trainer.is_global_zero else signal.SIG_IGN
            signal.signal(signal.SIGTERM, asked)

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Lightning runs the validation of an epoch before it calls this."""
        assert isinstance(module, Classifier)
        row = {"epoch": trainer.current_epoch + 1, **module.row()}
        better = score(row) > self._best
        if better:
            self._best, self._best_epoch = score(row), trainer.current_epoch
        if better or self.select == "last":
            self.chosen = copy.deepcopy(module.kept.state_dict())
        self.rows.append(row)
        self.on_epoch(row)
        if self._waited_enough():
            trainer.should_stop = True
        if self._checkpoint is not None:
            ending = self._ending
            due = ending or time.monotonic() >= self._due
            if trainer.strategy.reduce_boolean_decision(due, all=False):  # all ranks save, or none
                self._save(trainer, self._checkpoint)
            if ending or (self._ending and self._saved == len(self.rows)):
                _end()  # one that was asked since, and has not saved, ends after the next epoch

    def state_dict(self) -> dict[str, Any]:
        """Return the state, besides weights and optimizer, from which a training goes on
        unchanged.
        """
        state = {
            "rows": self.rows,
            "chosen": self.chosen,
            "best": (self._best, self._best_epoch),
            "order": self._order.get_state(),
            "dropout": ranks.gathered(torch.get_rng_state()),
        }
        if self._on_gpu:  # each rank has made its own GPU the current one
            state["dropout_on_gpu"] = ranks.gathered(torch.cuda.get_rng_state())
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state of an interrupted training."""
        self.rows, self.chosen = state["rows"], state["chosen"]
        self._best, self._best_epoch = state["best"]
        self._order.set_state(state["order"])
        self._batches.epoch = self._saved = len(self.rows)
        torch.set_rng_state(state["dropout"][ranks.rank()])
        if self._on_gpu:
            torch.cuda.set_rng_state(state["dropout_on_gpu"][ranks.rank()])

    def _waited_enough(self) -> bool:
        """Whether as many epochs as `patience` says have passed since the best one."""
        waited = len(self.rows) - 1 - self._best_epoch
        return self.patience is not None and waited >= self.patience

    def _asked_to_end(self, number: int, frame: object) -> None:
        self._ending = True
        if self._saved == len(self.rows):
            _end()

    def _save(self, trainer: pl.Trainer, path: Path) -> None:
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        begun = time.monotonic()
        try:
            trainer.save_checkpoint(temporary, weights_only=False)
            if trainer.is_global_zero:
                with temporary.open("rb+") as file:
                    os.fsync(file.fileno())
                temporary.replace(path)
            self._saved = len(self.rows)
        except (OSError, RuntimeError) as error:  # a full disk: the training needs no checkpoint
            temporary.unlink(missing_ok=True)
            reason = " ".join(str(error).split())[:200]
            if ranks.count() > 1:  # the others wait for it
                raise UserError(f"{path}: cannot be written ({reason}); free some space") from None
            warnings.warn(
                f"{path}: cannot be written ({reason}); free some space. The training goes on, and "
                "would begin anew if it were killed",
                stacklevel=2,
            )
        took = time.monotonic() - begun
        self._due = time.monotonic() + max(SAVE_EVERY, SAVING_SHARE * took)


def _is_readable(checkpoint: Path) -> bool:
    """Whether there is a checkpoint to go on from; a damaged one is none, and is replaced."""
    if not checkpoint.exists():
        return False
    try:
        with zipfile.ZipFile(checkpoint) as archive:  # torch does not look at the sums of its parts
            if damaged := archive.testzip():
                raise ValueError(f"{damaged} is damaged")
        torch.load(checkpoint, map_location="cpu", weights_only=False)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        warnings.warn(
            f"{checkpoint}: cannot be read ({reason}); the training begins anew", stacklevel=3
        )
        return False
    return True


def _check_parts(*splits: Batches) -> None:
    """Raise UserError where a rank would have no item of a batch."""
    for batches in splits:
        if min(batches.sizes) < batches.ranks:
            raise UserError(
                f"key 'devices': {batches.ranks} devices share each batch, and one has "
                f"{min(batches.sizes)} items; lower 'devices', or change 'batch_size'"
            )


def _end() -> None:
    """End this process by SIGTERM, as one that does not heed it."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTERM)
