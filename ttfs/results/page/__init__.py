"""The page of a grid: one HTML file with its answer, tables, figures, failures and links.

It is self-contained and opens without a network. Sorting, searching and filtering are DataTables',
which the package itables ships; without a script the tables are still there.
"""

import base64
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import itables
import jinja2
from markupsafe import Markup

from ttfs.files import atomic_write
from ttfs.results.frame import Results
from ttfs.results.page.sections import Sections, gathered

BUNDLE = Path(itables.__file__).parent / "html" / "dt_bundle.js"


def write(results: Results, folder: Path, cells: str = "../cells") -> None:
    """Write ``index.html`` of a grid into its folder, with the figures that lie in ``figures/``.

    `cells` leads from there to the store, for the links to records.
    """
    sections = Sections(results, cells)
    content = [*sections.tables(), *_figures(folder / "figures"), *sections.notes()]
    name, title = results.grid.name, results.grid.title
    head = title if title == name else f"{name}: {title}"
    atomic_write(folder / "index.html", render(head, sections.facts(), content))


def write_site(grids: Sequence[Results], folder: Path, cells: str) -> None:
    """Write one page that gathers grids, ``index.html`` of a folder: their answers, and one
    comparison over all. The page of each is in ``<grid>/``; `cells` leads from there to the store.
    """
    parts = {results.grid.name: Sections(results, cells) for results in grids}
    facts = [
        (f"{name}: {place}", text) for name, own in parts.items() for place, text in own.answers()
    ]
    pages = [
        {"name": name, "link": f"{name}/index.html", "text": own.results.grid.title}
        for name, own in parts.items()
    ]
    content = [{"id": "grids", "title": "Grids", "list": pages}, gathered(parts)]
    atomic_write(folder / "index.html", render("Published results", facts, content))


def render(
    title: str, facts: Sequence[tuple[str, str]], sections: Sequence[Mapping[str, Any]]
) -> str:
    """Return a page: its title, lines of facts on top, and sections of tables, figures, lists."""
    here = files(__name__)
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    environment.filters["ids"] = _breakable
    template = environment.from_string((here / "page.html.jinja").read_text(encoding="utf-8"))
    return template.render(
        title=title, facts=facts, sections=sections, library=_library(),
        style=Markup((here / "page.css").read_text(encoding="utf-8")),
        script=Markup((here / "page.js").read_text(encoding="utf-8")),
    )  # fmt: skip


def _breakable(text: str) -> Markup:
    """Text in which a line may end before each `+` and `~`, for ids are longer than a column is
    wide; in an id alone, nowhere else, not at its hyphens either.

    >>> str(_breakable("b1-scratch+epochs=60"))
    '<span class="whole">b1-scratch</span><wbr><span class="whole">+epochs=60</span>'
    >>> str(_breakable("best is b1+epochs=60"))
    'best is b1<wbr>+epochs=60'
    """
    whole = Markup("{}" if " " in text else '<span class="whole">{}</span>')
    return Markup("<wbr>").join(whole.format(piece) for piece in re.split(r"(?=[+~])", text))


def _library() -> dict[str, Markup]:
    """Script and style of DataTables."""
    script = base64.b64encode(BUNDLE.read_bytes()).decode()
    css = BUNDLE.with_suffix(".css").read_text(encoding="utf-8")
    return {"script": Markup(script), "css": Markup(css)}


def _figures(folder: Path) -> list[dict[str, Any]]:
    figures = []
    for path in sorted(folder.glob("*.svg")):
        content = base64.b64encode(path.read_bytes()).decode()
        figures.append({
            "name": path.stem,
            "title": path.stem.replace("-", " ").capitalize(),
            "image": f"data:image/svg+xml;base64,{content}",
            "caption": _caption(path),
        })  # fmt: skip
    return [{"id": "figures", "title": "Figures", "figures": figures}] if figures else []


def _caption(figure: Path) -> Markup:
    """The caption that lies beside a figure, which is reStructuredText."""
    path = figure.with_suffix(".rst")
    return html_of(path.read_text(encoding="utf-8")) if path.exists() else Markup("")


def html_of(text: str) -> Markup:
    """Return reStructuredText as HTML."""
    from docutils.core import publish_parts

    settings = {"report_level": 5, "raw_enabled": False, "file_insertion_enabled": False}
    parts = publish_parts(text, writer="html5", settings_overrides=settings)
    return Markup(parts["fragment"])
