"""What a page says of a grid: facts on top, tables with the order of their cells, notes."""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import pandas as pd

from ttfs.metrics import METRICS
from ttfs.results import frame, tables
from ttfs.results.frame import (
    GAIN,
    ROW,
    Results,
    cells,
    columns_of,
    fine_tunings,
    metric,
    on_hardware,
)
from ttfs.results.provenance import Provenance
from ttfs.results.record import FAILURE, RECORD, Record

BUDGETS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.5, 2.0, 3.0, 5.0)
"""Stops of the slider, in spikes per neuron."""
FIRST = ("accuracy", GAIN, "spikes_per_neuron", "latency")
"""The first metrics of the comparison."""
EXTRA = ("ann_energy",)
"""Metrics of the comparison that are shown on demand, as the keys that vary are: the ids have
those, and a table of all columns is wider than a screen.
"""
ANSWERS = 4
"""How many pairs of data set and network the top of the page has a line for."""
HARDWARE = (
    "accuracy",
    "accuracy_minus_ideal",
    "spikes_per_neuron",
    "latency",
    "time_steps",
    "energy",
)

Section = dict[str, Any]


class Cell(NamedTuple):
    """A cell of a table: its text, the number that it sorts by, and links behind it."""

    text: str
    order: float | str | None = None
    links: Sequence[tuple[str, str]] = ()
    verdict: bool = False


