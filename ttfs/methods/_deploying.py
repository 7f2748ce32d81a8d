"""A TTFS network on a chip: as mapped or fine-tuned there, beside the quantized ReLU network."""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from ttfs.errors import UserError
from ttfs.hardware import EmittedCharges, Hardware, deploy, program_, quantized_relu, streams
from ttfs.methods._answers import answers, test_accuracy
from ttfs.methods._job import Job, Row
from ttfs.methods._learning import in_words
from ttfs.methods._spiking import calibration
from ttfs.metrics import Seen, Subject, fan_out, measure
from ttfs.seeds import seed
from ttfs.snn import SpikingNetwork

CALIBRATION_ITEMS = 10_000
"""Training items that the windows of a chip are measured on."""
CHANCE = (
    "jitter", "threshold_mismatch", "dead_neurons", "lost_spikes", "programming_noise",
    "stuck_devices", "drift_spread", "read_noise",
)  # fmt: skip


def deploy_spiking(snn: SpikingNetwork, job: Job) -> list[Row]:
    """Return the rows of a network on the job's hardware, on the whole test split.

    As mapped, each draw is another chip. The network is fine-tuned on the first chip, and each draw
    is a trial there.
    """
    snn = snn.to(job.device).eval()
    settings, draws, read_out = _settings(snn, job)
    rows: list[Row] = []
    for row in _on_chip(snn, settings, draws, read_out, job):
        rows.append(row)
        if row["metric"] == "accuracy" and "class" not in row:
            job.say(f"{row['network']} network, draw {row['draw']}: accuracy {row['value']:.2f} %")
    return rows


def deployed(snn: SpikingNetwork, job: Job) -> SpikingNetwork:
    """Return the network on the first of the job's chips; with the weights of its fine-tuning, if
    it had one.
    """
    snn = snn.to(job.device)
    settings, _, _ = _settings(snn, job)
    chip = _deploy(snn, Hardware(**settings, seed=seed(job.cell.seed, "chip", 0)), job).cpu()
    if job.config["tuned"]:
        chip.load_state_dict(job.saved(job.folder))
    return chip


def _settings(snn: SpikingNetwork, job: Job) -> tuple[dict[str, Any], int, float]:
    """The properties of the chip, its draws, and the share of the latency after which it is
    read.
    """
    settings = dict(job.config["hardware"])
    draws, read_out, cut = (settings.pop(key) for key in ("draws", "read_out", "latency_cut"))
    if cut is not None:
        settings["window_quantile"] = _quantile(snn, snn.latency / cut, settings, job)
    return settings, draws, read_out


def _on_chip(
    snn: SpikingNetwork, settings: dict[str, Any], draws: int, read_out: float, job: Job
) -> Iterator[Row]:
    def chip(draw: int) -> Hardware:
        return Hardware(**settings, seed=seed(job.cell.seed, "chip", draw))

    tuned = _tuned(snn, chip(0), job) if job.config["tuned"] else None
    for draw in range(draws if any(settings[name] for name in CHANCE) else 1):
        network = tuned or _deploy(snn, chip(draw), job)
        if tuned and draw:
            program_(tuned)
        for row in _measure(network, read_out, draw == 0, job):
            yield row | {"network": "ttfs", "draw": draw}
    if settings["time_bits"] is None:
        return  # few-bit weights alone make the TTFS network the quantized ReLU network itself
    control = quantized_relu(snn, chip(0), calibration(job, CALIBRATION_ITEMS))
    if tuned:
        _fine_tune(control, job, "relu")
    yield {"metric": "accuracy", "value": test_accuracy(control, job), "network": "relu", "draw": 0}


def _quantile(snn: SpikingNetwork, latency: float, settings: Mapping[str, Any], job: Job) -> float:
    """The window quantile of a chip of this latency, by bisection; the latency grows with the
    quantile.
    """
    chip = {key: settings[key] for key in ("equalize", "weight_scale")}
    trial = deploy(snn, Hardware(**chip))
    emitted = EmittedCharges(trial, calibration(job, CALIBRATION_ITEMS))
    low, high = 0.0, 1.0
    for _ in range(16):
        middle = (low + high) / 2
        emitted.close_(trial, middle)
        short = trial.latency <= latency
        low, high = (middle, high) if short else (low, middle)
    if low == 0.0:
        raise UserError(
            f"latency_cut of {job.cell.hardware}: no windows are short enough for a latency of "
            f"{latency:.2f} tau_c; the input takes 1 of it, so cut it less"
        )
    return low


def _deploy(snn: SpikingNetwork, chip: Hardware, job: Job) -> SpikingNetwork:
    return deploy(
        snn, chip, calibration(job, CALIBRATION_ITEMS) if chip.window_quantile is not None else None
    )


def _tuned(snn: SpikingNetwork, chip: Hardware, job: Job) -> SpikingNetwork:
    tuned = _deploy(snn, chip, job)
    _fine_tune(tuned, job, "ttfs")
    job.save(tuned.state_dict())
    return tuned


def _fine_tune(network: nn.Module, job: Job, name: str) -> None:
    """Train a network on its chip, in place; the trials draw other noise than the training did."""
    # Lightning takes seconds to import, and mapping needs none.
    from ttfs.training import ChipStreams, fit

    config = job.train

    def on_epoch(row: dict[str, float]) -> None:
        job.say(f"{name} network, fine-tuning, {in_words(row, config['epochs'])}")

    fit(
        network.train(), job.data, config, (*job.axes, "chip"), job.device, on_epoch,
        [ChipStreams(streams)], job.checkpoint(name),
    )  # fmt: skip
    network.to(job.device).eval()


def _measure(chip: SpikingNetwork, read_out: float, count: bool, job: Job) -> Iterator[Row]:
    """Accuracy on the whole test split after a share of the latency; where asked, the costs too."""
    early, facts = read_out < 1.0, {"latency": read_out * chip.latency}
    bits = job.config["hardware"]["time_bits"]
    if bits is not None:
        facts["time_steps"] = _steps(chip, facts["latency"], bits)
    if not count:
        value = test_accuracy(lambda items: _answer(chip, items, read_out), job)
        yield {"metric": "accuracy", "value": value}
        yield from ({"metric": name, "value": value} for name, value in facts.items())
        return

    def answer(items: Tensor) -> Seen:
        logits, charges = chip.charges(items, pooled=True)
        fired = {name: chip.fired(charge) for name, charge in charges.items()}
        logits = _answer(chip, items, read_out) if early else logits
        return Seen(logits, logits, None, fired)

    subject = Subject(job.data.classes, tuple(chip.layers), fan_out(chip), facts=facts, early=early)
    yield from measure(subject, answers(answer, job))


def _steps(chip: SpikingNetwork, time: float, bits: int) -> float:
    """The steps of the clock until a time, 2^bits in each window, however wide it is."""
    shares = ((time - t_min) / (t_max - t_min) for t_min, t_max in chip.chain)
    return 2**bits * sum(min(max(share, 0.0), 1.0) for share in shares)


def _answer(chip: SpikingNetwork, items: Tensor, read_out: float) -> Tensor:
    return chip(items) if read_out == 1.0 else chip.read_out(items, read_out * chip.latency)
