"""Records: written whole, read back the same, refused with one line where they are not records."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from ttfs.errors import UserError
from ttfs.results import records
from ttfs.results.provenance import Provenance, git_state
from ttfs.results.records import CURVE_COLUMNS, METRICS, Record


def test_a_record_is_read_back_as_it_was_written(tmp_path, make_record):
    for record in (make_record(method="b1-converted"), make_record(seed=1, error="no memory")):
        path = records.write(record, tmp_path / str(record.cell))
        assert records.read(path) == record


def test_the_file_is_stable_and_self_explaining(tmp_path, make_record):
    record = make_record(method="b1-converted")
    text = records.write(record, tmp_path / str(record.cell)).read_text()
    content = json.loads(text)
    assert text == json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    assert content["status"] == "ok"
    assert content["units"]["latency"] == "τ_c"
    assert set(content["units"]) == set(content["metrics"])


def test_a_record_lies_in_one_file_whatever_happened_before(tmp_path, make_record):
    good, bad = make_record(), make_record(error="")
    folder = tmp_path / str(good.cell)
    for record, name in ((bad, "failure.json"), (good, "record.json"), (bad, "failure.json")):
        assert records.write(record, folder).name == name
        assert [path.name for path in folder.iterdir()] == [name]


def test_metrics_have_a_name_and_are_finite(make_record):
    with pytest.raises(ValueError, match="unknown metric 'acuracy'"):
        replace(make_record(), metrics={"acuracy": 1.0})
    with pytest.raises(ValueError, match="not JSON compliant"):
        replace(make_record(), metrics={"accuracy": float("nan")}).to_json()


def test_curve_columns_and_metrics_share_no_name():
    """In MLflow they would end in one history, and the last value would be neither."""
    assert not set(CURVE_COLUMNS) & set(METRICS)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda text: text[:100], "not a readable record"),
        (lambda text: "", "not a readable record"),
        (lambda text: "[]", "not a readable record"),
        (lambda text: "\udcff", "not a readable record"),
        (lambda text: text.replace('"schema": 1', '"schema": 7'), "schema 7 where this version of ttfs reads schema 1"),
        (lambda text: text.replace('"units"', '"unit"'), "missing key 'units'"),
        (lambda text: text.replace('"error"', '"eror"'), "eror"),
        (lambda text: text.replace('"accuracy"', '"acuracy"'), "unknown metric 'acuracy'"),
        (lambda text: text.replace('"seed": 0', '"sed": 0'), "sed"),
        (lambda text: text.replace('"device"', '"divice"'), "divice"),
        (lambda text: text.replace('"status": "ok"', '"status": "failed"'), "status 'failed' with error None"),
        (lambda text: text.replace('"model": "fc2"', '"model": "fc8"'), "is the record of tiny/digits/fc8/seed0/ann"),
    ],
)
def test_what_is_no_record_is_refused_in_one_line(tmp_path, make_record, change, reason):
    path = records.write(make_record(), tmp_path / str(make_record().cell))
    path.write_bytes(change(path.read_text()).encode(errors="surrogateescape"))
    with pytest.raises(UserError) as caught:
        records.read(path)
    message = str(caught.value)
    assert str(path) in message
    assert reason in message
    assert "delete it" in message
    assert "\n" not in message


def test_collect_sorts_and_takes_success_before_failure(tiny_grid, make_record):
    stale = make_record(error="an earlier attempt")
    (stale.cell.folder / "failure.json").write_text(stale.to_json())
    found = records.collect(tiny_grid)
    assert [str(record.cell) for record in found] == sorted(str(record.cell) for record in found)
    assert [record.status for record in found] == ["ok", "ok", "ok", "ok", "ok", "failed"]


def test_collect_ignores_a_file_left_half_written(tiny_grid):
    (tiny_grid.folder / "digits/fc2/seed0/ann/.record.json.99.tmp").write_text("{")
    assert len(records.collect(tiny_grid)) == 6


def test_collect_leaves_out_what_the_grid_does_not_list(tiny_grid):
    del tiny_grid.methods["b1-converted"]
    assert [record.cell.method for record in records.collect(tiny_grid)] == ["ann"] * 3


def test_nothing_to_collect_says_what_to_run(tiny_grid, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path.parent)
    with pytest.raises(UserError, match="results/tiny: no records of this grid's cells; run the workflow first"):
        records.collect(tiny_grid)


def test_curve(tiny_grid):
    rows = records.read_curve(tiny_grid.folder / "digits/fc2/seed0/ann")
    assert [row["epoch"] for row in rows] == [0, 1, 2]
    assert rows[2]["validation_accuracy"] == 91
    assert records.read_curve(tiny_grid.folder / "digits/fc2/seed0/b1-converted") == []


def test_a_torn_curve_is_refused(tiny_grid):
    path = tiny_grid.folder / "digits/fc2/seed0/ann/curve.csv"
    path.write_text(path.read_text()[:-15])
    with pytest.raises(UserError, match=r"curve.csv: not a readable curve"):
        records.read_curve(path.parent)


def test_an_interrupted_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file.txt"
    records.atomic_write(path, "old")

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full_disk)
    with pytest.raises(UserError, match=r"file.txt: cannot be written \(No space left on device\)"):
        records.atomic_write(path, b"new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_unwritable_place_is_one_line(tmp_path):
    (tmp_path / "results").write_text("a file where a folder belongs")
    with pytest.raises(UserError, match="cannot be written"):
        records.atomic_write(tmp_path / "results" / "record.json", "{}")


def test_provenance_names_the_packages_without_importing_them():
    made = Provenance.now("cpu", threads=2, wall_seconds=1.23456)
    assert made.versions["torch"]
    assert made.versions["python"]
    assert (made.device, made.threads, made.wall_seconds) == ("cpu", 2, 1.235)
    assert made.finished.endswith("+00:00")


def test_git_state(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_state(tmp_path) == (None, None)
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]

    def git(*words: str) -> None:
        subprocess.run(["git", "-C", str(tmp_path), *identity, *words], check=True, capture_output=True)

    git("init")
    (tmp_path / "file").write_text("1")
    git("add", "file")
    git("commit", "-m", "first")
    commit, dirty = git_state(tmp_path)
    assert len(commit) == 40
    assert dirty is False
    (tmp_path / "file").write_text("2")
    assert git_state(tmp_path) == (commit, True)


def test_record_needs_its_provenance(make_record):
    with pytest.raises(TypeError):
        Record(make_record().cell)
