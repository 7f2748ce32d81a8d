"""What a record is as a run of MLflow: names, numbers, parameters, tags, times."""

import json
import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Any

from ttfs.config import Cell, Grid, flat
from ttfs.files import checksum
from ttfs.metrics import METRICS
from ttfs.results.frame import Results, summed
from ttfs.results.provenance import Provenance
from ttfs.results.record import Record, curve_text, dimensions, name_of, read_curve
from ttfs.results.tracking.tags import (
    CELL,
    CHIP,
    CHIP_MEAN,
    COMMIT,
    LEVEL,
    LIVE,
    MEAN,
    NOTE,
    RECORD,
    SEED,
    STATE,
    STUDY,
    allowed,
)

CURVES = "training"
"""Training curves are metrics of this group, apart from the bars of single numbers."""
HEADLINES = ("accuracy", "accuracy/ttfs", "spikes_per_neuron", "latency")


@dataclass(frozen=True)
class Entry:
    """The content of one run."""

    cell: str
    """The cell, or the group of cells, that it is about."""
    level: str
    parent: str | None
    """The cell of the parent run."""
    name: str
    metrics: Mapping[str, float]
    params: Mapping[str, str]
    tags: Mapping[str, str]
    data: tuple[str, str] | None
    """Name and digest of the data set."""
    started: float
    finished: float
    failed: bool
    curve: Sequence[Mapping[str, float]] = ()

    @cached_property
    def digest(self) -> str:
        """Checksum of all of the run's content."""
        return checksum(json.dumps(asdict(self), sort_keys=True).encode())

    @property
    def curve_digest(self) -> str:
        """Checksum of the training curve, as a live run has it."""
        return checksum(curve_text(self.curve).encode())


def entries(results: Results) -> list[Entry]:
    """Return the runs of a grid: for each method its mean over seeds, then the seeds.

    On hardware the same, where the mean is a child of the method's.
    """
    groups: dict[str, list[Entry]] = defaultdict(list)
    found = []
    for record in results.records:
        entry = _of_record(record, results)
        if entry.parent is None:
            found.append(entry)
        else:
            groups[entry.parent].append(entry)
    for name, seeds in groups.items():
        network = _group_of_network(name)
        found += [_mean(name, seeds, network if network in groups else None), *seeds]
    return found


def _of_record(record: Record, results: Results) -> Entry:
    ids = record.ids
    part = _spent(record)
    finished = datetime.fromisoformat(part.finished).timestamp()
    return Entry(
        cell=record.name,
        level=STUDY if "study" in ids else CHIP if "hardware" in ids else SEED,
        parent=None if "study" in ids else _group(ids),
        name=run_name(ids),
        metrics={allowed(name): value for name, value in _values(record)},
        params=parameters(record.config, ids),
        tags=_tags(record, results.grid),
        data=(ids["dataset"], str(record.digests.get("data"))[:12]) if "dataset" in ids else None,
        started=finished - part.wall_seconds,
        finished=finished,
        failed=record.status == "failed",
        curve=() if "hardware" in ids or record.unmade else read_curve(results.store / record.name),
    )


def _spent(record: Record) -> Provenance:
    """The stage that the time of the run is of: the training; on hardware, the deployment."""
    stages = record.provenance
    wanted = "deploy" if "hardware" in record.ids else "make"
    return stages.get(wanted) or next(iter(stages.values()))


def _group(ids: Mapping[str, Any]) -> str:
    """The name of a cell without its seed."""
    return "/".join(part for part in name_of(ids).split("/") if part != f"seed{ids['seed']}")


def _mean(name: str, seeds: Sequence[Entry], network: str | None) -> Entry:
    """The run of a method, with the mean of each number over the seeds that succeeded; on hardware
    a child of the network's, where that has a record.
    """
    good = [seed for seed in seeds if not seed.failed]
    first = seeds[0]
    on_chip = first.level == CHIP
    ids = {key: first.params[key] for key in ("dataset", "model", "method")}
    chip = {"hardware": first.params["hardware"]} if on_chip else {}
    params = {
        key: value
        for key, value in first.params.items()
        if key != "seed" and all(seed.params.get(key) == value for seed in seeds)
    }
    metrics = dict(_over_seeds(good)) | {"n": float(len(good))}
    spent = sum(seed.finished - seed.started for seed in seeds)
    started = min(seed.started for seed in seeds)
    note = (
        f"Mean over {len(good)} of {len(seeds)} seeds: {_headline(metrics)}. Its seeds are below."
    )
    return replace(
        first,
        cell=name,
        level=CHIP_MEAN if on_chip else MEAN,
        parent=network if on_chip else None,
        name=run_name(ids | chip),
        metrics=metrics,
        params=params,
        tags={NOTE: note} | {key: first.tags[key] for key in _SHARED} | _commit(seeds),
        started=started,
        finished=started + spent,
        failed=len(good) < len(seeds),
        curve=(),
    )


_SHARED = ("mlflow.source.name", "mlflow.source.type", "mlflow.user")


