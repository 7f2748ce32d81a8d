"""Tables, from records alone. The same records give the same bytes."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ttfs.results.hardware import on_hardware
from ttfs.results.records import METRICS, REFERENCE, Metric, Record, atomic_write
from ttfs.results.sparsity import trade_off

BLOCK = ["dataset", "model"]
ROW = [*BLOCK, "method"]
GAIN = "accuracy_minus_ann"
GAIN_METRIC = Metric("Difference to ANN", "points", "+z.2f")
ABSENT = "–"
SPENT = ["spikes_per_neuron", "latency", "time_steps", "energy"]
"""Columns of the hardware table after the accuracies."""


def write(
    records: Sequence[Record],
    sweeps: Sequence[Record],
    folder: Path,
    published: Iterable[Mapping[str, Any]],
    tolerance: float,
) -> None:
    """Write every table of a grid into a folder, e.g. ``results/quick/tables``.

    ``cells.csv`` (a row per cell), ``summary.csv`` and ``summary.md`` (a row per data set, model and method),
    ``layers.csv`` (a row per layer), ``sparsity.csv`` (a row per strength of the L1 penalty; see
    `results.sparsity.trade_off` for the ``tolerance``), ``hardware.csv`` and ``hardware.md`` (a row per level of a
    hardware, from the ``sweeps``; see `results.hardware.on_hardware`), ``published.csv`` and ``published.md`` (ours
    beside the values of papers). ``published`` holds the checked contents of ``configs/published/*.yaml``.
    """
    cell_table = cells(records)
    summary_table = summary(cell_table)
    published_table = compare(summary_table, published)
    hardware_table = on_hardware(sweeps, records)
    for name, table in {
        "cells": cell_table,
        "summary": summary_table,
        "layers": layers(records),
        "sparsity": trade_off(records, tolerance),
        "hardware": hardware_table,
        "published": published_table,
    }.items():
        atomic_write(folder / f"{name}.csv", table.to_csv(index=False, float_format="%.10g", lineterminator="\n"))
    atomic_write(folder / "summary.md", _summary_text(summary_table, cell_table))
    atomic_write(folder / "hardware.md", _hardware_text(hardware_table, sweeps))
    atomic_write(folder / "published.md", _published_text(published_table))


def cells(records: Sequence[Record]) -> pd.DataFrame:
    """One row per cell: its ids, status, every metric any cell has, error. In each block the reference comes first."""
    names = [name for name in METRICS if any(name in record.metrics for record in records)]
    rows = [
        {
            "dataset": record.cell.dataset,
            "model": record.cell.model,
            "method": record.cell.method,
            "seed": record.cell.seed,
            "status": record.status,
            **{name: record.metrics.get(name, math.nan) for name in names},
            "error": " ".join((record.error or "").split()),
        }
        for record in sorted(records, key=_order)
    ]
    return pd.DataFrame(rows, columns=[*ROW, "seed", "status", *names, "error"])


def summary(cell_table: pd.DataFrame) -> pd.DataFrame:
    """One row per data set, model and method, over the seeds that succeeded.

    ``n`` of ``seeds`` cells succeeded, where ``seeds`` counts all seeds seen in the block of that data set and model.
    A metric that each of the n cells has gives its mean and sample standard deviation (divisor n − 1), or its largest
    value. ``accuracy_minus_ann`` is the difference to the same seed's ANN, in percentage points.
    """
    names = [*_metrics_of(cell_table), GAIN]
    values = cell_table.assign(**{GAIN: _gain(cell_table)})
    seeds = values.groupby(BLOCK)["seed"].nunique()
    rows = []
    for key, group in values.groupby(ROW, sort=False):
        good = group[group["status"] == "ok"]
        row: dict[str, Any] = dict(zip(ROW, key, strict=True)) | {"n": len(good), "seeds": seeds[key[:2]]}
        for name in names:
            row |= _aggregate(name, good[name])
        rows.append(row)
    return pd.DataFrame(rows)


def layers(records: Sequence[Record]) -> pd.DataFrame:
    """One row per hidden layer of a spiking network, in order of depth; means over the seeds that succeeded."""
    columns = [*ROW, "layer", "neurons", "spikes_per_neuron", "t_min", "t_max"]
    rows = [
        dict(zip(ROW, (record.cell.dataset, record.cell.model, record.cell.method), strict=True))
        | {"layer": layer, **values}
        for record in sorted(records, key=_order)
        for layer, values in sorted(record.layers.items(), key=lambda item: (item[1]["t_min"], item[0]))
    ]
    table = pd.DataFrame(rows, columns=columns)
    return table.groupby([*ROW, "layer"], sort=False, as_index=False).agg(
        neurons=("neurons", "first"),
        n=("spikes_per_neuron", "count"),
        spikes_per_neuron_mean=("spikes_per_neuron", statistics.fmean),
        spikes_per_neuron_std=("spikes_per_neuron", _std),
        t_min_mean=("t_min", statistics.fmean),
        t_max_mean=("t_max", statistics.fmean),
    )


def compare(summary_table: pd.DataFrame, published: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Published values beside ours, a row for each of our summary rows of the same data set (and model and method).

    A value that names no method stands for spiking networks: beside it come all our methods but the ANN.
    ``difference`` is ours − published, in the metric's unit.
    """
    columns = [
        "dataset", "metric", "work", "source", "network", "relation", "published",
        "model", "method", "n", "ours_mean", "ours_std", "difference",
    ]  # fmt: skip
    rows = []
    for work in published:
        for value in work["values"]:
            for ours in summary_table[_matches(summary_table, value)].to_dict("records"):
                mean = ours.get(f"{value['metric']}_mean", math.nan)
                if pd.notna(mean):
                    rows.append({
                        "dataset": ours["dataset"], "metric": value["metric"],
                        "work": work["work"], "source": work["source"], "network": value.get("network", ""),
                        "relation": value.get("relation", "equal"), "published": value["value"],
                        "model": ours["model"], "method": ours["method"], "n": ours["n"],
                        "ours_mean": mean, "ours_std": ours[f"{value['metric']}_std"],
                        "difference": mean - value["value"],
                    })  # fmt: skip
    table = pd.DataFrame(rows, columns=columns)
    return table.sort_values(["dataset", "metric", "work", "published", "model", "method"], ignore_index=True)


def _order(record: Record) -> tuple[Any, ...]:
    cell = record.cell
    return cell.dataset, cell.model, cell.method != REFERENCE, cell.method, cell.seed


def _metrics_of(table: pd.DataFrame) -> list[str]:
    return [name for name in METRICS if name in table]


def _metric(name: str) -> Metric:
    return GAIN_METRIC if name == GAIN else METRICS[name]


def _aggregate(name: str, values: pd.Series) -> dict[str, float]:
    nothing = values.empty or values.isna().any()
    if _metric(name).over_seeds == "max":
        return {f"{name}_max": math.nan if nothing else values.max()}
    return {
        f"{name}_mean": math.nan if nothing else statistics.fmean(values),
        f"{name}_std": math.nan if nothing else _std(values),
    }


def _std(values: pd.Series) -> float:
    """Sample standard deviation by exact sums: zero for equal values, the same bytes for every version of pandas."""
    return statistics.stdev(values) if len(values) > 1 else math.nan


def _gain(cell_table: pd.DataFrame) -> pd.Series:
    """Accuracy of each cell minus the ANN's of the same data set, model and seed; nothing for the ANN itself."""
    if "accuracy" not in cell_table:
        return pd.Series(math.nan, index=cell_table.index)
    is_reference = cell_table["method"] == REFERENCE
    reference = cell_table[is_reference].set_index([*BLOCK, "seed"])["accuracy"]
    own = pd.MultiIndex.from_frame(cell_table[[*BLOCK, "seed"]])
    return (cell_table["accuracy"] - reference.reindex(own).to_numpy()).mask(is_reference)


def _matches(table: pd.DataFrame, value: Mapping[str, Any]) -> pd.Series:
    fits = table["dataset"].isin(value["datasets"])
    if "model" in value:
        fits &= table["model"] == value["model"]
    return fits & (table["method"] == value["method"] if "method" in value else table["method"] != REFERENCE)


def _summary_text(summary_table: pd.DataFrame, cell_table: pd.DataFrame) -> str:
    names = [name for name in _metrics_of(cell_table) if METRICS[name].in_summary]
    if "accuracy" in names:
        names.insert(names.index("accuracy") + 1, GAIN)
    rows = [
        {
            "Data set": row["dataset"],
            "Model": row["model"],
            "Method": row["method"],
            "n": str(row["n"]) if row["n"] == row["seeds"] else f"{row['n']} of {row['seeds']}",
            **{_metric(name).title: _over_seeds(row, name) for name in names},
        }
        for row in summary_table.to_dict("records")
    ]
    text = _markdown(pd.DataFrame(rows))
    text += "\nMean ± sample standard deviation over n seeds; the logit difference is the largest over all seeds.\n"
    failures = cell_table[cell_table["status"] == "failed"]
    if len(failures):
        text += "\nFailed:\n\n"
    for cell in failures.to_dict("records"):
        text += f"- {cell['dataset']}/{cell['model']}/seed{cell['seed']}/{cell['method']}: {cell['error']}\n"
    return text


def _hardware_text(table: pd.DataFrame, sweeps: Sequence[Record]) -> str:
    if table.empty and not sweeps:
        return "This grid puts no network on hardware.\n"
    rows = []
    keys = ["dataset", "model", "method", "hardware", "axis", "level"]
    for key, group in table.groupby(keys, sort=False, dropna=False):
        found = {(row["network"], row["fine_tuned"]): row for row in group.to_dict("records")}
        mapped, tuned = found["ttfs", False], found.get(("ttfs", True), {})
        dataset, model, method, hardware, axis, level = key
        rows.append({
            "Data set": dataset, "Model": model, "Method": method,
            "Hardware": hardware, "Level": f"{axis} {level:g}" if axis else ABSENT,
            "As mapped [%]": _accuracy_of(mapped), "Fine-tuned [%]": _accuracy_of(tuned),
            "Fine-tuned − ideal": _accuracy_of(tuned, "accuracy_minus_ideal", "+z.2f"),
            "Quantised ReLU [%]": _accuracy_of(found.get(("relu", False), {})),
            "Fine-tuned quantised ReLU [%]": _accuracy_of(found.get(("relu", True), {})),
            **{METRICS[name].title: _mean_of(tuned or mapped, name) for name in SPENT},
        })  # fmt: skip
    text = _markdown(pd.DataFrame(rows)) if rows else ""
    text += (
        "\nMean ± sample standard deviation over seeds, of which each, where chance is in it, is a mean over draws. "
        "What is spent is that of the fine-tuned network, where there is one.\n"
    )
    failures = [sweep for sweep in sweeps if sweep.status == "failed"]
    if failures:
        text += "\nFailed:\n\n" + "".join(f"- {sweep.place}: {sweep.error}\n" for sweep in failures)
    return text


def _accuracy_of(row: Mapping[str, Any], name: str = "accuracy", digits: str = ".2f") -> str:
    return spread(row.get(f"{name}_mean", math.nan), row.get(f"{name}_std", math.nan), digits)


def _mean_of(row: Mapping[str, Any], name: str) -> str:
    return spread(row[f"{name}_mean"], math.nan, METRICS[name].digits)


def _published_text(table: pd.DataFrame) -> str:
    if table.empty:
        return "No published value at hand is for a data set and network of this grid.\n"
    rows = [
        {
            "Data set": row["dataset"],
            "Metric": METRICS[row["metric"]].title,
            "Published work": f"{row['work']} ({row['source']})",
            "Its network": row["network"] or ABSENT,
            "Published": ("< " if row["relation"] == "below" else "") + f"{row['published']:g}",
            "Our model": row["model"],
            "Our method": row["method"],
            "n": str(row["n"]),
            "Ours": spread(row["ours_mean"], row["ours_std"], METRICS[row["metric"]].digits),
            "Difference": f"{row['difference']:+z{METRICS[row['metric']].digits}}",
        }
        for row in table.to_dict("records")
    ]
    return _markdown(pd.DataFrame(rows))


def _over_seeds(row: Mapping[str, Any], name: str) -> str:
    digits = _metric(name).digits
    if _metric(name).over_seeds == "max":
        return spread(row[f"{name}_max"], math.nan, digits)
    return spread(row[f"{name}_mean"], row[f"{name}_std"], digits)


def spread(mean: float, std: float, digits: str) -> str:
    """Mean ± std as text; the mean alone where there is no std, a dash where there is no mean.

    >>> spread(98.024, 0.056, ".2f"), spread(98.024, math.nan, ".2f"), spread(math.nan, math.nan, ".2f")
    ('98.02 ± 0.06', '98.02', '–')
    """
    if pd.isna(mean):
        return ABSENT
    return f"{mean:{digits}}" + ("" if pd.isna(std) else f" ± {std:{digits.lstrip('+z')}}")


def _markdown(table: pd.DataFrame) -> str:
    return table.to_markdown(index=False, disable_numparse=True) + "\n"
