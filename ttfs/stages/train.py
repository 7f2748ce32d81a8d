"""train: learn a network from its data set's training split."""

import torch

from ttfs.metrics import accuracy
from ttfs.results import tracking
from ttfs.results.records import CURVE_COLUMNS, atomic_write
from ttfs.seeds import seed
from ttfs.stages._job import Job, save_weights
from ttfs.training import fit, score


def train(job: Job) -> None:
    """Write weights.pt, curve.csv and record.json of a network trained from scratch."""
    config, cell = job.config["train"], job.cell
    axes = (cell.dataset, cell.model, cell.seed)
    data = job.data
    torch.manual_seed(seed(*axes, "init"))
    network = job.build()
    with tracking.LiveRun(cell, job.config) as live:

        def on_epoch(row: dict[str, float]) -> None:
            job.say(
                f"epoch {row['epoch']:.0f}/{config['epochs']}: train loss {row['train_loss']:.4f}, "
                f"validation accuracy {row['validation_accuracy']:.2f} %"
            )
            live.log(int(row["epoch"]), {name: row[name] for name in CURVE_COLUMNS})

        rows = fit(network, data, config, axes, job.device, on_epoch)
    kept = max(rows, key=score) if config["select"] == "best" else rows[-1]
    metrics = {
        "accuracy": test_accuracy(network, job),
        "best_validation_accuracy": kept["validation_accuracy"],
        "best_epoch": kept["epoch"],
        "parameters": sum(p.numel() for p in network.parameters()),
    }
    save_weights(network.cpu(), cell.folder / "weights.pt")
    lines = [",".join(("epoch", *CURVE_COLUMNS))]
    lines += [",".join(f"{row[name]:.10g}" for name in ("epoch", *CURVE_COLUMNS)) for row in rows]
    atomic_write(cell.folder / "curve.csv", "\n".join(lines) + "\n")
    job.write_record(metrics=metrics, data_digest=data.digest)
    job.say(f"test accuracy {metrics['accuracy']:.2f} %, weights of epoch {metrics['best_epoch']:.0f}")


@torch.no_grad()
def test_accuracy(network: torch.nn.Module, job: Job) -> float:
    """Accuracy in percent on the whole test split."""
    network.to(job.device).eval()
    batches = job.data.test.batches(1000, device=job.device)
    parts = [(network(images).cpu(), labels.cpu()) for images, labels in batches]
    logits, labels = (torch.cat(part) for part in zip(*parts, strict=True))
    return accuracy(logits, labels)
