"""Pages are right: examples run and print what they say, links lead to files, keys exist."""

import doctest
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ttfs.metrics import Seen, Subject
from ttfs.results.record import METRICS, read

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
METRIC_PAGES = sorted(ROOT.glob("docs/metrics/*.md"))
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NAMED = re.compile(r"^`([\w/.-]+)`:\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


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


def test_the_kind_of_the_page_runs(tmp_path):
    for path, text in NAMED.findall((ROOT / "docs/add-a-kind.md").read_text()):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    cell = "digits/none/nearest-class-mean/seed0"
    for stage in ("make", "evaluate"):
        command = [sys.executable, "-m", "ttfs", stage, "configs/means.yaml", cell]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        subprocess.run(command, cwd=tmp_path, env=environment, check=True)
    record = read(tmp_path / "results/cells" / cell / "record.json")
    assert record.metrics["accuracy"] > 85


def test_the_metric_of_the_page_counts(tmp_path):
    ((_, text),) = NAMED.findall((ROOT / "docs/add-a-metric.md").read_text())
    (tmp_path / "top_three.py").write_text(text)
    module = imported(tmp_path / "top_three.py")
    assert doctest.testmod(module).failed == 0
    meter = module.TopThree(Subject(5))
    meter.update(Seen(torch.tensor([0, 4]), torch.arange(5.0).repeat(2, 1)))
    assert list(meter.rows()) == [{"metric": "top3_accuracy", "value": 50.0}]


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


def test_no_schema_is_left_of_a_kind_that_is_gone(generator):
    assert set((ROOT / "docs/schemas").iterdir()) <= set(generator.generated())


def test_the_generator_explains_its_values(generator):
    results = doctest.testmod(generator)
    assert (results.attempted, results.failed) == (3, 0)
