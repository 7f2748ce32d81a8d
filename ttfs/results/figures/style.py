"""How every figure looks: colors, panels, legends, axes; and how one becomes a file."""

import io
import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator, NullLocator

from ttfs.files import atomic_write
from ttfs.results.frame import std

COLORS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442"]
"""Okabe and Ito's palette: distinct in every common kind of color blindness."""
MARKERS = ["o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "h"]
"""Their count and that of the colors have no common divisor: pairs repeat late."""
FILLS: list[Any] = ["full", "none", "left", "bottom", "right", "top"]
DASHES: list[Any] = ["-", (0, (4, 1.5)), (0, (1, 1.2)), (0, (5, 1.5, 1, 1.5)), (0, (8, 2))]
"""Models differ in the filling of their markers and in their dashes, too: gray print shows it."""
FORMATS: dict[str, dict[str, Any]] = {
    "svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {"Software": None},
}  # fmt: skip
"""Formats of files, and the metadata that they leave out."""
DEEPEST = 15.0
"""Figures of costs and hardware show accuracies down to this many points below the best one."""
NARROWEST = 5.0
"""Width of a figure with a single panel, in inches: room for its legend."""
WIDEST = 36
"""Characters of a title that fit above a panel."""
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "ttfs",
    "pdf.fonttype": 42,
    "savefig.dpi": 160,
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "0.9",
    "axes.axisbelow": True,
    "legend.frameon": False,
}


def assign(looks: Sequence[Any], names: pd.Series) -> dict[str, Any]:
    """Return {name: look} for the names of a column, in alphabetical order."""
    return {name: looks[place % len(looks)] for place, name in enumerate(sorted(set(names)))}


def names_of(table: pd.DataFrame, first: str, second: str) -> pd.Series:
    """Return what a legend calls each row: its `first`, and its `second` where they have several.

    >>> table = pd.DataFrame({"model": ["a", "b"], "method": ["m", "m"]})
    >>> list(names_of(table, "model", "method")), list(names_of(table, "method", "model"))
    (['a', 'b'], ['m, a', 'm, b'])
    """
    several = table[second].nunique() > 1
    return table[first] + ", " + table[second] if several else table[first]


def models(names: pd.Series) -> dict[str, dict[str, Any]]:
    """Return {model: its color, dashes and filling of markers}."""
    color, dash, fill = (assign(looks, names) for looks in (COLORS, DASHES, FILLS))
    return {
        name: {"color": color[name], "linestyle": dash[name], "fillstyle": fill[name]}
        for name in color
    }


def bar(values: pd.Series) -> float:
    """Return the length of an error bar: the standard deviation, 0 for a single value."""
    return std(values) if len(values) > 1 else 0.0


def broken(title: str, widest: int = WIDEST) -> str:
    """Break a title of many words, joined by +, where a panel of so many characters ends.

    >>> broken("files+labels=100+neurons_per_key=256+seed=8").splitlines()
    ['files+labels=100+', 'neurons_per_key=256+seed=8']
    """
    words = title.replace("+", "+ ")
    return textwrap.fill(words, widest, break_on_hyphens=False).replace("+ ", "+")


def keys_of(
    looks: Mapping[str, Mapping[str, Any]],
    marker: Mapping[str, str],
    own_marker: Mapping[str, str] | None = None,
) -> list[Line2D]:
    """Return legend entries: a color, dashes and filling for each of the looks, with its own marker
    if it has one, and a gray marker for each of `marker`.
    """
    size: dict[str, Any] = {"markersize": 7, "linewidth": 1.5}
    keys = [
        Line2D([], [], label=name, marker=(own_marker or {}).get(name, "o"), **size, **look)
        for name, look in looks.items()
    ]
    return keys + [
        Line2D([], [], color="0.3", marker=marker[m], linestyle="none", label=m) for m in marker
    ]


def of_blocks(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with data set and model as one, for a panel each."""
    return table.assign(dataset=table["dataset"] + ", " + table["model"])


def line(label: str, linestyle: Any, linewidth: float = 1.0) -> Line2D:
    """Return a legend entry of a gray line."""
    return Line2D([], [], color="0.3", linestyle=linestyle, linewidth=linewidth, label=label)


def ring(label: str) -> Line2D:
    """Return a legend entry of a gray ring."""
    look: dict[str, Any] = {"marker": "o", "markersize": 10, "fillstyle": "none"}
    return Line2D([], [], color="0.3", linestyle="none", label=label, **look)


def legend(figure: Figure, keys: Sequence[Line2D]) -> None:
    """Put a legend below all panels, in as many columns as fit, and make room for it."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    for columns in range(len(keys), 0, -1):
        drawn = figure.legend(handles=keys, loc="outside lower center", ncols=columns)
        box = drawn.get_window_extent(renderer)
        if box.width <= figure.bbox.width or columns == 1:
            break
        drawn.remove()
    figure.set_figheight(figure.get_figheight() + box.height / figure.dpi)


def panels(
    table: pd.DataFrame, draw: Callable[[Axes, pd.DataFrame], None], keys: Sequence[Line2D]
) -> Figure:
    """Return a figure with a panel for each data set of the table, at most three in a row, and one
    legend below all of them; without a panel where the table is empty.
    """
    groups = list(table.groupby("dataset"))
    columns = min(3, max(1, len(groups)))
    rows = max(1, math.ceil(len(groups) / columns))
    size = (max(NARROWEST, 3.6 * columns), 2.8 * rows)
    figure = Figure(figsize=size, layout="constrained")
    for place, (dataset, panel) in enumerate(groups, start=1):
        axes = figure.add_subplot(rows, columns, place)
        axes.set_title(broken(dataset), loc="left", fontweight="bold")
        draw(axes, panel)
    if groups and keys:
        legend(figure, keys)
    return figure


def accuracies(axes: Axes) -> None:
    """Label an axis of accuracies, which ends at 100 % whatever the error bars reach."""
    low, high = axes.get_ylim()
    axes.set_ylim(low, min(high, 100.0 + 0.04 * (100.0 - low)))
    axes.set_ylabel("Test accuracy [%]")


def logarithmic(axis: Axis) -> None:
    """Label an axis with a logarithmic scale at plain numbers: more of them, the fewer decades."""
    low, high = axis.get_view_interval()
    decades = math.log10(high / low)
    subs = (1.0, 2.0, 5.0) if decades < 1.3 else (1.0, 3.0) if decades < 2.5 else (1.0,)
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter(FuncFormatter(_plain))
    axis.set_minor_locator(NullLocator())


def _plain(value: float, place: int | None = None) -> str:
    """A number without an exponent, in thousands and millions from 1,000 on."""
    return EngFormatter(sep="")(value) if value >= 1000 else f"{value:g}"


def svg(figure: Figure) -> bytes:
    """Return the figure as SVG without a date, so that equal figures are equal bytes."""
    return _rendered(figure, "svg")


def save(figure: Figure, folder: Path, name: str, caption: str) -> None:
    """Write a figure as SVG, PDF and PNG, and its caption beside them; nothing of one without
    panels.
    """
    if not figure.axes:
        return
    with matplotlib.rc_context(STYLE):
        figure.draw_without_rendering()
    figure.set_layout_engine("none")  # the layout is found once, not twice for each format
    for format in FORMATS:
        atomic_write(folder / f"{name}.{format}", _rendered(figure, format))
    atomic_write(folder / f"{name}.rst", caption)


def _rendered(figure: Figure, format: str) -> bytes:
    content = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(content, format=format, metadata=FORMATS[format])
    return content.getvalue()
