"""Measurements of TTFS networks on the whole test split, and the check that they are exact."""

import copy
import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ttfs.errors import UserError
from ttfs.methods._answers import BATCH, answers, trained
from ttfs.methods._job import Job, Row
from ttfs.metrics import (
    Seen,
    Subject,
    dense_energy,
    fan_out,
    measure,
    multiply_accumulates,
)
from ttfs.snn import (
    OUTPUT,
    Simulation,
    SpikingNetwork,
    layer_differences,
    simulate,
)


def measure_spiking(snn: SpikingNetwork, reference: nn.Module, job: Job) -> list[Row]:
    """Return the rows of a TTFS network; raise UserError where it is outside the tolerances of its
    `check`.
    """
    snn, reference = snn.to(job.device).eval(), reference.to(job.device).eval()
    facts = {
        "latency": snn.latency,
        "ann_energy": dense_energy(multiply_accumulates(snn)),
        "parameters": sum(p.numel() for p in snn.parameters()),
        **trained(job),
    }

    def answer(items: Tensor) -> Seen:
        logits, charges = snn.charges(items, pooled=True)
        fired = {name: snn.fired(charge) for name, charge in charges.items()}
        return Seen(logits, logits, reference(items).cpu(), fired)

    subject = Subject(job.data.classes, tuple(snn.layers), fan_out(snn), facts=facts)
    rows = list(measure(subject, answers(answer, job)))
    found = {row["metric"]: row["value"] for row in rows if len(row) == 2}
    limits = job.options["check"]
    check_logits(found, limits, reference, snn, job)
    rows += _windows(snn)
    if limits["simulated_items"]:
        rows += _simulated(snn, limits, job)
    job.say(
        f"accuracy {found['accuracy']:.2f} %, agreement {found['agreement']:.2f} %, logit "
        f"difference {found['logit_difference']:.1e}, {found['spikes_per_neuron']:.3f} spikes "
        "per neuron"
    )
    return rows


def _windows(snn: SpikingNetwork) -> Iterator[Row]:
    for name, (t_min, t_max) in snn.windows.items():
        if name in snn.layers:
            yield {"metric": "t_min", "value": t_min, "layer": name}
            yield {"metric": "t_max", "value": t_max, "layer": name}


def _simulated(snn: SpikingNetwork, limits: Mapping[str, Any], job: Job) -> Iterator[Row]:
    """Compare with the event-driven simulator, in float64."""
    items = next(iter(job.data.test.batches(limits["simulated_items"])))[0].double()
    exact = copy.deepcopy(snn).cpu().double()
    simulation = simulate(exact, items)
    errors = simulation_errors(exact, simulation, items)
    check_simulation(errors, limits["spike_time_error"], exact.latency)
    yield {"metric": "spike_time_error", "value": max(errors.values())}
    yield {"metric": "early_fire_rate", "value": simulation.early_fire_rate}


@torch.no_grad()
def simulation_errors(
    snn: SpikingNetwork, simulation: Simulation, items: Tensor
) -> dict[str, float]:
    """Return {layer: largest difference of closed form and simulator, in tau_c}; silence counts as
    a spike at t_max.
    """
    logits, charges = snn.charges(items)
    errors = {OUTPUT: (simulation.logits - logits).abs().max().item()}
    for name, times in simulation.spike_times.items():
        simulated = torch.where(torch.isfinite(times), snn.windows[name][1] - times, 0.0)
        errors[name] = (simulated - charges[name]).abs().max().item()
    return errors


def check_logits(
    found: Mapping[str, float],
    limits: Mapping[str, float],
    reference: nn.Module,
    snn: SpikingNetwork,
    job: Job,
) -> None:
    """Raise UserError, with the layer named where it can be, where the TTFS network is not its
    reference network.
    """
    difference, limit = found["logit_difference"], limits["logit_difference"]
    if difference <= limit and found["agreement"] >= limits["agreement"]:
        return
    converted, where = not job.options.get("train"), ""
    if (
        converted and snn.neuron == "b1"
    ):  # α1 neurons are rescaled, and the graph of a trained one is no ANN's
        worst: dict[str, float] = {}
        for items, _ in job.data.test.batches(BATCH, device=job.device):
            for name, value in layer_differences(reference, snn, items).items():
                worst[name] = max(worst.get(name, 0.0), value)
        name = next(
            (name for name, value in worst.items() if value > limit),
            max(worst, key=worst.__getitem__),
        )
        where = f"; the first layer that differs is {name}, by {worst[name]:.1e}"
    raise UserError(
        f"not the ReLU network: logits differ by {difference:.1e} of the largest (tolerance "
        f"{limit:.0e}), agreement is {found['agreement']:.2f} %{where}; if its window clips "
        "strong activations, raise headroom"
    )


def check_simulation(errors: Mapping[str, float], limit: float, latency: float) -> None:
    """Raise UserError, with the layer named, where closed form and simulator disagree."""
    name = next((name for name, error in errors.items() if not error <= limit), None)
    if name is not None:
        raise UserError(
            f"layer {name}: closed form and event-driven simulator differ by {errors[name]:.1e} "
            f"tau_c (check.spike_time_error: {limit:.0e}); float64 rounds times near the latency, "
            f"{latency:.2g} tau_c, by {math.ulp(latency):.0e}: raise the limit where that is much"
        )
