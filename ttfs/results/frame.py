"""From the records of a grid to tables of numbers: one way to gather them, one way to sum them up
over seeds.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd

from ttfs.config import STORE, Cell, Grid, Variant, column, leaves, schema_of
from ttfs.errors import UserError
from ttfs.metrics import METRICS, Metric
from ttfs.results.record import FAILURE, RECORD, Record, dimensions, earlier, read
from ttfs.results.state import State

BLOCK = ["dataset", "model"]
ROW = [*BLOCK, "method"]
GAIN = "accuracy_minus_reference"
TO_IDEAL = "accuracy_minus_ideal"
OF_DRAWS = "accuracy_std_of_draws"
CUT = "latency_cut"
TUNING = {
    part
    for key in leaves(schema_of("hardware"))
    if key.startswith("tuning")
    for part in key.split(".")
}
"""Keys of hardware that are about fine-tuning, not about the chip, and its blocks."""
OF_TTFS = "latency"
"""The metric that TTFS networks have, and no others."""
DERIVED = {
    GAIN: Metric(GAIN, "Difference to {reference}", "points", "+z.2f"),
    TO_IDEAL: Metric(TO_IDEAL, "Difference to ideal", "points", "+z.2f"),
    OF_DRAWS: Metric(OF_DRAWS, "Std of draws", "%", ".2f"),
    CUT: Metric(CUT, "Latency, times shorter", "", ".1f"),
}
"""Columns that are computed from others."""


@dataclass(frozen=True)
class Results:
    """The records of a grid's cells, and notes on them."""

    grid: Grid
    records: Sequence[Record]
    """Of networks, then of networks on hardware, then of studies; of each cell its success, or else
    its failure.
    """
    stale: dict[str, str] = field(default_factory=dict)
    """{cell: reason} of records whose configuration, code or data have changed."""
    store: Path = STORE
    """The folder that the records were read from, with their curves beside them."""

    def of(self, kind: str) -> list[Record]:
        """Return the records of "networks", "hardware" or "studies", in the order of the tables.

        By data set, model and method, where the reference comes first, then by chip and seed.
        """
        names = {"networks": self.grid.cells, "hardware": self.grid.deployments}
        wanted = {cell.name for cell in names.get(kind, self.grid.study_cells)}
        found = [record for record in self.records if record.name in wanted]
        return sorted(found, key=self._place)

    def _place(self, record: Record) -> tuple[Any, ...]:
        ids = record.ids
        if "study" in ids:
            return (ids["study"],)
        first = ids["method"] == self.grid.references.get(ids["dataset"])
        method = (not first, ids["method"])
        return ids["dataset"], ids["model"], method, ids.get("hardware", ""), ids["seed"]

    @property
    def failures(self) -> list[Record]:
        """Return the records of failures."""
        return [record for record in self.records if record.status == "failed"]


def collect(grid: Grid, store: Path = STORE) -> Results:
    """Read the records of a grid from a store, and find those of a run that are out of date.

    Raises UserError if there is none, or if one cannot be read.
    """
    found = []
    for cell in grid.every:
        paths = (store / cell.name / name for name in (RECORD, FAILURE))
        path = next((path for path in paths if path.exists()), None)
        if path is not None:
            found.append(read(path, cell.name))
    if not found:
        raise UserError(
            f"grid {grid.name}: no records of its cells; run the workflow first (`snakemake all`)"
        )
    if store != STORE:
        return Results(grid, found, store=store)
    return Results(grid, found, State(grid).stale)


def wide(records: Sequence[Record], dims: Sequence[str] = ()) -> pd.DataFrame:
    """Return a row for each record and value of the dimensions, with a column for each metric.

    Only rows with exactly these dimensions are taken, in the order of the records.
    """
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for record in records:
        if record.status != "ok":
            continue
        for row in record.rows:
            place = dimensions(row)
            if set(place) == set(dims):
                key = (*record.ids.values(), *(place[name] for name in dims))
                ids = {**record.ids, **{name: place[name] for name in dims}}
                found.setdefault(key, ids)[row["metric"]] = row["value"]
    return pd.DataFrame(list(found.values()))


