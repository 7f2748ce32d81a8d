"""verify: is the TTFS network the ReLU network, and what does it spend? On the whole test set."""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ttfs.errors import UserError
from ttfs.metrics import (
    SpikeCounter,
    accuracy,
    agreement,
    dense_energy,
    fan_out,
    kept_epoch,
    multiply_accumulates,
    spiking_energy,
)
from ttfs.results.records import read_curve
from ttfs.snn import (
    OUTPUT,
    Simulation,
    SpikingNetwork,
    layer_differences,
    relative_difference,
    reference_network,
    simulate,
    stalled_neurons,
)
from ttfs.stages._job import Job
from ttfs.stages._networks import load_ann, load_snn


def verify(job: Job) -> None:
    """Write record.json of a TTFS network; fail, with the layer named, where it is outside the tolerances.

    A converted network is held against the ReLU network it came from, a trained one against its ReLU twin.
    """
    snn = load_snn(job, job.cell).to(job.device).eval()
    ann = _reference(snn, job).to(job.device).eval()
    limits = job.config["verify"]
    answers = _answer(ann, snn, job)
    metrics = {
        "accuracy": accuracy(answers.logits, answers.labels),
        "agreement": agreement(answers.logits, answers.reference),
        "logit_difference": relative_difference(answers.logits, answers.reference),
        "spikes_per_neuron": answers.counter.spikes_per_neuron,
        "latency": snn.latency,
        "synaptic_operations": answers.counter.synaptic_operations,
        "energy": spiking_energy(answers.counter.synaptic_operations),
        "ann_energy": dense_energy(multiply_accumulates(snn)),
        "parameters": sum(p.numel() for p in snn.parameters()),
    }
    if snn.neuron == "alpha1":
        metrics["stalled_neurons"] = stalled_neurons(snn)
    if "train" in job.config:
        metrics |= kept_epoch(read_curve(job.cell.folder), job.config["train"]["select"])
    _check_logits(metrics, limits, ann, snn, job)
    if limits["simulated_images"]:
        images = next(iter(job.data.test.batches(limits["simulated_images"])))[0].double()
        exact = copy.deepcopy(snn).cpu().double()
        simulation = simulate(exact, images)
        errors = _simulation_errors(exact, simulation, images)
        _check_simulation(errors, limits["spike_time_error"])
        metrics |= {"spike_time_error": max(errors.values()), "early_fire_rate": simulation.early_fire_rate}
    job.write_record(metrics=metrics, layers=_layers(snn, answers.counter), data_digest=job.data.digest)
    job.say(
        f"accuracy {metrics['accuracy']:.2f} %, agreement {metrics['agreement']:.2f} %, logit difference "
        f"{metrics['logit_difference']:.1e}, {metrics['spikes_per_neuron']:.3f} spikes per neuron"
    )


def _reference(snn: SpikingNetwork, job: Job) -> nn.Module:
    """The ReLU network that the TTFS network should equal."""
    source = job.grid.source(job.cell)
    return load_ann(job, source) if source is not None and "convert" in job.config else reference_network(snn)


@dataclass
class _Answers:
    logits: Tensor
    reference: Tensor
    labels: Tensor
    counter: SpikeCounter


@torch.no_grad()
def _answer(ann: nn.Module, snn: SpikingNetwork, job: Job) -> _Answers:
    counter, parts = SpikeCounter(snn, fan_out(snn)), []
    for images, labels in job.data.test.batches(500, device=job.device):
        logits, charges = snn.charges(images, pooled=True)
        counter.update({name: snn.fired(charge) for name, charge in charges.items()})
        parts.append((logits.cpu(), ann(images).cpu(), labels.cpu()))
    logits, reference, labels = (torch.cat(part) for part in zip(*parts, strict=True))
    return _Answers(logits, reference, labels, counter)


@torch.no_grad()
def _simulation_errors(snn: SpikingNetwork, simulation: Simulation, images: Tensor) -> dict[str, float]:
    """Return {layer: largest difference of closed form and simulator, in tau_c}; silence counts as a spike at t_max."""
    logits, charges = snn.charges(images)
    errors = {OUTPUT: (simulation.logits - logits).abs().max().item()}
    for name, times in simulation.spike_times.items():
        simulated = torch.where(torch.isfinite(times), snn.windows[name][1] - times, 0.0)
        errors[name] = (simulated - charges[name]).abs().max().item()
    return errors


def _layers(snn: SpikingNetwork, counter: SpikeCounter) -> dict[str, dict[str, float]]:
    windows = snn.windows
    return {
        name: {
            "neurons": counter.neurons[name],
            "spikes_per_neuron": spikes,
            "t_min": windows[name][0],
            "t_max": windows[name][1],
        }
        for name, spikes in counter.spikes_per_layer.items()
    }


def _check_logits(metrics: dict[str, float], limits: dict[str, float], ann: nn.Module, snn: SpikingNetwork, job: Job):
    """Raise UserError, with the layer named where it can be, where the TTFS network is not the ReLU network."""
    difference, limit = metrics["logit_difference"], limits["logit_difference"]
    if difference <= limit and metrics["agreement"] >= limits["agreement"]:
        return
    block, where = "train" if "train" in job.config else "convert", ""
    if block == "convert" and snn.neuron == "b1":  # α1 neurons are rescaled, and a twin's graph is not an ANN's
        worst: dict[str, float] = {}
        for images, _ in job.data.test.batches(500, device=job.device):
            for name, value in layer_differences(ann, snn, images).items():
                worst[name] = max(worst.get(name, 0.0), value)
        name = next((name for name, value in worst.items() if value > limit), max(worst, key=worst.__getitem__))
        where = f"; first off is layer {name}, by {worst[name]:.1e}"
    raise UserError(
        f"not the ReLU network: logits differ by {difference:.1e} of the largest (tolerance {limit:.0e}), agreement is "
        f"{metrics['agreement']:.2f} %{where}; if its window clips strong activations, raise {block}.headroom"
    )


def _check_simulation(errors: dict[str, float], limit: float) -> None:
    """Raise UserError, with the layer named, where closed form and simulator disagree."""
    name = next((name for name, error in errors.items() if not error <= limit), None)
    if name is not None:
        raise UserError(
            f"layer {name}: closed form and event-driven simulator differ by {errors[name]:.1e} tau_c "
            f"(verify.spike_time_error: {limit:.0e})"
        )
