"""The one Lightning module: any network that maps images to logits, ReLU or spiking, learns
here.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ttfs.errors import UserError
from ttfs.training.activity import ActivityPenalty

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
        self._sums = {
            "train": torch.zeros(3),
            "validation": torch.zeros(3),
        }  # loss, correct, images
        self._rate = config["learning_rate"]
        self._loss = getattr(network, "loss", F.cross_entropy)
        self._activity = ActivityPenalty(network, config["activity_l1"], config["activity_l0"])

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        """Return the loss of a batch."""
        loss = self._step(batch, "train")
        self._rate = self.trainer.optimizers[0].param_groups[0]["lr"]
        return loss + self._activity.take()

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        """Add a batch to the validation sums."""
        self._step(batch, "validation")
        self._activity.forget()

    def row(self) -> dict[str, float]:
        """Return the epoch's row of the curve, with the learning rate of its last step, and start
        the sums anew.
        """
        row = {}
        for split, sums in self._sums.items():
            loss, correct, images = sums.tolist()
            if not math.isfinite(loss):
                cure = "lower train.learning_rate of the method"
                raise UserError(
                    f"the {split} loss became {loss} in epoch {self.current_epoch + 1}; {cure}"
                )
            row[f"{split}_loss"], row[f"{split}_accuracy"] = loss / images, 100.0 * correct / images
            sums.zero_()
        return row | {"learning_rate": self._rate}

    def on_fit_end(self) -> None:
        """Stop listening: the network outlives its training."""
        self._activity.close()

    def configure_optimizers(self) -> Any:
        """Weight decay acts on weights, not on biases and scales; the schedule moves at each
        step.
        """
        config = self.config
        named = list(self.network.named_parameters())
        weights = [p for name, p in named if p.dim() > 1 and "bias" not in name]
        others = [p for name, p in named if p.dim() <= 1 or "bias" in name]
        groups = [
            {"params": weights, "weight_decay": config["weight_decay"]},
            {"params": others, "weight_decay": 0.0},
        ]
        rate = config["learning_rate"]
        optimizers: dict[str, Callable[[], torch.optim.Optimizer]] = {
            "adam": lambda: torch.optim.Adam(groups, lr=rate),
            "adamw": lambda: torch.optim.AdamW(groups, lr=rate),
            "sgd": lambda: torch.optim.SGD(groups, lr=rate, momentum=config["momentum"]),
        }
        optimizer = optimizers[config["optimizer"]]()
        steps = self.trainer.estimated_stepping_batches
        epoch = steps / max(self.trainer.max_epochs or 1, 1)
        factors = {
            "constant": lambda step: 1.0,
            "cosine": lambda step: 0.5 * (1 + math.cos(math.pi * min(step / steps, 1.0))),
            "exponential": lambda step: config["decay"] ** (step // epoch),
            "one-cycle": lambda step: one_cycle(min(step / steps, 1.0)),
        }
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factors[config["schedule"]])
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _step(self, batch: tuple[Tensor, Tensor], split: str) -> Tensor:
        images, labels = batch
        logits, *auxiliary = self._logits(images)
        loss = self._loss(logits, labels)
        for others in auxiliary:
            loss = loss + AUXILIARY_WEIGHT * self._loss(others, labels)
        correct = (logits.detach().argmax(1) == labels).sum()
        count = len(labels)
        sums = self._sums[split] = self._sums[split].to(loss.device, torch.float64)
        sums += torch.stack([loss.detach() * count, correct, correct.new_tensor(count)])
        return loss

    def _logits(self, images: Tensor) -> list[Tensor]:
        try:
            answers = self.network(images)
            heads = answers if isinstance(answers, tuple) else (answers,)
            return [logits.float() for logits in heads if logits is not None]
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise UserError(
                "key 'batch_size': batch norm cannot learn from a batch of one input; set 2 or more"
            ) from None


def one_cycle(share: float) -> float:
    """Return the factor of the learning rate after a share of the steps (Smith and Topin 2017).

    Half a cosine from 1/25 to 1 over the first 0.3, and half a cosine to 0 over the rest, with the
    defaults of `torch.optim.lr_scheduler.OneCycleLR`.

    >>> one_cycle(0.0), one_cycle(0.3), one_cycle(1.0)
    (0.04, 1.0, 0.0)
    """
    if share < 0.3:
        return 0.04 + 0.96 * 0.5 * (1 - math.cos(math.pi * share / 0.3))
    return 0.5 * (1 + math.cos(math.pi * (share - 0.3) / 0.7))
