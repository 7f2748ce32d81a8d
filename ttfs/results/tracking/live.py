"""The run of a cell while it trains."""

import os
import sys
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from ttfs.config import Cell
from ttfs.files import checksum
from ttfs.results.record import curve_text
from ttfs.results.tracking.runs import curve_names, live_tags, parameters, run_name
from ttfs.results.tracking.store import (
    at,
    client,
    experiment_of,
    log,
    mark_killed,
    params_of,
    readable_errors,
    tracking_uri,
)
from ttfs.results.tracking.tags import CELL, CURVE

if TYPE_CHECKING:
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

SYSTEM = "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING"
"""MLflow's own variable: with ``true``, use of processor, memory, disk, network and GPU goes beside
the curve of each training.
"""


class LiveRun:
    """The run of a cell while it trains: ``with LiveRun(grid, cell, config) as live: ...
    live.log(epoch, metrics)``.

    Leaving the block ends the run, as FAILED if by an exception. `publish` completes it later with
    the numbers of the record. Runs of the cell that a killed training left are marked as killed at
    the start. If the store fails, training goes on: one warning on stderr, and no further attempt;
    `publish` writes the whole run then. A silent one logs nothing.
    """

    def __init__(
        self, grid: str, cell: Cell, config: Mapping[str, Any], silent: bool = False
    ) -> None:
        self.grid, self.cell, self.config = grid, cell, config
        self._rows: list[Mapping[str, float]] = []
        self._works = not silent
        self._monitor: SystemMetricsMonitor | None = None

    def __enter__(self) -> Self:
        self._attempt(self._start)
        if os.environ.get(SYSTEM, "").lower() in ("true", "1"):
            self._attempt(self._watch)
        return self

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Log the metrics of one step (epoch) in one batch."""
        self._rows.append({"epoch": step, **metrics})
        now = time.time()
        self._attempt(
            lambda: log(self._client, self._run, metrics=at(step, now, curve_names(metrics)))
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        status = "FAILED" if kind else "FINISHED"

        def end() -> None:
            if self._monitor is not None:
                self._monitor.finish()
            self._client.set_tag(self._run, CURVE, checksum(curve_text(self._rows).encode()))
            self._client.set_terminated(self._run, status)

        self._attempt(end)

    def _start(self) -> None:
        self._client = client()
        experiment = experiment_of(self._client, self.grid)
        own = f"tags.`{CELL}` = '{self.cell}' and attributes.status = 'RUNNING'"
        for run in self._client.search_runs([experiment], own):
            mark_killed(self._client, run.info.run_id)
        tags = live_tags(self.cell)
        run = self._client.create_run(experiment, tags=tags, run_name=run_name(self.cell.ids))
        self._run = run.info.run_id
        log(self._client, self._run, params=params_of(parameters(self.config, self.cell.ids)))

    def _watch(self) -> None:
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        self._monitor = SystemMetricsMonitor(self._run, tracking_uri=tracking_uri())
        self._monitor.start()

    def _attempt(self, step: Callable[[], None]) -> None:
        if not self._works:
            return
        try:
            with readable_errors():
                step()
        except Exception as error:  # whatever a view does, it must not stop a training
            self._works = False
            print(f"warning: no live curves in MLflow, training goes on: {error}", file=sys.stderr)