class Sections:
    """The content of the page of a grid; `cells` leads from the page to the store."""

    def __init__(self, results: Results, store: str) -> None:
        self.results, self.store = results, store

    @cached_property
    def _cells(self) -> pd.DataFrame:
        return cells(self.results)

    @cached_property
    def summary(self) -> pd.DataFrame:
        """The summary table of the grid."""
        return frame.summary(self.results, self._cells)

    def facts(self) -> list[tuple[str, str]]:
        """Return the lines on top: the answer, and what was run, on what, and when."""
        grid, records = self.results.grid, self.results.records
        parts = _stages(records)
        counts = {
            "data set": len(grid.datasets), "network": len(grid.models),
            "method": len(grid.methods), "seed": len(grid.settings["seeds"]),
            "point on hardware": len(grid.hardware), "study table": len(grid.studies),
        }  # fmt: skip
        asked = ", ".join(_count(name, n) for name, n in counts.items() if n)
        good = len(records) - len(self.results.failures)
        stale = len(self.results.stale)
        state = f"{good} of {len(grid.every)} cells have a result"
        finished = sorted(part.finished[:16].replace("T", " ") for part in parts)
        hours = _hours(sum(part.wall_seconds for part in parts))
        machines = sorted({f"{part.processor}, {part.device}" for part in parts})
        code = ", ".join(f"{name} ({n})" for name, n in tables.versions_of(records).items())
        return [
            *self.answers(),
            ("Grid", f"{grid.file}: {asked}"),
            ("State", state + (f", {stale} out of date" if stale else "")),
            ("When", f"{finished[0]} to {finished[-1]} UTC, {hours} of computing on record"),
            ("Processor", "; ".join(machines)),
            ("Code", f"commits, with their records: {code}"),
        ]  # fmt: skip

    def answers(self) -> Iterator[tuple[str, str]]:
        """For each data set and network: the reference, the best spiking network, the sparsest."""
        blocks = list(self.summary.groupby(["dataset", "model"], sort=False))
        for (dataset, model), block in blocks[:ANSWERS]:
            spiking = block[frame.spiking(block)]
            best = frame.best(spiking)
            if best is None:
                continue
            least = spiking.loc[spiking["spikes_per_neuron_mean"].idxmin()]
            words = [f"best spiking network {_point(best)}"]
            if least["method"] != best["method"]:
                words.append(f"fewest spikes {_point(least)}")
            reference = block[block["method"] == self.results.grid.references.get(dataset)]
            for _, row in reference.iterrows():
                words.insert(0, f"{row['method']} {tables.shown(row, 'accuracy')} %")
            yield f"{dataset}, {model}", "; ".join(words)
        if len(blocks) > ANSWERS:
            yield "…", f"{len(blocks) - ANSWERS} more pairs of data set and network are below"

    def tables(self) -> list[Section]:
        """Return the sections with tables."""
        return [*self._comparison(), *self._published(), *self._hardware()]

    def _comparison(self) -> Iterator[Section]:
        table, reference = self.summary, self.results.grid.reference_name
        varied, names = columns_of(table)
        if "accuracy" in names and reference:
            names.append(GAIN)
        names.sort(key=lambda name: FIRST.index(name) if name in FIRST else len(FIRST))
        more = [name for name in names if name in EXTRA]
        names = [name for name in names if name not in EXTRA]
        heads = ["Data set", "Network", "Method"]
        rows = []
        for row in table.to_dict("records"):
            ids = [Cell(str(row[name])) for name in ROW]
            seeds = self._seeds(row)
            links = [(str(record.ids["seed"]), self._link(record)) for record in seeds]
            n = Cell(_n(row), row["n"], links)
            shown, hidden = ([_number(row, name) for name in part] for part in (names, more))
            settings = [Cell(row[name] or tables.ABSENT) for name in varied]
            rows.append([*ids, n, *shown, _time(seeds), *hidden, *settings])
        titles = {name: metric(name).title.format(reference=reference) for name in (*names, *more)}
        found = {
            "id": "comparison", "title": "Comparison", "budget": None,
            "table": {
                "heads": [
                    *map(_head, heads), _head("n", True),
                    *(_head(titles[name], True) for name in names),
                    _head("Training time [s]", True),
                    *(_head(titles[name], True, extra=True) for name in more),
                    *(_head(name, extra=True) for name in varied),
                ],
                "rows": rows,
            },
            "filters": [_filter(title, place, rows) for place, title in enumerate(heads)],
            "note": "Mean ± sample standard deviation over the n seeds; each seed links to its "
            "record. Logit and spike-time differences are the largest. Training time is the mean "
            "wall time of training or mapping, beside whatever else the machine did.",
        }  # fmt: skip
        if "spikes_per_neuron" in names:
            place = 4 + names.index("spikes_per_neuron")
            found["budget"] = {"column": place, "steps": list(BUDGETS)}
        yield found

    def _seeds(self, row: Mapping[str, Any]) -> list[Record]:
        """The records behind a row, one for each seed."""
        place = "/".join(str(row[name]) for name in ROW)
        good = [record for record in self.results.of("networks") if record.status == "ok"]
        return [record for record in good if record.name.startswith(f"{place}/")]

    def _link(self, record: Record) -> str:
        return f"{self.store}/{record.name}/{RECORD if record.status == 'ok' else FAILURE}"

    def _published(self) -> Iterator[Section]:
        table = tables.compare(self.results, self.summary, self.results.grid.published)
        if table.empty:
            return
        heads = ["Data set", "Network", "Method", "Metric", "n", "Ours", "Published", "Difference",
                 "Verdict", "Work", "Read in"]  # fmt: skip
        rows = []
        for row in table.to_dict("records"):
            kind = METRICS[row["metric"]]
            ours = tables.spread(row["ours_mean"], row["ours_std"], kind.digits)
            rows.append([
                Cell(row["dataset"]), Cell(row["model"]), Cell(row["method"]), Cell(kind.title),
                Cell(str(row["n"]), row["n"]), Cell(ours, row["ours_mean"]),
                Cell(tables.goal(row), row["published"]),
                Cell(f"{row['difference']:+z{kind.digits}}", row["difference"]),
                Cell(verdict(row), verdict=True), Cell(row["work"]), Cell(row["source"]),
            ])  # fmt: skip
        numbers = ("n", "Ours", "Published", "Difference")
        yield {
            "id": "published", "title": "Published values beside ours",
            "table": {"heads": [_head(name, name in numbers) for name in heads], "rows": rows},
            "filters": [_filter(heads[place], place, rows) for place in range(4)], "budget": None,
            "note": "Verdict: a bound is kept or not; a value is reached if ours is as good, or "
            "within two standard deviations of it.",
        }  # fmt: skip

    def _hardware(self) -> Iterator[Section]:
        table = on_hardware(self.results)
        if table.empty:
            return
        names = [name for name in HARDWARE if f"{name}_mean" in table]
        heads = ["Data set", "Network", "Method", "Chip", "Network on it", "n"]
        rows = []
        for row in table.assign(tuning=fine_tunings(table)).to_dict("records"):
            words = ("TTFS" if row["network"] == "ttfs" else "quantized ReLU") + (
                ", fine-tuned" if row["tuned"] else ", as mapped"
            )
            words += f" ({row['tuning']})" if row["tuning"] else ""
            ids = [row["dataset"], row["model"], row["method"], row["chip"], words]
            rows.append([*map(Cell, ids), Cell(str(row["n"]), row["n"]),
                         *[_number(row, name) for name in names]])  # fmt: skip
        titles = [_head(metric(name).title, True) for name in names]
        budget = None
        if "spikes_per_neuron" in names:
            place = len(heads) + names.index("spikes_per_neuron")
            budget = {"column": place, "steps": list(BUDGETS)}
        yield {
            "id": "hardware", "title": "On hardware", "budget": budget,
            "table": {
                "heads": [*map(_head, heads[:5]), _head("n", True), *titles], "rows": rows,
            },
            "filters": [_filter(heads[place], place, rows) for place in range(5)],
            "note": "Mean ± sample standard deviation over seeds; a seed's value is a mean over "
            "draws where chance is in it; spikes, operations, energy and scores over classes are "
            "those of the first draw.",
        }  # fmt: skip

    def notes(self) -> list[Section]:
        """Return the sections of failures, of what is out of date, and of studies."""
        failed = [
            {"name": record.name, "text": record.error_line, "link": self._link(record)}
            for record in self.results.failures
        ]  # fmt: skip
        stale = [
            {"name": name, "text": reason, "link": ""}
            for name, reason in self.results.stale.items()
        ]
        studies = [
            {"name": record.name, "text": "record", "link": self._link(record)}
            for record in self.results.of("studies") if record.status == "ok"
        ]  # fmt: skip
        named = (
            ("failures", "Failures", failed),
            ("stale", "Not of today's configuration, code or data", stale),
            ("studies", "Studies", studies),
        )
        return [{"id": id, "title": title, "list": lines} for id, title, lines in named if lines]


