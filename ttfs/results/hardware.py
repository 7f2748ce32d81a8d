"""What hardware does to TTFS networks: a row for each level of each axis, as mapped and fine-tuned."""

import math
import statistics
from collections.abc import Sequence
from typing import Any

import pandas as pd

from ttfs.results.records import Record

KEYS = ["dataset", "model", "method", "hardware", "axis", "level", "network", "fine_tuned"]
MEANS = ["spikes_per_neuron", "latency", "latency_cut", "time_steps", "synaptic_operations", "energy"]
COLUMNS = [
    *KEYS, "n", "draws", "accuracy_mean", "accuracy_std", "accuracy_std_of_draws",
    "accuracy_minus_ideal_mean", "accuracy_minus_ideal_std", *(f"{name}_mean" for name in MEANS),
]  # fmt: skip


def on_hardware(sweeps: Sequence[Record], records: Sequence[Record]) -> pd.DataFrame:
    """Return a row for each network, hardware, level, kind of network ("ttfs", "relu") and moment (fine-tuned or not).

    A seed's accuracy [%] is its mean over draws, `accuracy_std_of_draws` the sample standard deviation within a seed,
    mean over seeds. Means and sample standard deviations are over the n seeds that succeeded. `accuracy_minus_ideal` is
    the difference to the same seed's ideal TTFS network, in points; `latency_cut` is the ideal latency / latency.
    """
    ideal = {record.cell: record.metrics for record in records if record.status == "ok"}
    groups: dict[tuple[Any, ...], list[dict[str, float]]] = {}
    for sweep in sweeps:
        if sweep.status == "ok" and sweep.cell in ideal:
            for key, seed in _seeds(sweep, ideal[sweep.cell]).items():
                groups.setdefault(key, []).append(seed)
    rows = [dict(zip(KEYS, key, strict=True)) | _over_seeds(seeds) for key, seeds in groups.items()]
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.sort_values(KEYS[:5], kind="stable", ignore_index=True)


def _seeds(sweep: Record, ideal: Any) -> dict[tuple[Any, ...], dict[str, float]]:
    """What one network's draws come to, for each key; levels in the order of the axis."""
    cell = sweep.cell
    axis = next(iter(sweep.config["hardware"].get("axis", {})), "")
    drawn: dict[tuple[Any, ...], list[Any]] = {}
    for row in sweep.levels:
        level = math.nan if row["level"] is None else row["level"]
        block = (cell.dataset, cell.model, cell.method, sweep.hardware, axis)
        drawn.setdefault((*block, "" if axis == "" else level, row["network"], row["fine_tuned"]), []).append(row)
    found = {}
    for key, rows in drawn.items():
        accuracies = [row["accuracy"] for row in rows]
        seed = {name: rows[0].get(name, math.nan) for name in MEANS}
        seed |= {"draws": len(rows), "accuracy": statistics.fmean(accuracies), "std_of_draws": _std(accuracies)}
        seed["accuracy_minus_ideal"] = seed["accuracy"] - ideal["accuracy"]
        seed["latency_cut"] = ideal["latency"] / seed["latency"]
        found[key] = seed
    return found


def _over_seeds(seeds: Sequence[dict[str, float]]) -> dict[str, float]:
    row: dict[str, float] = {"n": len(seeds), "draws": seeds[0]["draws"]}
    for name in ("accuracy", "accuracy_minus_ideal"):
        values = [seed[name] for seed in seeds]
        row |= {f"{name}_mean": statistics.fmean(values), f"{name}_std": _std(values)}
    row["accuracy_std_of_draws"] = statistics.fmean(seed["std_of_draws"] for seed in seeds)
    return row | {f"{name}_mean": statistics.fmean(seed[name] for seed in seeds) for name in MEANS}


def _std(values: Sequence[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else math.nan
