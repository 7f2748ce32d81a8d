"""Pages are right: examples run and print what they say, links lead to files, keys exist."""

import doctest
import importlib.util
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import ttfs
from ttfs.__main__ import _parser, main
from ttfs.methods import kinds
from ttfs.results.record import METRICS

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
METRIC_PAGES = sorted(ROOT.glob("docs/metrics/*.md"))
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


BROWSE = (ROOT / "docs/browse.md").read_text()
SHOWN = [line for line in FENCE.search(BROWSE)[2].splitlines() if line.startswith("ttfs")]


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def examples(page: Path) -> list[doctest.DocTest]:
    """Each Python block of a page that shows a session (`>>>`); readers may copy it alone."""
    text = page.read_text()
    fences = FENCE.finditer(text)
    blocks = [found for found in fences if found[1] == "python" and found[2].startswith(">>>")]
    parse = doctest.DocTestParser().get_doctest
    return [parse(b[2], {}, name(page), name(page), text[: b.start(2)].count("\n")) for b in blocks]


@pytest.mark.parametrize(
    "example",
    [pytest.param(e, id=f"{e.name}:{e.lineno}") for page in PAGES for e in examples(page)],
)
def test_examples_print_what_they_say(example):
    report: list[str] = []
    results = doctest.DocTestRunner(verbose=False).run(example, out=report.append)
    assert results.attempted > 0
    assert results.failed == 0, "".join(report)


def test_the_example_of_the_readme_runs():
    text = (ROOT / "README.md").read_text()
    (program,) = [found[2] for found in FENCE.finditer(text) if found[1] == "python"]
    exec(compile(program, "README.md", "exec"), {})


def test_the_quick_tour_runs(capsys):
    """Each cell of the notebook, in order, as Jupyter would run it; it keeps no output in git."""
    cells = json.loads((ROOT / "docs/quick-tour.ipynb").read_text())["cells"]
    programs = [cell for cell in cells if cell["cell_type"] == "code"]
    assert len(programs) > 4
    assert not any(cell["outputs"] for cell in programs)
    names: dict[str, object] = {}
    for place, cell in enumerate(programs):
        exec(compile("".join(cell["source"]), f"quick-tour.ipynb, cell {place}", "exec"), names)
    said = capsys.readouterr().out
    assert re.search(r"ReLU network: 9\d\.\d %\nTTFS network: 9\d\.\d %", said)


