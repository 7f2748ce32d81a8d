"""show: the summary of a grid on the terminal, filtered, sorted, and as text for papers."""

import csv
import io
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from ttfs.config import Grid, suggest
from ttfs.errors import UserError
from ttfs.metrics import METRICS

IDS = {"dataset": "Data set", "model": "Model", "method": "Method", "n": "n"}
MEND = "`ttfs tables <grid>` writes it again"
METRICS_SHOWN = ("accuracy", "spikes_per_neuron", "latency")

Row = dict[str, str]


def show(
    grid: Grid,
    dataset: str = "",
    method: str = "",
    metrics: Sequence[str] = (),
    best: str = "",
    under: str = "",
    format: str = "md",
) -> None:
    """Print the summary table of a grid.

    Args:
        grid: the grid, whose tables are there.
        dataset: show rows of data sets whose id contains this.
        method: show rows of methods whose id contains this.
        metrics: columns to show; accuracy, spikes per neuron and latency where none is named.
        best: a metric; of each data set and model the row with the best value is shown.
        under: "metric=value": rows whose mean is at most the value.
        format: "md", "csv", "latex" or "json".
    """
    for name in [
        *metrics,
        *([best] if best else []),
        *([under.partition("=")[0]] if under else []),
    ]:
        if name not in METRICS:
            raise UserError(f"show: no metric {name!r}{suggest(name, list(METRICS))}")
    rows = [
        row for row in _read(grid.folder / "tables" / "summary.csv") if _fits(row, dataset, method)
    ]
    rows = _under(rows, under) if under else rows
    rows = list(_best(rows, best)) if best else rows
    names = metrics or [name for name in METRICS_SHOWN if any(_value(row, name) for row in rows)]
    print(_TEXTS[format]([*IDS, *names], [_shown(row, names) for row in rows]))
    _warn(grid)


def _read(path: Path) -> list[Row]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except FileNotFoundError:
        raise UserError(
            f"{path}: no such table; run the workflow first (`snakemake all`)"
        ) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: is damaged ({error}); {MEND}") from None
    for row in rows:
        if None in row or not all(row.get(key) for key in IDS):
            raise UserError(f"{path}: is damaged (row {row}); {MEND}")
    return rows


def _warn(grid: Grid) -> None:
    """Say how many records are not of today's configuration, code or data."""
    from ttfs.results.state import State

    stale = State(grid).stale
    for name, reason in list(stale.items())[:1]:
        print(
            f"{len(stale)} of the records are out of date, such as {name}: {reason}; "
            f"`ttfs why {grid.file}` lists them",
            file=sys.stderr,
        )


def _fits(row: Row, dataset: str, method: str) -> bool:
    return dataset in row["dataset"] and method in row["method"]


def _value(row: Row, name: str) -> str:
    return row.get(f"{name}_mean") or row.get(f"{name}_max") or ""


def _under(rows: Sequence[Row], limit: str) -> list[Row]:
    name, _, value = limit.partition("=")
    try:
        most = float(value)
    except ValueError:
        raise UserError(
            f"show: --under {limit}: write metric=value, e.g. spikes_per_neuron=0.1"
        ) from None
    return [row for row in rows if _value(row, name) and float(_value(row, name)) <= most]


def _best(rows: Sequence[Row], name: str) -> Iterator[Row]:
    blocks: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if _value(row, name):
            blocks.setdefault((row["dataset"], row["model"]), []).append(row)
    sign = -1.0 if METRICS[name].better == "lower" else 1.0
    for block in blocks.values():
        yield max(block, key=lambda row: sign * float(_value(row, name)))


def _shown(row: Row, names: Sequence[str]) -> list[str]:
    shown = [row[key] for key in IDS]
    for name in names:
        mean, std = _value(row, name), row.get(f"{name}_std", "")
        digits = METRICS[name].digits
        text = f"{float(mean):{digits}}" if mean else "–"
        shown.append(text + (f" ± {float(std):{digits}}" if mean and std else ""))
    return shown


def _titles(names: Sequence[str]) -> list[str]:
    return [METRICS[name].title if name in METRICS else IDS[name] for name in names]


def _markdown(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    table = [_titles(names), *rows]
    widths = [max(len(row[place]) for row in table) for place in range(len(names))]
    lines = [
        "| " + " | ".join(t.ljust(w) for t, w in zip(row, widths, strict=True)) + " |"
        for row in table
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def _csv(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([names, *rows])
    return text.getvalue().rstrip("\n")


def _latex(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    from ttfs.results.tables import latex

    return "\n".join(latex(_titles(names), rows))


def _json(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return json.dumps(
        [dict(zip(names, row, strict=True)) for row in rows], indent=2, ensure_ascii=False
    )


_TEXTS = {"md": _markdown, "csv": _csv, "latex": _latex, "json": _json}
