"""Runs of the MLflow store in tests: made, found, and read."""

from kit.records import results

from ttfs.config import Cell
from ttfs.results import tracking
from ttfs.results.record import CURVE_COLUMNS, Record
from ttfs.results.tracking import store as stores
from ttfs.results.tracking.tags import STATE

CELL = Cell("digits", "fc2", "ann", 0)
ANN, B1 = CELL.name, "digits/fc2/b1-converted/seed{}"


def publish(found: list[Record]) -> tracking.Published:
    return tracking.publish(results(found))


def live(cell: Cell = CELL, config: dict | None = None) -> tracking.LiveRun:
    return tracking.LiveRun("tiny", cell, config or {})


def point(**values: float) -> dict[str, float]:
    return dict.fromkeys(CURVE_COLUMNS, 1.0) | values


def runs(*states: str) -> dict[str, list]:
    """The runs of cells, of some states if any is named; no means, and not the grid's run."""
    client = stores.client()
    found = stores.runs_by_cell(client, stores.experiment_of(client, "tiny"))
    kept = {
        cell: [run for run in several if not states or run.data.tags[STATE] in states]
        for cell, several in found.items()
        if "seed" in cell
    }
    return {cell: several for cell, several in kept.items() if several}


def means() -> dict[str, object]:
    client = stores.client()
    found = stores.runs_by_cell(client, stores.experiment_of(client, "tiny"))
    return {cell: run for cell, (run, *_) in found.items() if "seed" not in cell}


def history(run, metric: str) -> list[tuple[int, float]]:
    return [
        (point.step, point.value)
        for point in stores.client().get_metric_history(run.info.run_id, metric)
    ]
