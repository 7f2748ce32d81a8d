"""The cost of silence: accuracy against spikes per neuron over strengths of a penalty on spikes."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from ttfs.results.frame import OF_TTFS, ROW, Results, summed
from ttfs.results.record import Record

PENALTIES = {"activity_l1": "L1 of charge", "activity_l0": "smooth count of spikes"}
COLUMNS = [
    *ROW, "family", *PENALTIES, "n", "validation_accuracy_mean", "accuracy_mean", "accuracy_std",
    "spikes_per_neuron_mean", "spikes_per_neuron_std", "operating_point",
]  # fmt: skip
ORDER = ["dataset", "model", *reversed(PENALTIES), "method"]


def trade_off(results: Results, tolerance: float) -> pd.DataFrame:
    """Return a row for each data set, model and trained TTFS method, by rising strength of L1, then
    of L0. Methods that differ in nothing else are of one `family`.

    Means and sample standard deviations (divisor n - 1) over the n seeds that succeeded; accuracies
    in percent. The `operating_point` is the method of the fewest spikes among those that raise the
    mean validation error of the reference, 100 - accuracy, by no more than the share `tolerance`:
    labels of test items have no part in it.
    """
    groups: dict[tuple[str, str, str], list[Record]] = {}
    for record in results.of("networks"):
        if record.status == "ok" and "best_validation_accuracy" in record.metrics:
            ids = record.ids
            groups.setdefault((ids["dataset"], ids["model"], ids["method"]), []).append(record)
    rows = [_row(key, group) for key, group in groups.items() if OF_TTFS in group[0].metrics]
    rows.sort(key=lambda row: [row[name] for name in ORDER])
    allowed: dict[tuple[str, str], list[int]] = {}
    for place, row in enumerate(rows):
        block = (row["dataset"], row["model"])
        method = results.grid.references.get(row["dataset"], "")
        reference = _mean(groups.get((*block, method), []))
        if (
            100.0 - row["validation_accuracy_mean"]
            <= (100.0 - reference) * (1.0 + tolerance) + 1e-9
        ):
            allowed.setdefault(block, []).append(place)
    chosen = [
        min(places, key=lambda place: rows[place]["spikes_per_neuron_mean"])
        for places in allowed.values()
    ]
    for place, row in enumerate(rows):
        row["operating_point"] = place in chosen
    return pd.DataFrame(rows, columns=COLUMNS)


def _row(key: tuple[str, str, str], records: Sequence[Record]) -> dict[str, Any]:
    train = records[0].config.get("method", records[0].config)["train"]
    row: dict[str, Any] = dict(zip(ROW, key, strict=True))
    words = row["method"].split("+")
    row["family"] = "+".join(word for word in words if _key(word) not in PENALTIES)
    row |= {name: train.get(name, 0.0) for name in PENALTIES} | {"n": len(records)}
    row["validation_accuracy_mean"] = _mean(records)
    for name in ("accuracy", "spikes_per_neuron"):
        row |= summed(name, pd.Series([record.metrics[name] for record in records]))
    return row


def _key(word: str) -> str:
    """The key of a word of an id, such as `activity_l1=2e-3` or `train.activity_l1=2e-3`."""
    return word.split("=")[0].rpartition(".")[2]


def _mean(records: Sequence[Record]) -> float:
    values = pd.Series(
        [record.metrics["best_validation_accuracy"] for record in records], dtype=float
    )
    return summed("best_validation_accuracy", values)["best_validation_accuracy_mean"]