GATHERED = ("accuracy", "spikes_per_neuron", "latency")
"""The metrics of the comparison over several grids."""


def gathered(grids: Mapping[str, Sections]) -> Section:
    """Return one comparison over all grids, a row for each of their summary rows."""
    heads = ["Data set", "Network", "Method", "Grid", "n"]
    rows = []
    for name, own in grids.items():
        for row in own.summary.to_dict("records"):
            ids = [Cell(str(row[key])) for key in ROW]
            n = Cell(_n(row), row["n"])
            numbers = [_number(row, metric) for metric in GATHERED]
            rows.append([*ids, Cell(name), n, *numbers])
    titles = [_head(METRICS[name].title, True) for name in GATHERED]
    return {
        "id": "comparison", "title": "Comparison",
        "table": {"heads": [*map(_head, heads[:4]), _head("n", True), *titles], "rows": rows},
        "filters": [_filter(heads[place], place, rows) for place in range(4)],
        "budget": {"column": 6, "steps": list(BUDGETS)},
        "note": "Mean ± sample standard deviation over the n seeds. The page of a grid has more.",
    }  # fmt: skip


def verdict(row: Mapping[str, Any]) -> str:
    """Return how our value stands to a published one.

    >>> verdict({"metric": "accuracy", "relation": "equal", "published": 98.0,
    ...          "ours_mean": 97.9, "ours_std": 0.1})
    'reached'
    """
    ours, goal = row["ours_mean"], row["published"]
    if row["relation"] == "below":
        return "below it" if ours < goal and not math.isclose(ours, goal) else "not below it"
    sign = -1.0 if METRICS[row["metric"]].better == "lower" else 1.0
    best = ours if pd.isna(row["ours_std"]) else ours + sign * 2 * row["ours_std"]
    reached = sign * (best - goal) >= 0 or math.isclose(best, goal)  # equal but for rounding
    return "reached" if reached else "not reached"


def _hours(seconds: float) -> str:
    """Return a time in hours, to two digits.

    >>> _hours(1012.5), _hours(36_000), _hours(468_000)
    ('0.28 hours', '10 hours', '130 hours')
    """
    return f"{float(f'{seconds / 3600:.2g}'):,g} hours"


def _count(name: str, n: int) -> str:
    """Return "2 networks".

    >>> _count("seed", 1), _count("seed", 3), _count("point on hardware", 4)
    ('1 seed', '3 seeds', '4 points on hardware')
    """
    noun, on, place = name.partition(" on ")
    return f"{n} {noun}{'' if n == 1 else 's'}{on}{place}"


def _n(row: Mapping[str, Any]) -> str:
    """Return how many seeds are in a row, and of how many where some are missing.

    >>> _n({"n": 3, "seeds": 3}), _n({"n": 2, "seeds": 3})
    ('3', '2 of 3')
    """
    return f"{row['n']}" if row["n"] == row["seeds"] else f"{row['n']} of {row['seeds']}"


def _head(title: str, number: bool = False, extra: bool = False) -> dict[str, Any]:
    names = {"number": number, "extra": extra}
    return {"title": title, "names": " ".join(name for name in names if names[name])}


def _filter(title: str, place: int, rows: Sequence[Sequence[Cell]]) -> dict[str, Any]:
    return {"title": title, "column": place, "options": sorted({row[place].text for row in rows})}


def _stages(records: Sequence[Record]) -> list[Provenance]:
    """The stages behind records, each once: that which made a network is told by its chips, too."""
    found = {}
    for record in records:
        network = record.name.partition("/hardware/")[0]
        for stage, part in record.provenance.items():
            found[stage, network if stage == "make" else record.name] = part
    return list(found.values())


def _number(row: Mapping[str, Any], name: str) -> Cell:
    word = "max" if metric(name).over_seeds == "max" else "mean"
    order = row.get(f"{name}_{word}", math.nan)
    return Cell(tables.shown(row, name), "" if pd.isna(order) else float(order))


def _time(seeds: Sequence[Record]) -> Cell:
    """The mean wall time of training, or of mapping; records of the first version lack it."""
    parts = [record.provenance.get("make") for record in seeds]
    seconds = [part.wall_seconds for part in parts if part]
    if not seconds:
        return Cell(tables.ABSENT, "")
    mean = statistics.fmean(seconds)
    return Cell(f"{mean:,.0f}" if mean >= 10 else f"{mean:.1f}", mean)


def _point(row: Mapping[str, Any]) -> str:
    accuracy, spikes = (tables.shown(row, name) for name in ("accuracy", "spikes_per_neuron"))
    return f"{row['method']} {accuracy} % at {spikes} spikes per neuron"
