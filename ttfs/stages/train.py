"""train: learn a network, ReLU or TTFS, from scratch or from another one, from its data set's training split."""

import torch
from torch import nn

from ttfs.metrics import kept_epoch
from ttfs.results import tracking
from ttfs.results.records import CURVE_COLUMNS, atomic_write
from ttfs.seeds import seed
from ttfs.snn import calibrate_, convert, to_alpha1_
from ttfs.stages._job import Job, save_weights
from ttfs.stages._networks import load_snn
from ttfs.stages._scoring import test_accuracy
from ttfs.training import fit


def train(job: Job) -> None:
    """Write weights.pt and curve.csv of a trained network, and the record of a ReLU one; a TTFS one is for verify."""
    config, cell = job.config["train"], job.cell
    axes = (cell.dataset, cell.model, cell.seed)
    data = job.data
    network = _start(job, axes)
    with tracking.LiveRun(cell, job.config) as live:

        def on_epoch(row: dict[str, float]) -> None:
            job.say(
                f"epoch {row['epoch']:.0f}/{config['epochs']}: train loss {row['train_loss']:.4f}, "
                f"validation accuracy {row['validation_accuracy']:.2f} %"
            )
            live.log(int(row["epoch"]), {name: row[name] for name in CURVE_COLUMNS})

        rows = fit(network, data, config, axes, job.device, on_epoch)
    save_weights(network.cpu(), cell.folder / "weights.pt")
    lines = [",".join(("epoch", *CURVE_COLUMNS))]
    lines += [",".join(f"{row[name]:.10g}" for name in ("epoch", *CURVE_COLUMNS)) for row in rows]
    atomic_write(cell.folder / "curve.csv", "\n".join(lines) + "\n")
    if config["neuron"] != "relu":
        return
    metrics = {
        "accuracy": test_accuracy(network.to(job.device).eval(), job),
        **kept_epoch(rows, config["select"]),
        "parameters": sum(p.numel() for p in network.parameters()),
    }
    job.write_record(metrics=metrics, data_digest=data.digest)
    job.say(f"test accuracy {metrics['accuracy']:.2f} %, weights of epoch {metrics['best_epoch']:.0f}")


def _start(job: Job, axes: tuple[str | int, ...]) -> nn.Module:
    """The network to train: the same seed draws the same ReLU network, which a TTFS network from scratch maps."""
    config, source = job.config["train"], job.grid.source(job.cell)
    if source is not None:
        return load_snn(job, source)
    torch.manual_seed(seed(*axes, "init"))
    ann = job.build()
    if config["neuron"] == "relu":
        return ann
    images, _ = next(iter(job.data.train.batches(1000)))
    headroom = config["window_growth"] - 1.0
    if config["initialisation"] == "mapped":
        return convert(ann, images, config["neuron"], headroom, job.data.input_range)
    snn = convert(ann, images, "b1", headroom, job.data.input_range)
    to_alpha1_(snn, drawn=True)
    calibrate_(snn, [images], headroom)
    return snn
