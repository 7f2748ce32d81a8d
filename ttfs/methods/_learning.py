"""Training of a cell's network, reported to the terminal, the log and MLflow epoch by epoch."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ttfs.methods._job import Job

if TYPE_CHECKING:
    from torch import nn


def in_words(row: Mapping[str, float], epochs: int) -> str:
    """An epoch of training, for the terminal and the log."""
    return (
        f"epoch {row['epoch']:.0f}/{epochs}: train loss {row['train_loss']:.4f}, "
        f"validation accuracy {row['validation_accuracy']:.2f} %"
    )


def learn(network: "nn.Module", job: Job, callbacks: Sequence[Any] = ()) -> None:
    """Train the network in place as the options say, and write curve.csv."""
    from ttfs.results.record import CURVE, CURVE_COLUMNS, curve_text
    from ttfs.results.tracking import LiveRun
    from ttfs.training import fit

    config = job.train
    with LiveRun(job.grid.name, job.cell, job.config, silent=job.rank > 0) as live:

        def on_epoch(row: dict[str, float]) -> None:
            job.say(in_words(row, config["epochs"]))
            live.log(int(row["epoch"]), {name: row[name] for name in CURVE_COLUMNS})

        at = job.checkpoint()
        rows = fit(network, job.data, config, job.axes, job.device, on_epoch, callbacks, at)
    job.write(CURVE, curve_text(rows))
