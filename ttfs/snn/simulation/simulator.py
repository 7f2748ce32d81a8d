"""The oracle: an event-driven simulation in float64 that knows nothing of the closed form.

It takes spikes one by one, in time order, integrates each membrane and looks for the crossing of
the threshold.
"""

import heapq
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ttfs.snn.b1 import Fire
from ttfs.snn.encode import Encode
from ttfs.snn.imperfections import InTime, Reads
from ttfs.snn.network import INPUT, OUTPUT, SpikingNetwork
from ttfs.snn.simulation.connectivity import Population, Projection, connectivity


@dataclass(frozen=True)
class Simulation:
    """What the simulator saw: logits [N, classes] and spike times {layer: [N, ...]} in float64
    (infinity: silent).

    `early_fire_rate` is the share of hidden neurons, over the images, whose membrane crosses its
    threshold before its window opens. The network counts on a gate that holds those back; hardware
    without one would let them fire early.
    """

    logits: Tensor
    spike_times: dict[str, Tensor]
    early_fire_rate: float


@dataclass
class _Spikes:
    times: np.ndarray  # absolute, flat, infinity where silent
    deadlines: np.ndarray  # t_max of each neuron's window, when its current ends


def simulate(snn: SpikingNetwork, images: Tensor, threshold: float | None = None) -> Simulation:
    """Simulate each image event by event, tau_c = 1.

    B1 neurons (Stanojevic et al. 2024, Methods): a spike at t adds its weight to dV/dt until its
    window closes at t_max. When its own window opens, a neuron's dV/dt is 1; it fires where V
    reaches theta = T - D, at the opening if V is there already, never if not before t_max.

    α1 neurons (Stanojevic et al. 2023): a spike adds its current J to dV/dt for good, and α = 1 is
    added when the window opens, so that dV/dt = B = α + sum of J. Threshold B (T - D); who has not
    reached it by t_max, or never will for B <= 0, is forced to spike at t_max. Padding counts as
    neurons that spike at their t_max.

    With a `threshold`, output neurons spike too (`SpikingNetwork.first_spike`): their dV/dt is 1
    once all their inputs have come, and `spike_times` has them as "output".

    On a chip (`ttfs.deploy`) thresholds and spike times are changed as the chip says
    (`ttfs.snn.imperfections`). Where currents fluctuate, the membrane has their integral when the
    window opens.

    Exact up to float64 rounding. Draws from image to image (jitter, lost spikes, fluctuating
    currents) are those of the first pass of `snn.double()`, whose random numbers float32 does not
    share and a second pass does not repeat. The cost is a few microseconds a spike and layer; meant
    for samples of a test set.

    Raises TypeError and ValueError for what is no network or no images of it, and for NaN and
    infinity in images, weights and threshold.
    """
    _check(snn, images, threshold)
    windows, latency = snn.windows, snn.latency
    encoded = _encode(images, snn)
    times: dict[str, list[np.ndarray]] = {name: [] for name in windows}
    if threshold is not None:
        times[OUTPUT] = []
    spikes: list[dict[str, _Spikes]] = [{} for _ in images]
    logits, early, neurons = [], 0, 0
    for population in connectivity(snn):
        chip = _in_time(snn, population, len(images))
        projection = population.projection
        if projection is not None:
            _check_numbers(projection, population.name)
        drawn = _draws(projection, len(images)) if projection else {}
        for index in range(len(images)):
            known = spikes[index]
            noise = _noise(projection, known, drawn, index) if projection else 0.0
            if population.kind == "input":
                fired = _Spikes(encoded[index], np.full(encoded[index].size, windows[INPUT][1]))
            elif population.kind == "concatenation":
                parts = [known[source] for source in population.sources]
                fired = _Spikes(
                    *(
                        np.concatenate([getattr(p, f) for p in parts])
                        for f in ("times", "deadlines")
                    )
                )
            elif population.kind == "pool":
                fired = _race(population, known)
            elif population.name == OUTPUT:
                logits.append(_read_out(population, known, latency, noise))
                if threshold is not None:
                    times[OUTPUT].append(latency + np.maximum(threshold - logits[-1], 0.0))
                continue
            else:
                window = windows[population.name]
                fired, crossed = _fire(projection, known, window, chip, noise)
                early, neurons = early + int(crossed.sum()), neurons + crossed.size
            if chip is not None:
                fired.times = chip.spikes(fired.times, windows[population.name], index)
            known[population.name] = fired
            if population.name in times:
                times[population.name].append(fired.times.reshape(population.shape))
    return Simulation(
        torch.from_numpy(np.stack(logits)),
        {name: torch.from_numpy(np.stack(values)) for name, values in times.items()},
        early / neurons if neurons else 0.0,
    )


