"""Saved views of a grid's runs, as MLflow's own page keeps them: in a tag of the experiment."""

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from ttfs.errors import UserError
from ttfs.results.tracking.runs import Entry
from ttfs.results.tracking.store import client, readable_errors, tracking_uri, without_password
from ttfs.results.tracking.tags import CHIP_MEAN, CURRENT, LEVEL, MEAN, STALE, STATE

PREFIX = "mlflow.sharedViewState."
KIND = {"mlflow.experimentKind": "custom_model_development"}
"""The tag that makes MLflow open the runs rather than its page for language models."""
BUDGET = 0.5
"""Spikes per neuron, at most, of the first view; the filter on the page changes it."""
ABOUT = ("Dataset", "Source", "Version", "Duration")
"""Attributes that each view shows: data set, grid file, commit, time of training."""
MAKER = {"madeBy": "ttfs publish"}
"""In the content of each view of ours; users save views in MLflow's page, too."""
IN_NAMES = str.maketrans("+=~", ":__")
"""MLflow takes few signs in names of tags; points of an axis have others in their ids."""


class View(NamedTuple):
    """A saved view: its id in links, its name, and the runs and columns that it shows."""

    id: str
    name: str
    filter: str
    order: str
    columns: Sequence[str]


def views(entries: Sequence[Entry]) -> list[View]:
    """Return the views of a grid: all results, the best under a spike budget, one network across
    methods, on hardware, seeds.
    """
    numbers = _columns("metrics", "accuracy", "spikes_per_neuron", "latency", "accuracy_std", "n")
    ids = _columns("params", "dataset", "model", "method")
    accuracy = "metrics.`accuracy`"
    found = [
        View(
            "results", "All results, seeds below their mean", _on("network%"), "",
            [*numbers, *ids],
        ),
        View(
            "best", "Best accuracy under a spike budget",
            f"{_on(MEAN)} and tags.`{STALE}` = 'no' and metrics.spikes_per_neuron < {BUDGET}",
            accuracy, [*numbers, *ids],
        ),
    ]  # fmt: skip
    means = [entry.params for entry in entries if entry.level == MEAN]
    for dataset, model in dict.fromkeys((p["dataset"], p["model"]) for p in means):
        found.append(View(
            f"{dataset}-{model}", f"{model} on {dataset}, across methods",
            f"{_on(MEAN)} and params.dataset = '{dataset}' and params.model = '{model}'",
            accuracy, [*numbers, *_columns("params", "method")],
        ))  # fmt: skip
    if any(entry.level == CHIP_MEAN for entry in entries):
        names = _columns("metrics", "accuracy/ttfs", "accuracy/ttfs_std", "accuracy/relu", "n",
                         "spikes_per_neuron/ttfs", "time_steps/ttfs")  # fmt: skip
        chip = [*names, *_columns("params", "hardware"), *ids]
        found.append(
            View("hardware", "On hardware", _on(CHIP_MEAN), "metrics.`accuracy/ttfs`", chip)
        )
    return found


def tag(view: View, made: int) -> tuple[str, str]:
    """Return name and value of the experiment's tag; `made` is in milliseconds since 1970."""
    about = [*_columns("attributes", *ABOUT), *_columns("tags", STALE)]
    state: dict[str, Any] = {
        "searchFilter": view.filter,
        "orderByKey": view.order or "attributes.start_time",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": [*view.columns, *about],
        "columnOrder": [*view.columns, *about],
        "viewMaximized": True,
        "runsHiddenMode": "FIRST_20_RUNS",
    }
    packed = base64.b64encode(zlib.compress(json.dumps(state).encode(), 9)).decode()
    content = {"name": view.name, "createdAt": made, "updatedAt": made} | MAKER
    key = PREFIX + view.id.translate(IN_NAMES)
    return key, json.dumps(content | {"state": f"deflate;{packed}"})


def view_links(grid: str) -> list[tuple[str, str]]:
    """Return name and link, below the address of MLflow's server, of each view of a grid; that of
    all results comes first. Raises UserError if the grid was not published.
    """
    with readable_errors():
        experiment = client().get_experiment_by_name(f"ttfs/{grid}")
    contents = {} if experiment is None else saved(experiment.tags)
    if experiment is None or not contents:
        raise UserError(
            f"grid {grid}: no runs in {without_password(tracking_uri())}; run it, or `ttfs "
            "publish` it, first"
        )
    place = f"#/experiments/{experiment.experiment_id}/runs?workflowType=machine_learning"
    found = [
        (content["name"], f"{place}&viewStateShareKey={name.removeprefix(PREFIX)}")
        for name, content in contents.items()
    ]
    return sorted(found, key=lambda view: (not view[1].endswith("=results"), view[0]))


def saved(tags: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return {tag: content} of the views with a name among the tags of an experiment."""
    found = {}
    for name, value in tags.items():
        if name.startswith(PREFIX):
            with suppress(ValueError):  # links that users share are packed text
                found[name] = json.loads(value)
    return found


def is_ours(content: Mapping[str, Any]) -> bool:
    """Return whether `publish` made a view, rather than a user."""
    return content.items() >= MAKER.items()


def _columns(group: str, *names: str) -> list[str]:
    return [f"{group}.`{name}`" for name in names]


def _on(level: str) -> str:
    """The filter of the current runs of a level; with % at its end, of all that begin so."""
    word = "LIKE" if level.endswith("%") else "="
    return f"tags.`{STATE}` = '{CURRENT}' and tags.`{LEVEL}` {word} '{level}'"