def over_seeds(table: pd.DataFrame, keys: Sequence[str], metrics: Sequence[str]) -> pd.DataFrame:
    """Sum up over seeds: `n`, and for each metric mean and sample standard deviation, or the
    largest value.

    A metric that one of the n seeds lacks gives nothing. Exact sums make the same bytes with each
    version of pandas.
    """
    rows = []
    for key, group in table.groupby(list(keys), sort=False, dropna=False):
        row: dict[str, Any] = dict(zip(keys, key, strict=True)) | {"n": len(group)}
        for name in metrics:
            row |= summed(name, group[name] if name in group else pd.Series(dtype=float))
        rows.append(row)
    return pd.DataFrame(rows, columns=None if rows else [*keys, "n"])


def summed(name: str, values: pd.Series) -> dict[str, float]:
    """Return {name_mean, name_std}, or {name_max}, of the values of seeds."""
    nothing = values.empty or values.isna().any()
    if metric(name).over_seeds == "max":
        return {f"{name}_max": math.nan if nothing else values.max()}
    return {
        f"{name}_mean": math.nan if nothing else statistics.fmean(values),
        f"{name}_std": math.nan if nothing else std(values),
    }


def std(values: Sequence[float] | pd.Series) -> float:
    """Return the sample standard deviation (divisor n - 1); NaN for a single value."""
    return statistics.stdev(values) if len(values) > 1 else math.nan


def metric(name: str) -> Metric:
    """Return the metric of a column."""
    return DERIVED.get(name) or METRICS[name]


def metrics_of(table: pd.DataFrame) -> list[str]:
    """Return the metrics that a table has columns for, in the order of the tables."""
    return [name for name in METRICS if name in table]


def cells(results: Results) -> pd.DataFrame:
    """One row a network: ids, varied keys, status, each metric that any has, error."""
    grid = results.grid
    networks = results.of("networks")
    values = wide(networks)
    names = metrics_of(values)
    rows = []
    for record in networks:
        cell = Cell(**record.ids)
        columns = grid.columns(cell)
        row = {**record.ids, **{name: columns[name] for name in _column_names(grid)}}
        row["status"] = record.status
        row |= {name: record.metrics.get(name, math.nan) for name in names if name not in row}
        rows.append(row | {"error": record.error_line})
    return pd.DataFrame(rows, columns=None if rows else [*ROW, "seed", "status", "error"])


def summary(results: Results, cell_table: pd.DataFrame) -> pd.DataFrame:
    """One row per data set, model and method, over the seeds that succeeded.

    ``n`` of ``seeds`` cells succeeded, where ``seeds`` counts all seeds seen in the block of that
    data set and model. ``accuracy_minus_reference`` is the difference to the same seed's reference,
    in percentage points.
    """
    grid = results.grid
    varied = [name for name in _column_names(grid) if name in cell_table]
    names = [*(name for name in metrics_of(cell_table) if name not in varied), GAIN]
    values = cell_table.assign(**{GAIN: _gain(cell_table, grid.references)})
    seeds = values.groupby(BLOCK)["seed"].nunique()
    rows = []
    for key, group in values.groupby(ROW, sort=False):
        good = group[group["status"] == "ok"]
        row: dict[str, Any] = dict(zip(ROW, key, strict=True))
        row |= {name: group[name].iloc[0] for name in varied}
        row |= {"n": len(good), "seeds": seeds[key[:2]]}
        for name in names:
            row |= summed(name, good[name])
        rows.append(row)
    return pd.DataFrame(rows, columns=None if rows else [*ROW, *varied, "n", "seeds"])


