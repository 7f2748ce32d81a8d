"""sweep: a TTFS network on hardware, level by level, as mapped and fine-tuned, beside the quantised ReLU network."""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ttfs.errors import UserError
from ttfs.hardware import Hardware, deploy, quantized_relu
from ttfs.metrics import SpikeCounter, fan_out, spiking_energy
from ttfs.seeds import seed
from ttfs.snn import SpikingNetwork
from ttfs.stages._job import Job
from ttfs.stages._networks import load_snn
from ttfs.stages._scoring import test_accuracy
from ttfs.training import fit

CALIBRATION_IMAGES = 10_000
"""Training images, the first so many, that the windows of a chip are measured on."""
CHANCE = ("jitter", "threshold_mismatch", "dead_neurons", "lost_spikes")


def sweep(job: Job) -> None:
    """Write the record of a network on a hardware: rows for each level of its axis, on the whole test set.

    As mapped, each draw is a chip of its own. Fine-tuned is the first of them, and each draw is a trial on it.
    """
    snn = load_snn(job, job.cell).to(job.device).eval()
    rows: list[dict[str, Any]] = []
    for level, settings in _levels(job.config["hardware"]):
        read_out = settings.pop("read_out", 1.0)
        if "latency_cut" in settings:
            settings["window_quantile"] = _quantile(snn, snn.latency / settings.pop("latency_cut"), job)
        for row in _on_chip(snn, settings, read_out, job):
            rows.append({"level": level} | row)
            job.say(_describe(rows[-1]))
    job.write_record(levels=rows, data_digest=job.data.digest)


def _levels(hardware: dict[str, Any]) -> Iterator[tuple[float | None, dict[str, Any]]]:
    """Each level of the axis, and the chip at that level; the one chip where there is no axis."""
    if "axis" not in hardware:
        yield None, dict(hardware["chip"])
    for name, levels in hardware.get("axis", {}).items():
        for level in levels:
            yield level, hardware["chip"] | {name: level}


def _quantile(snn: SpikingNetwork, latency: float, job: Job) -> float:
    """The window quantile of a chip of this latency, by bisection; the latency grows with the quantile."""
    low, high = 0.0, 1.0
    for _ in range(16):
        middle = (low + high) / 2
        short = _deploy(snn, Hardware(window_quantile=middle), job).latency <= latency
        low, high = (middle, high) if short else (low, middle)
    if low == 0.0:
        raise UserError(
            f"latency_cut of {job.hardware}: no windows are short enough for a latency of {latency:.2f} tau_c; "
            f"the input takes 1 of it, so cut it less"
        )
    return low


def _on_chip(snn: SpikingNetwork, settings: dict[str, Any], read_out: float, job: Job) -> Iterator[dict[str, Any]]:
    """Rows of one chip: TTFS and ReLU network, as mapped and fine-tuned, each draw."""
    config = job.config["hardware"]

    def chip(draw: int) -> Hardware:
        return Hardware(**settings, seed=seed(job.cell.seed, "chip", draw))

    draws = range(config["draws"] if any(settings.get(name) for name in CHANCE) else 1)
    for draw in draws:
        yield _row("ttfs", False, draw, _measure(_deploy(snn, chip(draw), job), read_out, draw == 0, job))
    if config["fine_tuned"]:
        tuned = _deploy(snn, chip(0), job)
        _fine_tune(tuned, job)
        for draw in draws:
            yield _row("ttfs", True, draw, _measure(tuned, read_out, draw == 0, job))
    if "time_bits" in settings:  # few-bit weights alone make the TTFS network the quantised ReLU network itself
        control = quantized_relu(snn, chip(0), _calibration(job))
        yield _row("relu", False, 0, {"accuracy": test_accuracy(control, job)})
        if config["fine_tuned"]:
            _fine_tune(control, job)
            yield _row("relu", True, 0, {"accuracy": test_accuracy(control, job)})


def _row(network: str, fine_tuned: bool, draw: int, metrics: dict[str, float]) -> dict[str, Any]:
    return {"network": network, "fine_tuned": fine_tuned, "draw": draw, **metrics}


def _deploy(snn: SpikingNetwork, chip: Hardware, job: Job) -> SpikingNetwork:
    return deploy(snn, chip, _calibration(job) if chip.window_quantile is not None else None)


def _calibration(job: Job) -> Iterator[Tensor]:
    batches = itertools.islice(job.data.train.batches(1000, device=job.device), CALIBRATION_IMAGES // 1000)
    return (images for images, _ in batches)


def _fine_tune(network: nn.Module, job: Job) -> None:
    """Train a network on its chip, in place; the draws of noise go on, so that no trial was trained on."""
    cell = job.cell
    fit(network.train(), job.data, job.config["train"], (cell.dataset, cell.model, cell.seed, "chip"), job.device)
    network.to(job.device).eval()


@torch.no_grad()
def _measure(chip: SpikingNetwork, read_out: float, count: bool, job: Job) -> dict[str, float]:
    """Accuracy on the whole test set after a share of the latency; where asked, what the chip spends, too."""
    metrics = {"latency": read_out * chip.latency}
    bits = chip.encode.emission.time_bits
    if bits is not None:
        metrics["time_steps"] = read_out * chip.depth * 2**bits
    if not count:
        return metrics | {"accuracy": test_accuracy(lambda images: _answer(chip, images, read_out), job)}
    counter = SpikeCounter(chip, fan_out(chip))

    def answer(images: Tensor) -> Tensor:
        logits, charges = chip.charges(images, pooled=True)
        counter.update({name: chip.fired(charge) for name, charge in charges.items()})
        return logits if read_out == 1.0 else _answer(chip, images, read_out)

    metrics["accuracy"] = test_accuracy(answer, job)
    return metrics | {
        "spikes_per_neuron": counter.spikes_per_neuron,
        "synaptic_operations": counter.synaptic_operations,
        "energy": spiking_energy(counter.synaptic_operations),
    }


def _answer(chip: SpikingNetwork, images: Tensor, read_out: float) -> Tensor:
    return chip(images) if read_out == 1.0 else chip.read_out(images, read_out * chip.latency)


def _describe(row: Mapping[str, Any]) -> str:
    level = "" if row["level"] is None else f"{row['level']:g}, "
    moment = "fine-tuned" if row["fine_tuned"] else "as mapped"
    network = "quantised ReLU network " if row["network"] == "relu" else ""
    return f"{level}{network}{moment}, draw {row['draw']}: accuracy {row['accuracy']:.2f} %"