def _encode(images: Tensor, snn: SpikingNetwork) -> np.ndarray:
    """A pixel x on [low, high] spikes at 1 - (x - low) / (high - low), the lowest never in a B1
    network.
    """
    low, high = snn.encode.low, snn.encode.high
    pixels = images.detach().double().cpu().numpy().reshape(len(images), -1)
    charge = np.clip((pixels - low) / (high - low), 0.0, 1.0)
    return np.where((charge > 0) | (snn.neuron == "alpha1"), 1.0 - charge, np.inf)


def _check_numbers(projection: Projection, name: str) -> None:
    """Raise ValueError for NaN and infinity, which cross no threshold; a bias of -infinity is a
    mask.
    """
    masked = np.isneginf(projection.constant)
    numbers = [matrix.data for matrix in projection.matrices.values()]
    if not all(np.isfinite(values).all() for values in (projection.constant[~masked], *numbers)):
        raise ValueError(f"simulate: weights of {name} are NaN or infinite")


def _check(snn: SpikingNetwork, images: Tensor, threshold: float | None) -> None:
    if not isinstance(snn, SpikingNetwork):
        raise TypeError(f"simulate: takes a network of ttfs.convert, not {type(snn).__name__}")
    if not isinstance(images, Tensor):
        raise TypeError(f"simulate: images are {type(images).__name__}; give a torch.Tensor")
    if threshold is not None and not math.isfinite(threshold):
        raise ValueError(f"simulate: threshold is {threshold}; give a finite number, or None")
    if not len(images):
        raise ValueError("simulate: no images; give at least one")
    if tuple(images.shape[1:]) != snn.input_shape:
        wanted, shape = list(snn.input_shape), list(images.shape)
        raise ValueError(
            f"simulate: images have shape {shape}; the network takes [N, ...] of {wanted}"
        )
    snn.encode.lie_inside(images.cpu())  # refuses NaN, and warns of images that are clipped


def _in_time(snn: SpikingNetwork, population: Population, images: int) -> InTime | None:
    layers: dict[str, Fire | Encode] = {INPUT: snn.encode, **snn.layers}
    layer = layers.get(population.name)
    chip = layer.imperfections if layer else None
    return chip.in_time(population.shape, images) if chip else None


def _noise(
    projection: Projection, known: dict[str, _Spikes], drawn: dict[Reads, np.ndarray], image: int
) -> np.ndarray | float:
    """Return what fluctuating currents add to the potentials [targets] until the windows close."""
    total: np.ndarray | float = 0.0
    for noise in projection.noises:
        arriving = _charge(noise.arriving, known) + _noise(noise.arriving, known, drawn, image)
        xi = drawn[noise.reads][image]
        total = total + noise.after @ (xi * np.sqrt(noise.variances @ arriving**2))
    return total


def _draws(projection: Projection, images: int) -> dict[Reads, np.ndarray]:
    drawn: dict[Reads, np.ndarray] = {}
    for noise in projection.noises:
        drawn |= _draws(noise.arriving, images)
        drawn[noise.reads] = noise.reads.in_time(noise.shape, images)
    return drawn


def _charge(projection: Projection, known: dict[str, _Spikes]) -> np.ndarray:
    """Return what has arrived when all windows are closed: a current is on until its deadline."""
    total = projection.constant
    for name, matrix in projection.matrices.items():
        spikes = known[name]
        fired = np.isfinite(spikes.times)
        total = total + matrix @ np.where(fired, spikes.deadlines - spikes.times, 0.0)
    return total


def _read_out(
    population: Population,
    known: dict[str, _Spikes],
    latency: float,
    noise: np.ndarray | float,
) -> np.ndarray:
    assert population.projection is not None
    membrane, _ = _integrate(population.projection, known, latency, None)
    return (membrane + population.projection.constant + noise).reshape(population.shape)