def columns_of(summary_table: pd.DataFrame) -> tuple[list[str], list[str]]:
    """Return the varied keys of a summary, and the metrics that it shows, in the order of the
    tables.
    """
    columns = list(summary_table.columns)
    varied = columns[columns.index("method") + 1 : columns.index("n")]
    shown = [
        name
        for name, kind in METRICS.items()
        if kind.in_summary and f"{name}_{kind.over_seeds}" in columns
    ]
    return varied, shown


def spiking(summary_table: pd.DataFrame) -> pd.Series:
    """Return which rows of a summary are of networks whose spikes are counted."""
    return _has(summary_table, "spikes_per_neuron_mean")


def timed(summary_table: pd.DataFrame) -> pd.Series:
    """Return which rows of a summary are of TTFS networks."""
    return _has(summary_table, f"{OF_TTFS}_mean")


def best(summary_table: pd.DataFrame) -> pd.Series | None:
    """Return the row of the most accurate spiking network of a summary, or of the most accurate
    classifier where none spikes; of equal ones, that of the fewest spikes. None where nothing has
    an accuracy.
    """
    good = summary_table[_has(summary_table, "accuracy_mean")]
    if spiking(good).any():
        good = good[spiking(good)].sort_values("spikes_per_neuron_mean", kind="stable")
    return None if good.empty else good.loc[good["accuracy_mean"].idxmax()]


def _has(table: pd.DataFrame, name: str) -> pd.Series:
    return table[name].notna() if name in table else pd.Series(False, index=table.index)


def layers(results: Results) -> pd.DataFrame:
    """One row per hidden layer of a spiking network, in order of depth, over the seeds that
    succeeded.
    """
    table = wide(results.of("networks"), ["layer"])
    if table.empty:
        return pd.DataFrame(columns=[*ROW, "layer", "n", "neurons_mean", "spikes_per_neuron_mean"])
    if "t_min" in table:
        cell = table.groupby([*ROW, "seed"], sort=False).ngroup()
        table = table.assign(cell=cell).sort_values(["cell", "t_min"], kind="stable")
    return over_seeds(table, [*ROW, "layer"], metrics_of(table))


def steps(results: Results) -> pd.DataFrame:
    """One row per network and number of time steps it has run, over the seeds that succeeded."""
    table = wide(results.of("networks"), ["step"])
    if table.empty:
        return pd.DataFrame(columns=[*ROW, "step", "n", "accuracy_mean", "accuracy_std"])
    return over_seeds(table, [*ROW, "step"], metrics_of(table))


def classes(results: Results) -> pd.DataFrame:
    """One row per class: the share of its test items that are answered right, over the seeds that
    succeeded.
    """
    table = wide(results.of("networks"), ["class"])
    if table.empty:
        return pd.DataFrame(columns=[*ROW, "class", "n", "accuracy_mean", "accuracy_std"])
    return over_seeds(table, [*ROW, "class"], ["accuracy"])


def on_hardware(results: Results) -> pd.DataFrame:
    """One row for each network, chip, and kind of network on it ("ttfs", "relu"), over the seeds
    that succeeded.

    A seed's accuracy is its mean over draws, `accuracy_std_of_draws` the sample standard deviation
    within a seed; what else is measured, but latency and time steps, is of its first draw.
    `accuracy_minus_ideal` is the difference to the same seed's ideal network, in points;
    `latency_cut` is the ideal latency / latency. Both need the record of the very network that went
    onto the chip, be it an earlier one, not that of another training.
    """
    grid = results.grid
    ideal = _ideal(results)
    drawn = wide(results.of("hardware"), ["network", "draw"])
    keys = [*ROW, "hardware", "network"]
    if drawn.empty:
        return pd.DataFrame(columns=[*keys, "chip", "tuned", "tuning", "n", "draws"])
    groups = drawn.groupby([*keys, "seed"], sort=False)
    seeds = pd.DataFrame([_over_draws(group, ideal) for _, group in groups])
    found = over_seeds(seeds, keys, [*metrics_of(seeds), TO_IDEAL, OF_DRAWS, CUT])
    draws = seeds.groupby(keys, sort=False)["draws"].first()
    found.insert(found.columns.get_loc("n") + 1, "draws", list(draws))
    chips = [chip_of(grid.hardware[name]) for name in found["hardware"]]
    place = keys.index("network")
    found.insert(place, "chip", [chip for chip, _ in chips])
    found.insert(place + 1, "tuned", [tuning is not None for _, tuning in chips])
    found.insert(place + 2, "tuning", [tuning or "" for _, tuning in chips])
    columns = {cell.hardware: grid.columns(cell) for cell in grid.deployments}
    for name in _column_names(grid, "hardware"):
        if name not in found:  # as the draws, which are those that were made
            value = [columns[hardware][name] for hardware in found["hardware"]]
            found.insert(place + 3, name, value)
    return found


