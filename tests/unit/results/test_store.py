"""The MLflow store: where it is, several writers at once, and faults in one line."""

import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from kit.records import grid, results
from kit.tracking import history, live, point, publish, runs

from ttfs.errors import UserError
from ttfs.results import tracking
from ttfs.results.tracking import store as stores
from ttfs.stages.publish import publish as publish_of_a_run

pytestmark = pytest.mark.xdist_group("store")  # one import of MLflow


def test_default_store_is_in_the_results_folder(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    assert tracking.tracking_uri() == f"sqlite:///{tmp_path}/results/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://example.org")
    assert tracking.tracking_uri() == "http://example.org"


def test_a_question_mark_ends_the_name_of_a_store(tmp_path, monkeypatch):
    file = tmp_path / "runs.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{file}?timeout=60")
    assert stores.client().search_experiments()
    assert file.stat().st_size > 0
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    (tmp_path / "what?").mkdir()
    monkeypatch.chdir(tmp_path / "what?")
    with pytest.raises(UserError, match=r"takes a file up to its '\?' alone; rename the folder"):
        stores.client()


def test_a_deleted_experiment_comes_back(store, found):
    publish(found)
    client = stores.client()
    client.delete_experiment(stores.experiment_of(client, "tiny"))
    publish(found)
    assert len(runs()) == 6


def broken_not_a_database(file: Path) -> None:
    file.write_text("no database " * 1000)


def broken_half(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


@pytest.mark.parametrize("break_it", [broken_not_a_database, broken_half])
def test_a_damaged_store(store, found, capsys, break_it):
    break_it(store)
    with pytest.raises(UserError) as caught:
        publish(found)
    assert "\n" not in str(caught.value)
    assert str(store) in str(caught.value)
    assert "delete the file and run" in str(caught.value)
    with live() as run:
        for number in range(3):
            run.log(number, point())
    assert capsys.readouterr().err.count("warning") == 1
    store.unlink()
    assert publish(found).written == 6


def test_a_half_made_store_is_to_be_deleted(store, found):
    store.unlink()
    connection = sqlite3.connect(store)
    connection.execute("CREATE TABLE _alembic_tmp_tags (name TEXT)")
    connection.close()
    with pytest.raises(
        UserError, match="_alembic_tmp_tags already exists; delete the file and run"
    ):
        publish(found)


def test_a_locked_store(store, found, capsys, monkeypatch):
    monkeypatch.setattr(stores, "BUSY_SECONDS", 0.1)
    holder = sqlite3.connect(store, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(UserError, match="database is locked; close what holds it"):
        publish(found)
    with live() as run:
        run.log(0, point())
    holder.close()
    assert capsys.readouterr().err.count("\n") == 1
    assert publish(found).written == 6


def test_training_goes_on_where_mlflow_cannot_be_imported(capsys, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "mlflow"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with live() as run:
        for number in range(3):
            run.log(number, point())
    assert capsys.readouterr().err.count("warning") == 1


def test_an_unreachable_server_is_named_without_its_password(found, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(UserError, match="start that server") as caught:
        publish(found)
    assert "secret" not in str(caught.value)
    assert "127.0.0.1:9" in str(caught.value)


def test_a_store_is_told_of_without_its_password(found, capsys, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://me:secret@host/runs")
    monkeypatch.setattr("ttfs.stages.publish.collect", lambda grid: results(found))
    monkeypatch.setattr(tracking, "publish", lambda results: tracking.Published(6, 2, 0, 0))
    publish_of_a_run(grid())
    assert capsys.readouterr().out == "postgresql://host/runs: 6 runs, 2 written\n"


JOB = """
import sys
from ttfs.config import Cell
from ttfs.results import tracking
from ttfs.results.record import CURVE_COLUMNS
cell = Cell("digits", "fc2", "ann", int(sys.argv[1]))
with tracking.LiveRun("tiny", cell, {"epochs": 30}) as live:
    for epoch in range(30):
        row = dict.fromkeys(CURVE_COLUMNS, 1.0)
        live.log(epoch, row | {"validation_accuracy": 90.0 + epoch / 10})
"""


@pytest.mark.parametrize("empty", [False, True], ids=["no file", "an empty file"])
def test_four_first_writers_at_once_lose_nothing(tmp_path, monkeypatch, empty):
    file = tmp_path / "a folder" / "mlflow.db"
    file.parent.mkdir()
    if empty:
        file.touch()
    (file.parent / "mlflow.db.new").write_text("what a kill left of an earlier attempt")
    (file.parent / "mlflow.db.new-journal").write_text("and its journal")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{file}")
    environment = os.environ | {"PYTHONPATH": str(Path(tracking.__file__).parents[3])}
    jobs = [
        subprocess.Popen(
            [sys.executable, "-c", JOB, str(seed)],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for seed in range(4)
    ]
    assert [job.communicate()[1] for job in jobs] == [""] * 4
    assert [job.returncode for job in jobs] == [0] * 4
    found = runs()
    assert len(found) == 4
    for several in found.values():
        (run,) = several
        assert run.info.status == "FINISHED"
        assert history(run, "training/validation_accuracy") == [
            (epoch, 90.0 + epoch / 10) for epoch in range(30)
        ]
        assert len(history(run, "training/train_loss")) == 30


def test_a_path_that_is_too_long_for_sqlite_is_said_at_once(tmp_path, monkeypatch, found):
    file = tmp_path.joinpath(*["a" * 200] * 4, "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{file}")
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    with pytest.raises(UserError, match="its path short") as caught:
        publish(found)
    assert waits == []  # MLflow would try again and again
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("uri", ["sqlite://", "file:///tmp/runs", "/tmp/runs"])
def test_a_uri_that_keeps_no_runs_is_refused(uri, monkeypatch, found):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(UserError, match=f"MLFLOW_TRACKING_URI={uri}: .*sqlite:///<path>"):
        publish(found)