def _fire(
    projection: Projection | None,
    known: dict[str, _Spikes],
    window: tuple[float, float],
    chip: InTime | None,
    noise: np.ndarray | float,
) -> tuple[_Spikes, np.ndarray]:
    """Return the spikes of a layer, and which membranes crossed the threshold before the window
    opened.
    """
    assert projection is not None
    t_min, t_max = window
    slope = np.ones_like(projection.constant) if projection.slope is None else projection.slope
    rises = slope > 0
    width = t_max - t_min
    resting = width - projection.constant
    if chip is not None:
        resting = chip.thresholds(resting, width)
    threshold = np.where(rises, slope * resting, np.inf)
    membrane, crossed = _integrate(projection, known, t_min, threshold)
    wait = np.maximum(threshold - membrane - noise, 0.0) / np.where(rises, slope, 1.0)
    late = np.inf if projection.slope is None else t_max
    fired = np.where(wait < width, t_min + wait, late)
    return _Spikes(fired, np.full(fired.size, t_max)), crossed


def _integrate(
    projection: Projection, known: dict[str, _Spikes], end: float, threshold: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Integrate the membranes to the time `end`; return them and which crossed the threshold
    before.

    A membrane is brought up to date when an event reaches it: the start of a current, or its end at
    the deadline.
    """
    size = projection.constant.size
    membrane, slope, updated = np.zeros(size), np.zeros(size), np.zeros(size)
    crossed = np.zeros(size, dtype=bool) if threshold is None else threshold <= 0
    for time, sign, name, neuron in _events(projection, known, end):
        matrix = projection.matrices[name]
        reached = slice(matrix.indptr[neuron], matrix.indptr[neuron + 1])
        targets = matrix.indices[reached]
        now = membrane[targets] + slope[targets] * (time - updated[targets])
        if threshold is not None:
            crossed[targets] |= now >= threshold[targets]
        membrane[targets], updated[targets] = now, time
        slope[targets] += sign * matrix.data[reached]
    membrane += slope * (end - updated)
    if threshold is not None:
        crossed |= membrane > threshold
    return membrane, crossed


def _events(projection: Projection, known: dict[str, _Spikes], end: float):
    """Yield (time, +1 | -1, population, neuron) in time order: a current starts, a current ends
    before the end.
    """
    queues = []
    for name in projection.matrices:
        spikes = known[name]
        fired = np.flatnonzero(np.isfinite(spikes.times))
        starts = fired[np.argsort(spikes.times[fired], kind="stable")]
        queues.append([(spikes.times[neuron], 1.0, name, neuron) for neuron in starts])
        ends = fired[spikes.deadlines[fired] < end]
        ends = ends[np.argsort(spikes.deadlines[ends], kind="stable")]
        queues.append([(spikes.deadlines[neuron], -1.0, name, neuron) for neuron in ends])
    return heapq.merge(*queues, key=lambda event: event[0])


def _race(population: Population, known: dict[str, _Spikes]) -> _Spikes:
    """Let the earliest spike of each field pass; in channels of sign -1 the latest, none if any
    neuron is silent.
    """
    assert population.pool is not None
    pool, sign = population.pool.pool, population.pool.sign
    times, deadlines = (part.reshape(1, *population.field) for part in _routed(population, known))
    passed = -pool(-times)
    if sign is not None:
        passed = torch.where(sign.double().cpu() < 0, pool(times), passed)
    return _Spikes(passed.numpy().reshape(-1), pool(deadlines).numpy().reshape(-1))


def _routed(population: Population, known: dict[str, _Spikes]) -> tuple[Tensor, Tensor]:
    """Times and deadlines at the places of a pool; a place that no spike can reach stays silent."""
    assert population.routes is not None
    size = int(np.prod(population.field))
    times, deadlines = np.full(size, np.inf), np.zeros(size)
    for name, route in population.routes.items():
        places = np.repeat(np.arange(size), np.diff(route.indptr))
        times[places] = known[name].times[route.indices]
        deadlines[places] = known[name].deadlines[route.indices]
    return torch.from_numpy(times), torch.from_numpy(deadlines)