def _ideal(results: Results) -> dict[str, dict[str, float]]:
    """{cell of a chip: metrics of the ideal network}, where that has a record of these weights."""
    present = {record.name: record for record in results.of("networks")}
    found = {}
    for chip in results.of("hardware"):
        name = Cell(**chip.ids).network.name
        now = [present[name]] if name in present else []
        for record in chain(now, earlier(results.store / name)):
            same = record.digests.get("weights") == chip.digests.get("weights")
            if record.status == "ok" and same:
                found[chip.name] = record.metrics
                break
    return found


def _over_draws(draws: pd.DataFrame, ideal: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """One seed's row, from those of its draws and the metrics of the ideal network of each chip."""
    row = dict(draws.iloc[0])
    own = ideal.get(Cell(**{name: row[name] for name in (*ROW, "seed", "hardware")}).name, {})
    accuracies = list(draws["accuracy"])
    row |= {"draws": len(draws), "accuracy": statistics.fmean(accuracies)}
    row[OF_DRAWS] = std(accuracies)
    row[TO_IDEAL] = row["accuracy"] - own.get("accuracy", math.nan)
    row[CUT] = own.get("latency", math.nan) / row.get("latency", math.nan)
    return row


def chip_of(point: Variant) -> tuple[str, str | None]:
    """Return the id of the chip, and the fine-tuning there, of a point of hardware; None for
    networks as mapped.

    The id of the chip is that of the point without the keys of the fine-tuning, which may be varied
    or in the chip's file.
    """
    words = point.id.split("+")
    own = [word for word in words if word.partition("=")[0].rpartition(".")[2] in TUNING]
    chip = "+".join(word for word in words if word not in own) or "ideal"
    keys = [word.removeprefix("tuning.") for word in own if word != "tuning"]
    return chip, None if point.config["tuning"] is None else ", ".join(keys) or "default"


def fine_tunings(on_hardware: pd.DataFrame) -> list[str]:
    """Return the fine-tuning of each row, where the table has several of them; else nothing."""
    tunings = [tuning or "" for tuning in on_hardware["tuning"]]
    return tunings if len({*tunings} - {""}) > 1 else [""] * len(tunings)


def _column_names(grid: Grid, *nouns: str) -> list[str]:
    chosen = nouns or ("dataset", "model", "method")
    return [
        column(key) for noun in chosen for key in grid.varied[noun] if not key.startswith("tuning")
    ]


def _gain(cell_table: pd.DataFrame, references: Mapping[str, str]) -> pd.Series:
    """Accuracy of each cell minus that of its seed's reference; nothing for the reference
    itself.
    """
    if "accuracy" not in cell_table:
        return pd.Series(math.nan, index=cell_table.index)
    is_reference = cell_table["method"] == cell_table["dataset"].map(references)
    of_reference = cell_table[is_reference].set_index([*BLOCK, "seed"])["accuracy"]
    own = pd.MultiIndex.from_frame(cell_table[[*BLOCK, "seed"]])
    return (cell_table["accuracy"] - of_reference.reindex(own).to_numpy()).mask(is_reference)