def _commit(seeds: Sequence[Entry]) -> dict[str, str]:
    """The commit of a mean, where all seeds have the same."""
    commits = {seed.tags.get(COMMIT) for seed in seeds}
    [commit, *others] = commits
    return {COMMIT: commit} if commit and not others else {}


def _group_of_network(name: str) -> str:
    return name.partition("/hardware/")[0]


def _over_seeds(seeds: Sequence[Entry]) -> Iterator[tuple[str, float]]:
    """Each number that all seeds have: its mean, or its largest value where the tables say so; and
    its standard deviation, for numbers of the whole network.
    """
    import pandas as pd

    for name in seeds[0].metrics if seeds else ():
        if all(name in seed.metrics for seed in seeds):
            values = pd.Series([seed.metrics[name] for seed in seeds])
            sums = list(summed(name.partition("/")[0], values).values())
            yield name, sums[0]
            whole = name.count("/") == (seeds[0].level == CHIP)
            if whole and len(sums) > 1 and len(seeds) > 1:
                yield f"{name}_std", sums[1]


def run_name(ids: Mapping[str, Any]) -> str:
    """Return the name of a run: the method comes first, since lists cut names at their ends.

    >>> run_name({"dataset": "mnist", "model": "fc2", "method": "ann", "seed": 0})
    'ann · fc2 · mnist · seed 0'
    """
    if "study" in ids:
        return f"study {ids['study']}"
    chip = f" on {ids['hardware']}" if ids.get("hardware") else ""
    words = [f"{ids['method']}{chip}", ids["model"], ids["dataset"]]
    return " · ".join(words + ([f"seed {ids['seed']}"] if "seed" in ids else []))


def curve_names(row: Mapping[str, float]) -> dict[str, float]:
    """Return the metrics of a row of a training curve under MLflow's names."""
    return {f"{CURVES}/{name}": value for name, value in row.items() if name != "epoch"}


def parameters(config: Mapping[str, Any], ids: Mapping[str, Any]) -> dict[str, str]:
    """Return the parameters of a run: configuration and ids under MLflow's names."""
    found = texts(config) | texts(ids)
    return {allowed(name): value for name, value in found.items()}


def live_tags(cell: Cell) -> dict[str, str]:
    """Return the tags of a run that begins."""
    return {CELL: str(cell), LEVEL: SEED, STATE: LIVE}


def _values(record: Record) -> Iterator[tuple[str, float]]:
    """Yield the numbers of a record under MLflow's names: the metric, then its dimensions; means
    over draws.

    The confusion matrix stays in the record.
    """
    drawn: dict[str, list[float]] = defaultdict(list)
    for row in record.rows:
        if row["metric"] != "confusion":
            place = {key: value for key, value in dimensions(row).items() if key != "draw"}
            words = [
                str(value) if key in ("layer", "network") else f"{key}-{value}"
                for key, value in place.items()
            ]
            drawn["/".join([row["metric"], *words])].append(row["value"])
    for name, values in drawn.items():
        yield name, statistics.fmean(values)


def _tags(record: Record, grid: Grid) -> dict[str, str]:
    provenance = _spent(record)
    tags = {
        RECORD: checksum(record.to_json().encode()),
        "ttfs.status": record.status,
        "ttfs.data_digest": record.digests.get("data"),
        "ttfs.code_digest": record.digests.get("code"),
        "ttfs.git_dirty": provenance.git_dirty,
        "ttfs.device": provenance.device,
        "ttfs.precision": provenance.precision,
        "ttfs.processor": provenance.processor,
        COMMIT: provenance.git_commit,
        "mlflow.source.name": grid.file,
        "mlflow.source.type": "LOCAL",
        "mlflow.user": "ttfs",
        NOTE: _note(record, grid),
    }
    tags |= {f"version.{name}": version for name, version in provenance.versions.items()}
    return {name: str(value) for name, value in tags.items() if value is not None}


def _note(record: Record, grid: Grid) -> str:
    """The description, shown at the top of a run's page."""
    said = record.error or _headline(dict(_values(record))) + "."
    commit = _spent(record).git_commit or "unknown"
    return (
        f"{said}\n\nMade at commit {commit}. To get the same numbers again:\n"
        f"\n    ttfs reproduce {grid.file} {record.name}\n\n"
        f"Earlier runs of this cell: filter by ``tags.`{CELL}` = '{record.name}'``."
    )


def _headline(metrics: Mapping[str, float]) -> str:
    words = []
    for name in HEADLINES:
        if name in metrics:
            kind = METRICS[name.partition("/")[0]]
            std = metrics.get(f"{name}_std")
            more = "" if std is None else f" ± {std:{kind.digits}}"
            words.append(f"{kind.label} {metrics[name]:{kind.digits}}{more}")
    return ", ".join(words) or "no headline number"


def texts(config: Mapping[str, Any]) -> dict[str, str]:
    """Return a configuration as parameters of a run: {dotted key: value as text}.

    >>> texts({"train": {"epochs": 3, "optimizer": "adam", "augment": None}})
    {'train.epochs': '3', 'train.optimizer': 'adam', 'train.augment': 'null'}
    """
    return {
        key: value if isinstance(value, str) else json.dumps(value)
        for key, value in flat(config).items()
    }
