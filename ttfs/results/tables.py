"""Tables, from records alone. The same records give the same bytes."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ttfs.files import atomic_write
from ttfs.metrics import METRICS
from ttfs.results.frame import (
    GAIN,
    Results,
    cells,
    classes,
    columns_of,
    fine_tunings,
    layers,
    metric,
    on_hardware,
    steps,
    summary,
)
from ttfs.results.record import Record
from ttfs.results.sparsity import trade_off

ABSENT = "–"
SPENT = ("spikes_per_neuron", "latency", "time_steps", "energy")
"""Columns of the hardware table after the accuracies."""


def write(results: Results, folder: Path) -> None:
    """Write every table of a grid into a folder, e.g. ``results/quick/tables``.

    ``cells.csv`` (a row a network), ``summary`` (a row for each data set, model and method),
    ``layers.csv``, ``steps.csv``,
    ``classes.csv``, ``sparsity.csv`` (see `results.sparsity.trade_off`), ``hardware`` (a row a
    chip) and ``published`` (ours beside the values of papers); the last two and the summary as
    CSV, Markdown and LaTeX.
    """
    grid = results.grid
    cell_table = cells(results)
    summary_table = summary(results, cell_table)
    published_table = compare(results, summary_table, grid.published)
    hardware_table = on_hardware(results)
    for name, table in {
        "cells": cell_table,
        "summary": summary_table,
        "layers": layers(results),
        "steps": steps(results),
        "classes": classes(results),
        "sparsity": trade_off(results, grid.settings["sparsity_tolerance"]),
        "hardware": hardware_table,
        "published": published_table,
    }.items():
        text = table.to_csv(index=False, float_format="%.10g", lineterminator="\n")
        atomic_write(folder / f"{name}.csv", text)
    for name, text in {
        "summary": _summary_text(results, summary_table),
        "hardware": _hardware_text(results, hardware_table),
        "published": _published_text(published_table),
    }.items():
        atomic_write(folder / f"{name}.md", text)
        atomic_write(folder / f"{name}.tex", latex_of(text))


def compare(
    results: Results, summary_table: pd.DataFrame, published: Iterable[Mapping[str, Any]]
) -> pd.DataFrame:
    """Published values beside ours, a row for each of our summary rows of the same data set (and
    model and method).

    A value that names no method is about spiking networks, and is compared with all our methods
    that spike. ``difference`` is ours − published, in the metric's unit.
    """
    columns = [
        "dataset", "metric", "work", "source", "network", "relation", "published",
        "model", "method", "n", "ours_mean", "ours_std", "difference",
    ]  # fmt: skip
    rows = []
    for work in published:
        for value in work["values"]:
            for ours in summary_table.to_dict("records"):
                mean = ours.get(f"{value['metric']}_mean", math.nan)
                if pd.notna(mean) and _matches(results, ours, value):
                    rows.append(_beside(work, value, ours, mean))
    table = pd.DataFrame(rows, columns=columns)
    by = ["dataset", "metric", "work", "published", "model", "method"]
    return table.sort_values(by, ignore_index=True)


def _beside(
    work: Mapping[str, Any], value: Mapping[str, Any], ours: Mapping[str, Any], mean: float
) -> dict[str, Any]:
    return {
        "dataset": ours["dataset"], "metric": value["metric"],
        "work": work["work"], "source": work["source"], "network": value.get("network", ""),
        "relation": value.get("relation", "equal"), "published": value["value"],
        "model": ours["model"], "method": ours["method"], "n": ours["n"],
        "ours_mean": mean, "ours_std": ours[f"{value['metric']}_std"],
        "difference": mean - value["value"],
    }  # fmt: skip


def _matches(results: Results, ours: Mapping[str, Any], value: Mapping[str, Any]) -> bool:
    grid = results.grid
    if grid.datasets[ours["dataset"]].config["id"] not in value["datasets"]:
        return False
    if "model" in value and ours["model"] != value["model"]:
        return False
    if "method" in value:
        return grid.methods[ours["method"]].config["id"] == value["method"]
    return pd.notna(ours.get("spikes_per_neuron_mean"))


def _summary_text(results: Results, summary_table: pd.DataFrame) -> str:
    reference = results.grid.reference_name
    varied, names = columns_of(summary_table)
    if "accuracy" in names and reference:
        names.insert(names.index("accuracy") + 1, GAIN)
    rows = []
    for row in summary_table.to_dict("records"):
        rows.append({
            "Data set": row["dataset"], "Model": row["model"], "Method": row["method"],
            **{name: row[name] or ABSENT for name in varied},
            "n": str(row["n"]) if row["n"] == row["seeds"] else f"{row['n']} of {row['seeds']}",
            **{_title(name, reference): shown(row, name) for name in names},
        })  # fmt: skip
    text = markdown(pd.DataFrame(rows))
    text += (
        "\nMean ± sample standard deviation over n seeds; the logit difference is the "
        "largest over all seeds.\n"
    )
    return text + _notes(results, results.of("networks"))


def _hardware_text(results: Results, table: pd.DataFrame) -> str:
    records = results.of("hardware")
    if table.empty and not records:
        return "This grid puts no network on hardware.\n"
    table = table.assign(tuning=fine_tunings(table))
    seeds = len(results.grid.settings["seeds"])
    incomplete = bool((table["n"] != seeds).any())
    rows = []
    for key, group in table.groupby(["dataset", "model", "method", "chip"], sort=False):
        mapped, tuned = group[~group["tuned"]], group[group["tuned"]]
        tunings = list(tuned.groupby("tuning", sort=False)) or [("", tuned)]
        for tuning, own in tunings:
            names = dict(zip(("Data set", "Model", "Method", "Chip"), key, strict=True))
            if table["tuning"].any():
                names["Fine-tuning"] = tuning or ABSENT
            if incomplete:  # means over other seeds are not to be compared unawares
                counts = {"as mapped": mapped["n"].min(), "fine-tuned": own["n"].min()}
                known = (f"{n:.0f} {what}" for what, n in counts.items() if not math.isnan(n))
                names["n"] = ", ".join(known)
            rows.append(names | _on_chip(mapped, own))
    text = markdown(pd.DataFrame(rows)) if rows else ""
    text += (
        "\nMean ± sample standard deviation over seeds; a seed's value is a mean over draws "
        "where chance is in it. Costs are those of the fine-tuned network, where there is one, in "
        "the first draw.\n"
    )
    return text + _notes(results, records)


def _on_chip(mapped: pd.DataFrame, tuned: pd.DataFrame) -> dict[str, str]:
    """The numbers of a chip, of its networks as mapped and those of one fine-tuning."""
    before, after = (
        {row["network"]: row for row in table.to_dict("records")} for table in (mapped, tuned)
    )
    first, last = before.get("ttfs", {}), after.get("ttfs", {})
    return {
        "As mapped [%]": shown(first, "accuracy"), "Fine-tuned [%]": shown(last, "accuracy"),
        "Fine-tuned − ideal": shown(last, "accuracy_minus_ideal"),
        "Quantized ReLU [%]": shown(before.get("relu", {}), "accuracy"),
        "Fine-tuned quantized ReLU [%]": shown(after.get("relu", {}), "accuracy"),
        **{METRICS[name].title: _mean_of(last or first, name) for name in SPENT},
    }  # fmt: skip


def _title(name: str, reference: str) -> str:
    return metric(name).title.format(reference=reference)


def _notes(results: Results, records: Sequence[Record]) -> str:
    """Notes below a table: failures, records that are out of date, and the versions of the code."""
    text = ""
    failures = [record for record in records if record.status == "failed"]
    if failures:
        lines = [f"- {record.name}: {record.error_line}\n" for record in failures]
        text += "\nFailed:\n\n" + _escaped("".join(lines))
    stale = [record.name for record in records if record.name in results.stale]
    if stale:
        lines = [f"- {name}: {results.stale[name]}\n" for name in stale]
        text += "\nNot of today's configuration, code or data:\n\n" + _escaped("".join(lines))
    versions = versions_of(records)
    named = ", ".join(f"{commit} ({count})" for commit, count in versions.items())
    return text + (f"\nVersions of the code, with the records of each: {named}.\n" if named else "")


def versions_of(records: Sequence[Record]) -> dict[str, int]:
    """Return {commit: records made by it}; a name ends in + where files differed from the
    commit.
    """
    found: dict[str, int] = {}
    for record in records:
        names = {
            (part.git_commit or "no git")[:7] + ("+" if part.git_dirty else "")
            for part in record.provenance.values()
        }
        name = " and ".join(sorted(names))
        found[name] = found.get(name, 0) + 1
    return dict(sorted(found.items()))


def _mean_of(row: Mapping[str, Any], name: str) -> str:
    return spread(row.get(f"{name}_mean", math.nan), math.nan, METRICS[name].digits)


def _published_text(table: pd.DataFrame) -> str:
    if table.empty:
        return "No published value at hand is for a data set and network of this grid.\n"
    rows = [
        {
            "Data set": row["dataset"],
            "Metric": METRICS[row["metric"]].title,
            "Published work": f"{row['work']} ({row['source']})",
            "Its network": row["network"] or ABSENT,
            "Published": goal(row),
            "Our model": row["model"],
            "Our method": row["method"],
            "n": str(row["n"]),
            "Ours": spread(row["ours_mean"], row["ours_std"], METRICS[row["metric"]].digits),
            "Difference": f"{row['difference']:+z{METRICS[row['metric']].digits}}",
        }
        for row in table.to_dict("records")
    ]
    return markdown(pd.DataFrame(rows))


def goal(row: Mapping[str, Any]) -> str:
    """Return a published value as text, after a sign if it is a bound.

    >>> goal({"relation": "below", "published": 0.3})
    '< 0.3'
    >>> goal({"relation": "equal", "published": 1234567.8})
    '1,234,567.8'
    """
    return f"{'< ' if row['relation'] == 'below' else ''}{row['published']:,.10g}"


def shown(row: Mapping[str, Any], name: str) -> str:
    """Return a metric of a row over seeds as text: mean ± std, or the largest value; a dash where
    the row lacks it.
    """
    digits = metric(name).digits
    if metric(name).over_seeds == "max":
        return spread(row.get(f"{name}_max", math.nan), math.nan, digits)
    return spread(row.get(f"{name}_mean", math.nan), row.get(f"{name}_std", math.nan), digits)


def spread(mean: float, std: float, digits: str) -> str:
    """Mean ± std as text; the mean alone where there is no std, a dash where there is no mean.

    >>> spread(98.024, 0.056, ".2f"), spread(98.024, math.nan, ".2f")
    ('98.02 ± 0.06', '98.02')
    >>> spread(math.nan, math.nan, ".2f")
    '–'
    """
    if pd.isna(mean):
        return ABSENT
    return f"{mean:{digits}}" + ("" if pd.isna(std) else f" ± {std:{digits.lstrip('+z')}}")


def markdown(table: pd.DataFrame) -> str:
    """Return a table of texts as Markdown, which shows them as they are.

    >>> print(markdown(pd.DataFrame({"Source": ["ann~epochs=9", "A|B"]})).splitlines()[2:])
    ['| ann\\\\~epochs=9 |', '| A\\\\|B          |']
    """
    table = table.rename(columns=_escaped).map(_escaped)
    return table.to_markdown(index=False, disable_numparse=True) + "\n"


def _escaped(text: str) -> str:
    """Write signs of Markdown as text: a bar ends a cell, and GitHub strikes out what stands
    between two tildes.
    """
    return text.replace("|", r"\|").replace("~", r"\~")


def latex_of(text: str) -> str:
    """Return the first table of a Markdown text for LaTeX, in the style of booktabs; the text after
    it as comments.

    >>> print(latex_of("| Model | Accuracy [%] ↑ |\\n|:--|:--|\\n| fc_2 | 98.1 ± 0.2 |\\nA note."))
    \\begin{tabular}{ll}
    \\toprule
    Model & Accuracy [\\%] $\\uparrow$ \\\\
    \\midrule
    fc\\_2 & 98.1 $\\pm$ 0.2 \\\\
    \\bottomrule
    \\end{tabular}
    % A note.
    <BLANKLINE>
    """
    lines = text.splitlines()
    table = [line for line in lines if line.startswith("|")]
    rows = [[_plain(cell) for cell in _BAR.split(line)[1:-1]] for line in table]
    notes = [f"% {_plain(line)}" for line in lines if line and not line.startswith("|")]
    body = latex(rows[0], rows[2:]) if rows else []
    return "\n".join([*body, *notes]) + "\n"


def _plain(text: str) -> str:
    return text.strip().replace(r"\|", "|").replace(r"\~", "~")


def latex(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table for LaTeX."""
    body = [" & ".join(cell.translate(_LATEX) for cell in row) + r" \\" for row in (head, *rows)]
    body.insert(1, r"\midrule")
    begin = rf"\begin{{tabular}}{{{'l' * len(head)}}}"
    return [begin, r"\toprule", *body, r"\bottomrule", r"\end{tabular}"]


_BAR = re.compile(r"(?<!\\)\|")
"""A bar between cells, which no backslash escapes."""
_LATEX = str.maketrans(
    {
        "↑": r"$\uparrow$", "↓": r"$\downarrow$", "±": r"$\pm$", "τ": r"$\tau$", "−": "$-$",
        "α": r"$\alpha$", "–": "--", "%": r"\%", "_": r"\_", "#": r"\#", "~": r"\~{}", "^": r"\^{}",
        "|": "$|$", "<": "$<$", ">": "$>$", "&": r"\&", "$": r"\$", "{": r"\{", "}": r"\}",
        "\\": r"\textbackslash{}",
    }
)  # fmt: skip
