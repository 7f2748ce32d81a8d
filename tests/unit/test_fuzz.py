"""Made-up configurations, records, lists of files and curves: each is read, or refused in one line.

TTFS_FUZZ_EXAMPLES=<number> tries more, each time others.
"""

import copy
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kit.records import made_up, results, write_curve

from ttfs.config import SHIPPED, load_grid, read_yaml
from ttfs.config.read import FOLDERS, load_yaml
from ttfs.errors import UserError
from ttfs.files import atomic_write
from ttfs.results import record, tables
from ttfs.results.record import CURVE, MADE, RECORD, Made, read_curve, read_made

EXAMPLES = os.environ.get("TTFS_FUZZ_EXAMPLES")
fuzz = settings(
    max_examples=int(EXAMPLES or 100), derandomize=EXAMPLES is None, deadline=None, database=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip

WORDS = ("none", "digits", "ann", "b1-converted", "fc2", "../x", "1e-3", "nan", "🧠", "a b", "")
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-3, 3), st.floats(),
    st.sampled_from([1e308, -1e308, 10**30, 2**63, 0.5, 1.0]),
    st.sampled_from(WORDS), st.text(max_size=8),
)  # fmt: skip
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=6,
)
FILES = [path for noun in FOLDERS for path in (SHIPPED / "configs" / FOLDERS[noun]).glob("*.yaml")]
NOUNS = {folder: noun for noun, folder in FOLDERS.items()}


def changed(content: Any, data: st.DataObject) -> Any:
    """A copy with one to three places taken out, replaced or added."""
    content = copy.deepcopy(content)
    for _ in range(data.draw(st.integers(1, 3))):
        block = content
        while True:
            keys = list(block) if isinstance(block, dict) else list(range(len(block)))
            key = data.draw(st.sampled_from(keys)) if keys else None
            inside = key is not None and isinstance(block[key], dict | list)
            if not inside or data.draw(st.booleans()):
                break
            block = block[key]
        act = data.draw(st.sampled_from(["replace", "replace", "delete", "add"]))
        if act == "add" or key is None:
            if isinstance(block, dict):
                block[data.draw(st.text(max_size=8))] = data.draw(VALUES)
            else:
                block.append(data.draw(VALUES))
        elif act == "delete":
            del block[key]
        else:
            block[key] = data.draw(VALUES)
    return content


def refused(read: Callable[[], Any]) -> Any:
    """What `read` returns; None where it refuses in one line that is short enough to be read."""
    try:
        return read()
    except UserError as error:
        said = str(error)
    assert "\n" not in said
    assert 10 < len(said) < 1000
    return None


def put(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    return path


@fuzz
@given(text=st.text() | st.text(alphabet="[]{}:,-&*!|>'\"#%@ \n\ta1.e~?"))
def test_any_text_is_a_configuration_or_refused(tmp_path: Path, text: str):
    refused(lambda: load_yaml(put(tmp_path / "mine.yaml", text)))


@fuzz
@given(data=st.data(), place=st.sampled_from(FILES))
def test_a_changed_file_is_read_or_refused(tmp_path: Path, data: st.DataObject, place: Path):
    content = changed(yaml.safe_load(place.read_text(encoding="utf-8")), data)
    path = put(tmp_path / place.name, yaml.safe_dump(content, allow_unicode=True))
    refused(lambda: read_yaml(path, NOUNS[place.parent.name]))


@fuzz
@given(data=st.data(), name=st.sampled_from(["quick", "compare", "mnist", "files"]))
def test_a_changed_grid_is_laid_out_or_refused(configs: Path, data: st.DataObject, name: str):
    shipped = (SHIPPED / "configs" / f"{name}.yaml").read_text(encoding="utf-8")
    content = changed(yaml.safe_load(shipped), data)
    path = put(configs / "mine.yaml", yaml.safe_dump(content, allow_unicode=True))
    grid = refused(lambda: load_grid(path))
    if grid is not None:
        cells = [cell.name for cell in grid.every]
        assert len(set(cells)) == len(cells)
        assert all(".." not in name.split("/") for name in cells)


@fuzz
@given(data=st.data())
def test_a_changed_record_is_read_or_refused_and_gives_tables(tmp_path: Path, data: st.DataObject):
    content = json.loads(made_up("b1-converted").to_json())
    del content["checksum"]
    content = changed(content, data)
    try:
        text = record._sealed(content)
    except (ValueError, KeyError, TypeError):  # what JSON cannot hold
        return
    found = refused(lambda: record.read(put(tmp_path / RECORD, text), made_up("b1-converted").name))
    if found is not None:
        refused(lambda: tables.write(results([made_up(), found]), tmp_path / "tables"))


@pytest.mark.parametrize("name", [RECORD, MADE, CURVE])
@fuzz
@given(data=st.data())
def test_a_file_with_other_bytes_is_refused(tmp_path: Path, name: str, data: st.DataObject):
    write_curve(tmp_path)
    one = made_up("b1-converted")
    made = Made(one.ids, "d", "c", {}, "x", None, None, {}, one.provenance["make"])
    atomic_write(tmp_path / RECORD, one.to_json())
    atomic_write(tmp_path / MADE, made.to_json())
    readers: dict[str, Callable[[], Any]] = {
        RECORD: lambda: record.read(tmp_path / RECORD, one.name),
        MADE: lambda: read_made(tmp_path),
        CURVE: lambda: read_curve(tmp_path),
    }
    before, whole = (tmp_path / name).read_bytes(), readers[name]()
    start = data.draw(st.integers(0, len(before) - 1))
    end = data.draw(st.integers(start, min(len(before), start + 40)))
    after = before[:start] + data.draw(st.binary(max_size=10)) + before[end:]
    (tmp_path / name).write_bytes(after)
    found = refused(readers[name])
    assert name == CURVE or found in (None, whole)
