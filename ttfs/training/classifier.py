"""The one Lightning module: any network that maps images to logits, ReLU or spiking, learns
here.
"""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ttfs.errors import UserError
from ttfs.snn.precision import at_least_float32
from ttfs.training import ranks
from ttfs.training.activity import ActivityPenalty
from ttfs.training.averaging import Average
from ttfs.training.optimizers import optimizer, schedule

AUXILIARY_WEIGHT = 0.3
"""Weight of the loss of each auxiliary head (GoogLeNet; Szegedy et al. 2015, section 5)."""


class Classifier(pl.LightningModule):
    """Cross-entropy plus the penalty on activity (`ActivityPenalty`).

    A network that returns the logits of auxiliary heads after its own, as GoogLeNet and Inception
    do while they train, learns from these too.

    Sums for the curve are kept as tensors and read once an epoch: reading them at each step would
    cost as much again.
    """

    def __init__(self, network: nn.Module, config: Mapping[str, Any]):
        super().__init__()
        self.network = network
        self.config = config
        self.average: Average | None = None  # of the weights; validated and kept in their place
        if config["averaging"] != "none":
            self.average = Average(network, config["averaging"], config["averaging_decay"])
        self._sums = {
            "train": torch.zeros(3),
            "validation": torch.zeros(3),
        }  # loss, correct, images
        self._rate = config["learning_rate"]
        self._loss = getattr(network, "loss", F.cross_entropy)
        self._learning_loss = self._loss
        if config["label_smoothing"]:
            self._check_cross_entropy("train.label_smoothing")
            self._learning_loss = partial(self._loss, label_smoothing=config["label_smoothing"])
        self._activity = ActivityPenalty(network, config["activity_l1"], config["activity_l0"])

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        """Return the loss of a batch."""
        loss = self._step(self.network, batch, "train")
        self._rate = self.trainer.optimizers[0].param_groups[0]["lr"]
        return ranks.shared(loss + self._activity.take(len(batch[1])), len(batch[1]))

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        """Add a batch to the validation sums."""
        self._step(self.kept, batch, "validation")
        self._activity.forget()

    def on_train_batch_end(self, outputs: Any, batch: Any, index: int) -> None:
        """Let the average follow."""
        if self.average is not None:
            steps = self.trainer.global_step
            share = steps / self.trainer.estimated_stepping_batches
            self.average.update(self.network, steps, share)

    @property
    def kept(self) -> nn.Module:
        """The network that is validated and kept."""
        return self.network if self.average is None else self.average.network

    def row(self) -> dict[str, float]:
        """Return the epoch's row of the curve, with the learning rate of its last step, and start
        the sums anew.
        """
        row = {}
        for split, sums in self._sums.items():
            loss, correct, images = ranks.total(sums).tolist()
            if not math.isfinite(loss):
                advice = "lower train.learning_rate of the method"
                raise UserError(
                    f"the {split} loss became {loss} in epoch {self.current_epoch + 1}; {advice}"
                )
            row[f"{split}_loss"], row[f"{split}_accuracy"] = loss / images, 100.0 * correct / images
            sums.zero_()
        return row | {"learning_rate": self._rate}

    def stop_listening(self) -> None:
        """Stop listening to the network's layers."""
        self._activity.close()

    def configure_optimizers(self) -> Any:
        """The schedule moves at each step."""
        chosen = optimizer(self.network, self.config)
        steps, epochs = self.trainer.estimated_stepping_batches, self.trainer.max_epochs or 1
        factor = schedule(self.config, int(steps), epochs)
        moving = torch.optim.lr_scheduler.LambdaLR(chosen, factor)
        return {"optimizer": chosen, "lr_scheduler": {"scheduler": moving, "interval": "step"}}

    def _step(self, network: nn.Module, batch: tuple[Tensor, Tensor], split: str) -> Tensor:
        images, labels = batch
        likeliest = labels
        if labels.is_floating_point():  # shares of mixed images
            self._check_cross_entropy("augment.cutmix")
            likeliest = labels.argmax(1)
        logits, *auxiliary = self._logits(network, images)
        measure = self._learning_loss if split == "train" else self._loss
        loss = measure(logits, labels)
        for others in auxiliary:
            loss = loss + AUXILIARY_WEIGHT * measure(others, labels)
        correct = (logits.detach().argmax(1) == likeliest).sum()
        count = len(labels)
        sums = self._sums[split] = self._sums[split].to(loss.device, torch.float64)
        sums[:2] += torch.stack([loss.detach() * count, correct])
        sums[2] += count  # a number of the CPU: a tensor of it would let a GPU run out of work
        return loss

    def _check_cross_entropy(self, key: str) -> None:
        if self._loss is not F.cross_entropy:
            raise UserError(f"{key} is for cross-entropy alone; set it to 0")

    def _logits(self, network: nn.Module, images: Tensor) -> list[Tensor]:
        try:
            answers = network(images)
            heads = answers if isinstance(answers, tuple) else (answers,)
            return [at_least_float32(logits) for logits in heads if logits is not None]
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise UserError(
                "key 'batch_size': batch norm cannot learn from a batch of one input; set 2 or more"
            ) from None
