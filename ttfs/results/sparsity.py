"""What silence costs: accuracy against spikes per neuron over strengths of a penalty on what neurons emit."""

import math
import statistics
from collections.abc import Sequence
from typing import Any

import pandas as pd

from ttfs.results.records import REFERENCE, Record

COLUMNS = [
    "dataset", "model", "method", "activity_l1", "activity_l0", "n", "validation_accuracy_mean", "accuracy_mean",
    "accuracy_std", "spikes_per_neuron_mean", "spikes_per_neuron_std", "operating_point",
]  # fmt: skip
PENALTIES = {"activity_l1": "L1 of charge", "activity_l0": "smooth count of spikes"}
ORDER = ["dataset", "model", *reversed(PENALTIES), "method"]


def trade_off(records: Sequence[Record], tolerance: float) -> pd.DataFrame:
    """Return a row for each data set, model and trained TTFS method, by rising strength of L1, then of L0.

    Means and sample standard deviations (divisor n - 1) over the n seeds that succeeded; accuracies in percent. The
    `operating_point` is the method of the fewest spikes among those that raise the mean validation error of the ANN,
    100 - accuracy, by no more than the share `tolerance`: labels of test images have no say in it.
    """
    groups: dict[tuple[str, str, str], list[Record]] = {}
    for record in records:
        if record.status == "ok" and "best_validation_accuracy" in record.metrics:
            cell = record.cell
            groups.setdefault((cell.dataset, cell.model, cell.method), []).append(record)
    spiking = {key: group for key, group in groups.items() if "spikes_per_neuron" in group[0].metrics}
    rows = sorted((_row(key, group) for key, group in spiking.items()), key=lambda row: [row[name] for name in ORDER])
    allowed: dict[tuple[str, str], list[int]] = {}
    for place, row in enumerate(rows):
        block = (row["dataset"], row["model"])
        reference = _mean(groups.get((*block, REFERENCE), []), "best_validation_accuracy")
        if 100.0 - row["validation_accuracy_mean"] <= (100.0 - reference) * (1.0 + tolerance) + 1e-9:
            allowed.setdefault(block, []).append(place)
    chosen = [min(places, key=lambda place: rows[place]["spikes_per_neuron_mean"]) for places in allowed.values()]
    for place, row in enumerate(rows):
        row["operating_point"] = place in chosen
    return pd.DataFrame(rows, columns=COLUMNS)


def _row(key: tuple[str, str, str], records: Sequence[Record]) -> dict[str, Any]:
    row: dict[str, Any] = dict(zip(COLUMNS, key, strict=False))
    row |= {name: records[0].config["train"].get(name, 0.0) for name in PENALTIES} | {"n": len(records)}
    row["validation_accuracy_mean"] = _mean(records, "best_validation_accuracy")
    for name in ("accuracy", "spikes_per_neuron"):
        values = [record.metrics[name] for record in records]
        row[f"{name}_mean"] = statistics.fmean(values)
        row[f"{name}_std"] = statistics.stdev(values) if len(values) > 1 else math.nan
    return row


def _mean(records: Sequence[Record], metric: str) -> float:
    return statistics.fmean(record.metrics[metric] for record in records) if records else math.nan