def test_the_site_builds(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Return" in (tmp_path / "api" / "index.html").read_text()
    pictures = re.findall(r"\]\((figures/\S+\.png)\)", BROWSE)
    assert pictures
    assert all((tmp_path / picture).exists() for picture in pictures)


def test_every_public_name_is_on_the_page_of_the_api():
    listed = re.findall(r"^::: ttfs\.(\w+)$", (ROOT / "docs/api.md").read_text(), re.MULTILINE)
    assert listed == ttfs.__all__


def verbs(text: str) -> set[str]:
    """The verbs of the command line in the shell blocks of a text, and in its inline code."""
    blocks = [found[2] for found in FENCE.finditer(text) if found[1] in ("", "bash", "sh")]
    return set(re.findall(r"^(?:\w+=\S+ )*ttfs ([a-z]+)\b", "\n".join(blocks), re.MULTILINE)) | set(
        re.findall(r"`ttfs ([a-z]+)\b", text)
    )


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_of_pages_are_understood(page):
    """Each `ttfs …` of a page is a verb, and each `make …` a target."""
    known = {action for group in _parser()._subparsers._group_actions for action in group.choices}
    text = page.read_text()
    assert verbs(text) <= known
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    used = set(re.findall(r"^(?:\w+=\S+ )*make ([a-z0-9-]+)", text, re.MULTILINE))
    used |= set(re.findall(r"`make ([a-z0-9-]+)", text))
    assert used <= targets


def test_a_report_is_made_of_a_grid_that_has_run():
    """Snakemake refuses the report of a grid whose results are not there."""
    planned = subprocess.run(["make", "-n", "report"], cwd=ROOT, capture_output=True, text=True)
    runs = [line for line in planned.stdout.splitlines() if "snakemake all" in line]
    assert ["--report" in line for line in runs] == [False, True]


@pytest.mark.parametrize("line", [*SHOWN], ids=str)
def test_commands_of_the_browse_page_run(little: Path, line: str):
    """Each command of its first shell block, with the little grid for that of the page."""
    words = line.partition("#")[0].replace("configs/quick.yaml", "configs/little.yaml").split()
    assert main(["tables", "configs/little.yaml"]) == 0
    words = [word.replace("digits/fc2", "made/little") for word in words]
    assert main(words[1:]) == 0


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_relative_links_lead_to_files(page):
    prose = re.sub(r"`[^`]+`", "", FENCE.sub("", page.read_text()))
    targets = [
        link.partition("#")[0]
        for link in LINK.findall(prose)
        if "://" not in link and "mailto:" not in link
    ]
    missing = [target for target in targets if target and not (page.parent / target).exists()]
    assert not missing


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    words = [re.sub(r"[^\w\s-]", "", heading.lower()).split() for heading in headings]
    return {"-".join(parts) for parts in words}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_anchors_of_links_are_headings(page):
    links = [link.partition("#") for link in LINK.findall(FENCE.sub("", page.read_text()))]
    here = [(place, anchor) for place, _, anchor in links if anchor and "://" not in place]
    missing = [
        f"{place}#{anchor}"
        for place, anchor in here
        if anchor not in anchors(page.parent / place if place else page)
    ]
    assert not missing


PLACE = re.compile(
    r"(?<![\w/.<])((?:configs|ttfs|tests|benchmarks|docs|workflow|profiles)/[\w./-]*\w)"
)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_files_that_pages_name_exist(page):
    """Paths in inline code; a page may tell to write a file, whose content follows."""
    prose = FENCE.sub("", page.read_text())
    code = re.findall(r"`([^`\n]+)`(?![^`\n]*:$)", prose, re.MULTILINE)
    paths = {path for text in code for path in PLACE.findall(text)}
    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", METRIC_PAGES, ids=name)
def test_each_metric_page_works_an_example(page):
    assert examples(page)


def test_the_index_names_every_metric():
    index = (ROOT / "docs/metrics/README.md").read_text()
    assert [metric for metric in METRICS if f"`{metric}`" not in index] == []


def imported(path: Path):
    """A Python file as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def generator():
    """The program that writes tables of keys and schemas."""
    return imported(ROOT / "docs/generate.py")


def test_tables_of_keys_and_schemas_are_those_of_the_code(generator):
    changed = [
        name(path)
        for path, text in generator.generated().items()
        if not path.exists() or path.read_text() != text
    ]
    assert changed == [], "run python docs/generate.py"


def test_keys_of_training_are_listed_once():
    """Those that only TTFS networks have stand with each of their kinds."""
    page = (ROOT / "docs/methods.md").read_text()
    listed = Counter(re.findall(r"^\| `(train\.[a-z]\S*)`", page, re.MULTILINE))
    assert listed.pop("train.window_growth") == 2
    assert set(listed.values()) == {1}


@pytest.mark.parametrize("kind", kinds())
def test_tables_of_a_kind_have_each_of_its_keys(generator, kind):
    """A key has a line, or is named in the line of those that are as of `relu`."""
    _, _, *lines = generator.table(kind).splitlines()
    [shared] = [line for line in lines if "](#relu)" in line] or [""]
    own = {re.match(r"\| `([^`]+)`", line)[1] for line in lines if line != shared}
    said = set(re.findall(r"`([^`]+)`", shared.partition(" | | | ")[0]))
    relu = generator.lines("relu")
    named = said & relu.keys() | {key for key in relu if "train.*" in said and "train." in key}
    keys = generator.lines(kind)
    assert own | named == keys.keys()
    assert not own & named
    assert {key: keys[key] for key in named} == {key: relu[key] for key in named}


def test_no_schema_is_left_of_a_kind_that_is_gone(generator):
    assert set((ROOT / "docs/schemas").iterdir()) <= set(generator.generated())


def test_the_generator_explains_its_values(generator):
    results = doctest.testmod(generator)
    assert (results.attempted, results.failed) == (3, 0)
