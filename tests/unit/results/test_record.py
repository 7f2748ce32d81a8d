"""Records: written whole, read back the same, refused with one line where they are not records."""

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from kit.records import made_up, with_values, write_curve

from ttfs.errors import UserError
from ttfs.files import atomic_write, locked
from ttfs.metrics import METRICS, studies
from ttfs.results import record
from ttfs.results.provenance import Provenance, git_state
from ttfs.results.record import (
    CURVE_COLUMNS,
    MADE,
    Made,
    Record,
    damaged,
    file_entry,
    read_curve,
    read_made,
)


@pytest.mark.parametrize(
    "one", [made_up("b1-converted"), made_up(seed=1, error="no memory")], ids=["ok", "failed"]
)
def test_a_record_is_read_back_as_it_was_written(tmp_path: Path, one: Record):
    path = record.write(one, tmp_path)
    assert record.read(path, one.name) == one


def test_cells_that_fail_alike_are_told_in_one_line():
    causes = ("no memory\nat all", "no disk", "no memory\nleft")
    failed = [made_up(seed=seed, error=error) for seed, error in enumerate(causes)]
    assert list(record.told(failed)) == [
        "digits/fc2/ann/seed0 and 1 more: no memory", "digits/fc2/ann/seed1: no disk",
    ]  # fmt: skip


def test_the_file_is_stable_and_a_row_is_a_line(tmp_path: Path):
    one = made_up("b1-converted")
    text = record.write(one, tmp_path).read_text()
    assert text == one.to_json()
    content = json.loads(text)
    assert content["status"] == "ok"
    assert content["rows"] == list(one.rows)
    lines = [line.strip().rstrip(",") for line in text.splitlines() if '"metric"' in line]
    assert [json.loads(line) for line in lines] == list(one.rows)


def test_values_are_found_by_their_dimensions():
    one = made_up("b1-converted", seed=1)
    assert one.value("accuracy") == 97.0
    assert one.value("accuracy", **{"class": 1}) == 95.0
    assert one.value("spikes_per_neuron", layer="layers.10") == 0.2
    assert one.value("accuracy", layer="layers.10") is None
    assert "neurons" not in one.metrics
    assert one.metrics["accuracy"] == 97.0


def test_a_record_lies_in_one_file_whatever_happened_before(tmp_path: Path):
    good, bad = made_up(), made_up(error="")
    for one, name in (
        (bad, "failure.json"),
        (good, "record.json"),
        (bad, "failure.json"),
        (good, "record.json"),
    ):
        assert record.write(one, tmp_path).name == name
        assert [path.name for path in tmp_path.iterdir() if path.is_file()] == [name]


def test_what_a_record_takes_the_place_of_is_kept(tmp_path: Path):
    first, second = made_up(), with_values(made_up(), accuracy=50.0)
    record.write(first, tmp_path)
    record.write(second, tmp_path)
    record.write(made_up(error="late"), tmp_path)
    kept = sorted(path.read_text() for path in (tmp_path / "history").iterdir())
    assert kept == sorted([first.to_json(), second.to_json()])
    assert all(
        path.name.startswith("20260102T030405-") for path in (tmp_path / "history").iterdir()
    )


def test_an_earlier_record_that_cannot_be_read_is_passed_over(tmp_path: Path, capsys):
    first, second = made_up(), with_values(made_up(), accuracy=50.0)
    for one in (first, second, made_up()):
        record.write(one, tmp_path)
    torn = next(p for p in (tmp_path / "history").iterdir() if p.read_text() == second.to_json())
    torn.write_text("{")
    assert list(record.earlier(tmp_path)) == [first]
    said = capsys.readouterr().err
    assert said.startswith(f"warning: {torn}: not a readable record")
    assert said.endswith("; this earlier record is passed over\n")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"metric": "acuracy", "value": 1.0}, "unknown metric 'acuracy'"),
        ({"metric": "accuracy", "value": float("nan")}, "accuracy is 'nan', no finite number"),
        ({"metric": "accuracy", "value": True}, "accuracy is 'True', no finite number"),
        ({"metric": "accuracy", "value": "98"}, "accuracy is '98', no finite number"),
        ({"metric": "accuracy"}, "a row is no"),
        ({"metric": "accuracy", "value": 1.0, "layer": None}, "dimension 'layer' is 'None'"),
    ],
)
def test_a_row_is_a_known_metric_and_a_finite_number(row: dict, said: str):
    with pytest.raises(ValueError, match=said):
        replace(made_up(), rows=(row,))


def test_curve_columns_and_metrics_share_no_name():
    """In MLflow they would end in one history, and the last value would be neither. Studies have no
    curve.
    """
    of_studies = {metric.name for metric in studies.METRICS}
    assert not set(CURVE_COLUMNS) & (set(METRICS) - of_studies)


