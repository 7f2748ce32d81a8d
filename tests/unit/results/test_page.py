"""The page: one file without a network, whole without a script, and right in a browser."""

import math
import os
import re
import shutil
import time
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from kit.records import PROVENANCE, grid, made_up, records, results, with_values, write_curve

from ttfs.config import STORE, Variant
from ttfs.results import figures, page
from ttfs.results.frame import Results
from ttfs.results.page.sections import Sections, verdict

WORK = {
    "work": "A paper", "source": "table 1",
    "values": [
        {"datasets": ["digits"], "metric": "accuracy", "value": 97.4},
        {"datasets": ["digits"], "metric": "spikes_per_neuron", "value": 0.3, "relation": "below"},
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    """The page of the made-up records, with figures, a published value and a failure."""
    folder = tmp_path_factory.mktemp("page")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for seed in range(3):
            write_curve(STORE / made_up(seed=seed).name)
        found = results(records(), replace(grid(), published=[WORK]))
        figures.write(found, found.grid.folder / "figures")
        page.write(found, found.grid.folder)
    return folder / "results" / "tiny" / "index.html"


class Content(HTMLParser):
    """Tables as text, and all that the page refers to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.references: list[str] = []
        self.images = 0
        self._cell = False
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.images += tag == "img"
        values = [value for key, value in attributes if key in ("src", "href")]
        self.references += [value for value in values if value is not None]
        if tag == "tr":
            self.rows.append([])
        self._cell = tag in ("td", "th") or (self._cell and tag in ("span", "a"))
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, text: str) -> None:
        if self._cell and self.rows and self.rows[-1]:
            self.rows[-1][-1] += text.strip() + " "


def test_the_page_is_whole_without_a_script_and_without_a_network(file: Path):
    content = Content(file.read_text())
    rows = [[" ".join(cell.split()) for cell in row] for row in content.rows]
    heads = rows[0]
    assert heads[:5] == ["Data set", "Network", "Method", "n", "Accuracy [%] ↑"]
    assert rows[1][:5] == ["digits", "fc2", "ann", "3 0 1 2", "97.00 ± 1.00"]
    assert rows[2][:5] == ["digits", "fc2", "b1-converted", "2 of 3 0 1", "97.50 ± 0.71"]
    place = heads.index("Training time [s]")
    assert [rows[1][place], rows[2][place]] == ["1,010", "1,005"]
    images = [reference for reference in content.references if reference.startswith("data:image")]
    kinds = {reference.partition(":")[0] for reference in content.references}
    assert not kinds & {"http", "https", "file"}
    assert "../cells/digits/fc2/ann/seed0/record.json" in content.references
    assert "../cells/digits/fc2/b1-converted/seed2/failure.json" in content.references
    assert content.images == len(list((file.parent / "figures").glob("*.svg"))) > 3
    assert len(set(images)) == len(images) == content.images
    links = {reference for reference in content.references if reference.endswith(".svg")}
    assert links == {f"figures/{path.name}" for path in (file.parent / "figures").glob("*.svg")}
    assert "@import" not in file.read_text()
    assert not re.findall(r"url\([^)]*http", file.read_text())


def test_the_top_has_the_answer_and_where_it_comes_from(file: Path):
    top = file.read_text().partition("</header>")[0].rpartition("<dl")[2]
    assert top.count("<dt>") <= 10
    for words in (
        "ann 97.00 ± 1.00 %; best spiking network b1-converted 97.50 ± 0.71 % at 0.450 ± 0.071",
        "tiny.yaml: 1 data set, 1 network, 2 methods, 3 seeds", "5 of 6 cells have a result",
        "2026-01-02 03:04", "a processor, 2 cores", "0123456 (6)",
    ):  # fmt: skip
        assert words in top


def test_hours_count_each_stage_once(tmp_path: Path, monkeypatch):
    """The record of a chip tells of the making of its network, too."""
    monkeypatch.chdir(tmp_path)
    network = made_up("b1-converted")
    chips = [made_up("b1-converted", hardware=name) for name in ("jitter=0.1", "jitter=0.2")]
    hours = []
    for found in ([network], [network, *chips]):
        facts = dict(Sections(Results(grid(["b1-converted"]), found), "cells").facts())
        hours.append(facts["When"].partition("UTC, ")[2])
    assert hours == ["0.28 hours of computing on record", "0.29 hours of computing on record"]


def test_many_hours_are_written_without_an_exponent():
    found = replace(made_up(), provenance={"make": replace(PROVENANCE, wall_seconds=468_000.0)})
    facts = dict(Sections(Results(grid(["ann"]), [found]), "cells").facts())
    assert facts["When"].endswith("UTC, 130 hours of computing on record")


def test_published_values_have_a_verdict(file: Path):
    rows = [[cell.strip() for cell in row] for row in Content(file.read_text()).rows]
    found = {row[3]: row for row in rows if len(row) == 11 and row[9] == "A paper"}
    assert found["Accuracy [%] ↑"][5:9] == ["97.50 ± 0.71", "97.4", "+0.10", "reached"]
    assert found["Spikes per neuron ↓"][6:9] == ["< 0.3", "+0.150", "not below it"]


@pytest.mark.parametrize(
    ("metric", "relation", "ours", "said"),
    [
        ("accuracy", "equal", 98.5, "reached"), ("accuracy", "equal", 97.9, "reached"),
        ("accuracy", "equal", 97.0, "not reached"), ("energy", "equal", 97.0, "reached"),
        ("energy", "equal", 99.0, "not reached"), ("energy", "below", 97.9, "below it"),
        ("energy", "below", 98.0, "not below it"),
    ],
)  # fmt: skip
def test_verdicts(metric: str, relation: str, ours: float, said: str):
    row = {"metric": metric, "relation": relation, "published": 98.0}
    assert verdict(row | {"ours_mean": ours, "ours_std": 0.1}) == said


@pytest.mark.parametrize(
    ("metric", "relation", "ours", "published", "said"),
    [
        ("accuracy", "equal", 100.0 * (9862 / 10000), 98.62, "reached"),
        ("energy", "equal", 0.1 + 0.2, 0.3, "reached"),
        ("energy", "below", 100.0 * (9862 / 10000), 98.62, "not below it"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("std", [0.0, math.nan])
def test_values_that_differ_by_rounding_are_equal(
    metric: str, relation: str, ours: float, published: float, said: str, std: float
):
    assert ours != published
    row = {"metric": metric, "relation": relation, "published": published}
    assert verdict(row | {"ours_mean": ours, "ours_std": std}) == said


def test_words_of_a_grid_are_text_not_markup(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = results(records(), grid(title="<script>alert(1)</script>"))
    page.write(found, tmp_path)
    assert "<script>alert" not in (tmp_path / "index.html").read_text()


# ---- in a browser ----


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium, driven by Playwright."""
    api = pytest.importorskip("playwright.sync_api", reason="needs pip install 'ttfs[browser]'")
    program = os.environ.get("TTFS_CHROMIUM") or shutil.which("chromium")
    if program is None:
        pytest.skip("needs Chromium, on the path or named by TTFS_CHROMIUM")
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def opened(browser, file: Path):
    """The page, opened; at the end nothing has complained."""
    tab = browser.new_page(viewport={"width": 1440, "height": 900})
    faults: list[str] = []
    tab.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
    tab.on("pageerror", lambda error: faults.append(str(error)))
    started = time.monotonic()
    tab.goto(file.as_uri())
    tab.wait_for_selector("html[data-ready=yes]")
    assert time.monotonic() - started < 10
    yield tab
    tab.close()
    assert faults == []


def methods(tab) -> list[str]:
    return tab.locator("#table-comparison tbody tr td:nth-child(3)").all_inner_texts()


def test_columns_sort_by_value_with_mouse_and_keyboard(opened):
    head = opened.locator("#table-comparison thead th", has_text="Accuracy")
    orders = {"ascending": ["ann", "b1-converted"], "descending": ["b1-converted", "ann"]}
    button = head.locator("[role=button]")
    for act in (head.click, lambda: button.press("Enter")):
        for order, wanted in orders.items():
            act()
            opened.wait_for_selector(f"#table-comparison th[aria-sort={order}]")
            assert methods(opened) == wanted
        act()  # the order of the records again
        opened.wait_for_selector("#table-comparison th[aria-sort]", state="detached")


def test_filters_and_slider_leave_the_rows_that_fit(opened):
    form = opened.locator("form[data-for=table-comparison]")
    form.locator("select").nth(2).select_option("ann")
    assert methods(opened) == ["ann"]
    form.get_by_role("button", name="Show all").click()
    opened.wait_for_function("document.querySelectorAll('#table-comparison tbody tr').length == 2")
    slider = form.locator("input[type=range]")
    slider.focus()
    opened.keyboard.press("Home")
    assert form.locator("output").inner_text() == "0.01"
    assert "No matching" in opened.locator("#table-comparison tbody").inner_text()
    for _ in range(7):
        opened.keyboard.press("ArrowRight")
    assert form.locator("output").inner_text() == "0.5"
    assert methods(opened) == ["b1-converted"]
    opened.locator("#comparison input[type=search]").fill("nothing like this")
    assert "No matching" in opened.locator("#table-comparison tbody").inner_text()


LONG = "b1-converted+source=ann~activity_l1=1e-3"


@pytest.fixture(scope="module")
def wide(tmp_path_factory) -> Path:
    """A page with long ids, six digits, all metrics of the quick grid, and a key that varies."""
    ids = {"dataset": "fashion-mnist", "model": "lenet5"}
    made = [
        with_values(
            made_up(method, seed, **ids), ann_energy=1598.0 + seed, energy=609.2 + 15 * seed,
            time_steps=128.0, latency=73.4 + 12 * seed, synaptic_operations=6e5 + 1e4 * seed,
        )
        for seed in range(3) for method in ("ann", LONG)
    ]  # fmt: skip
    points = {name: {place: Variant(place, {"id": place})} for name, place in ids.items()}
    methods = {
        name: Variant(name, {"id": name, "kind": "b1", "threads": 1}, ("threads",))
        for name in ("ann", LONG)
    }
    of = replace(
        grid(reference="ann"), datasets=points["dataset"], models=points["model"], methods=methods
    )
    folder = tmp_path_factory.mktemp("wide")
    stale = {f"fashion-mnist/lenet5/{LONG}/seed0/hardware/clocked+time_bits=4+tuning": "its code"}
    page.write(replace(results(made, of), stale=stale), folder)
    return folder / "index.html"


def test_the_comparison_fits_a_screen_and_has_other_columns_on_demand(browser, wide: Path):
    tab = browser.new_page(viewport={"width": 1440, "height": 900})
    tab.goto(wide.as_uri())
    tab.wait_for_selector("html[data-ready=yes]")
    needed, given = tab.locator("#comparison .scroll").evaluate(
        "box => [box.querySelector('table').offsetWidth, box.clientWidth]"
    )
    assert needed <= given
    heads = tab.locator("#table-comparison thead th")
    shown = heads.all_inner_texts()
    assert "Time steps ↓" in shown
    assert shown[-1] == "Training time [s]"
    tab.get_by_role("button", name="More columns").press("Enter")
    extra = ["Energy of the ANN [nJ] ↓", "threads"]
    for name in extra:
        tab.locator(".dt-button-collection").get_by_text(name, exact=True).click()
    assert heads.all_inner_texts() == [*shown, *extra]
    tab.set_viewport_size({"width": 390, "height": 900})
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    tab.close()


@pytest.mark.parametrize("width", [1440, 390])
def test_nothing_but_tables_is_wider_than_the_window(opened, width: int):
    opened.set_viewport_size({"width": width, "height": 900})
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    assert all(opened.evaluate("Array.from(document.images, image => image.naturalWidth > 0)"))