def sealed(change) -> bytes:
    """A record whose content was changed and sealed anew."""
    content = json.loads(made_up().to_json())
    del content["checksum"]
    change(content)
    return record._sealed(content).encode()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (made_up().to_json()[:100].encode(), "not a readable record"),
        (b"", "not a readable record"),
        (b"[]", "not a readable record"),
        (b"\xff\xfe", "not a readable record"),
        (
            made_up().to_json().replace("98.0", "99.0").encode(),
            "it was changed since it was written",
        ),
        (
            sealed(lambda c: c.update(schema=7)),
            "schema 7 where this version of ttfs reads schema 2",
        ),
        (sealed(lambda c: c.pop("rows")), "missing key 'rows'"),
        (sealed(lambda c: c.update(eror=None)), "eror"),
        (sealed(lambda c: c["rows"][0].update(metric="acuracy")), "unknown metric 'acuracy'"),
        (sealed(lambda c: c["ids"].update(seed=None)), "ids are text and whole numbers"),
        (sealed(lambda c: c["ids"].pop("seed")), "missing key 'seed'"),
        (sealed(lambda c: c["provenance"]["make"].pop("device")), "missing key 'device'"),
        (sealed(lambda c: c["provenance"]["make"].update(finished="yesterday")), "yesterday"),
        (sealed(lambda c: c.update(status="failed")), "status 'failed' with error None"),
        (sealed(lambda c: c["ids"].update(model="fc8")), "is the record of digits/fc8/ann/seed0"),
    ],
)
def test_what_is_no_record_is_refused_in_one_line(tmp_path: Path, content: bytes, reason: str):
    path = tmp_path / "record.json"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        record.read(path, made_up().name)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert reason in message
    assert "run the workflow again" in message
    assert "\n" not in message


def test_what_was_made_is_read_back_and_checked(tmp_path: Path):
    (tmp_path / "weights.pt").write_bytes(b"weights")
    files = {"weights.pt": file_entry(tmp_path / "weights.pt")}
    provenance = made_up().provenance["make"]
    made = Made(made_up().ids, "d", "c", {"seed": 0}, "data", None, None, files, provenance)
    (tmp_path / "made.json").write_text(made.to_json())
    assert read_made(tmp_path) == made
    assert damaged(tmp_path, made.files, MADE, closely=True) is None
    (tmp_path / "weights.pt").write_bytes(b"WEIGHTS")
    changed = "weights.pt was changed since it was made"
    assert damaged(tmp_path, made.files, MADE) == changed  # it is newer than its list
    os.utime(tmp_path / "weights.pt", (1, 1))
    assert damaged(tmp_path, made.files, MADE) is None
    assert damaged(tmp_path, made.files, MADE, closely=True) == changed
    (tmp_path / "weights.pt").write_bytes(b"more weights")
    assert damaged(tmp_path, made.files, MADE) == changed
    (tmp_path / "weights.pt").unlink()
    assert damaged(tmp_path, made.files, MADE) == "weights.pt is missing"
    (tmp_path / "made.json").write_text("{}")
    with pytest.raises(UserError, match=r"made\.json: not a readable list of files"):
        read_made(tmp_path)


def test_a_curve_is_read_back_and_a_torn_one_refused(tmp_path: Path):
    write_curve(tmp_path)
    rows = read_curve(tmp_path)
    assert [row["epoch"] for row in rows] == [0, 1, 2]
    assert rows[2]["validation_accuracy"] == 91
    assert read_curve(tmp_path / "nothing") == []
    path = tmp_path / "curve.csv"
    text = path.read_text()
    for torn in (text[:-15], text.replace("train_loss", "loss"), text.replace("1.1", "nan", 1)):
        path.write_text(torn)
        with pytest.raises(UserError, match=r"curve.csv: not a readable curve"):
            read_curve(tmp_path)


def test_an_interrupted_write_keeps_the_old_file(tmp_path: Path, monkeypatch):
    path = tmp_path / "file.txt"
    atomic_write(path, "old")

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full_disk)
    with pytest.raises(UserError, match=r"file.txt: cannot be written \(No space left on device\)"):
        atomic_write(path, b"new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_unwritable_place_is_one_line(tmp_path: Path):
    (tmp_path / "results").write_text("a file where a folder belongs")
    with pytest.raises(UserError, match="cannot be written"):
        atomic_write(tmp_path / "results" / "record.json", "{}")
    with (
        pytest.raises(UserError, match="make the folder writable"),
        locked(tmp_path / "results" / ".lock"),
    ):
        pytest.fail("there is no such lock")


def test_provenance_names_the_packages_without_importing_them():
    made = Provenance.now("cpu", threads=2, wall_seconds=1.23456)
    assert made.versions["torch"]
    assert made.versions["python"]
    assert (made.device, made.threads, made.wall_seconds) == ("cpu", 2, 1.235)
    assert made.finished.endswith("+00:00")
    assert made.processor.endswith(f", {len(os.sched_getaffinity(0))} cores")


def test_git_state(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_state(tmp_path) == (None, None)
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]

    def git(*words: str) -> None:
        subprocess.run(
            ["git", "-C", str(tmp_path), *identity, *words], check=True, capture_output=True
        )

    package, archived = tmp_path / "package", tmp_path / "results" / "record.json"
    git("init")
    for path in (package / "file", archived):
        path.parent.mkdir()
        path.write_text("1")
    git("add", ".")
    git("commit", "-m", "first")
    commit, dirty = git_state(package)
    assert commit is not None
    assert len(commit) == 40
    assert dirty is False
    foreign = package / ".venv" / "ttfs"  # installed within a repository that is another's
    foreign.mkdir(parents=True)
    (foreign / "file").write_text("1")
    assert git_state(foreign) == (None, None)
    archived.write_text("2")
    assert git_state(package) == (commit, False)
    (package / "file").write_text("2")
    assert git_state(package) == (commit, True)
