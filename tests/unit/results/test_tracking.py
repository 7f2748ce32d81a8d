"""The MLflow view: rebuilt from records without duplicates, shared by parallel jobs, never in the way of a training."""

import os
import shutil
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ttfs.config import Cell, Grid
from ttfs.errors import UserError
from ttfs.results import records, tracking
from ttfs.results.records import collect

CELL = Cell("tiny", "digits", "fc2", 0, "ann")


@pytest.fixture(scope="module")
def fresh_store(tmp_path_factory) -> Path:
    """A prepared store, made once: making one takes seconds."""
    file = tmp_path_factory.mktemp("store") / "mlflow.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{file}")
        tracking._client()
    return file


@pytest.fixture
def store(fresh_store, tmp_path, monkeypatch) -> Path:
    file = tmp_path / "mlflow.db"
    shutil.copy(fresh_store, file)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{file}")
    return file


def publish(grid: Grid) -> tracking.Published:
    return tracking.publish(grid.name, collect(grid))


def runs() -> dict[str, list]:
    client = tracking._client()
    return tracking._runs_by_cell(client, tracking._experiment(client, "tiny"))


def history(run, metric: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in tracking._client().get_metric_history(run.info.run_id, metric)]


def test_default_store_is_in_the_results_folder(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    assert tracking.tracking_uri() == f"sqlite:///{tmp_path}/results/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://example.org")
    assert tracking.tracking_uri() == "http://example.org"


def test_publish_writes_each_cell_once(store, tiny_grid):
    assert publish(tiny_grid) == (6, 6, 0)
    assert publish(tiny_grid) == (6, 0, 0)
    found = runs()
    assert {cell: len(several) for cell, several in found.items()} == {str(r.cell): 1 for r in collect(tiny_grid)}
    (ann,) = found[str(CELL)]
    assert ann.info.status == "FINISHED"
    assert ann.info.run_name == "digits/fc2/seed0/ann"
    assert ann.info.end_time - ann.info.start_time == 12_500
    assert ann.data.metrics["accuracy"] == 98.0
    assert history(ann, "validation_accuracy") == [(0, 89.0), (1, 90.0), (2, 91.0)]
    assert ann.data.params["train.optimizer"] == "adam"
    assert ann.data.params["dataset"] == "digits"
    assert ann.data.tags["version.torch"] == "2.15.0"
    (snn,) = found["tiny/digits/fc2/seed0/b1-converted"]
    assert snn.data.metrics["spikes_per_neuron/layers.10"] == 0.2
    (failed,) = found["tiny/digits/fc2/seed2/b1-converted"]
    assert failed.info.status == "FAILED"
    assert "off by 0.1" in failed.data.tags["mlflow.note.content"]


def test_publish_replaces_only_what_changed(store, tiny_grid, make_record):
    publish(tiny_grid)
    before = {cell: several[0].info.run_id for cell, several in runs().items()}
    mended = make_record(seed=2, method="b1-converted")
    records.write(mended, mended.cell.folder)
    curve = tiny_grid.folder / "digits/fc2/seed1/ann/curve.csv"
    curve.write_text(curve.read_text().replace("90.0", "90.5"))
    assert publish(tiny_grid) == (6, 2, 2)
    after = {cell: several[0].info.run_id for cell, several in runs().items()}
    changed = {cell for cell in before if before[cell] != after[cell]}
    assert changed == {"tiny/digits/fc2/seed2/b1-converted", "tiny/digits/fc2/seed1/ann"}


def test_publish_replaces_live_killed_and_stale_runs_and_spares_others(store, tiny_grid):
    with tracking.LiveRun(CELL, {"epochs": 3}) as live:
        live.log(0, {"validation_accuracy": 50.0})
    killed = tracking.LiveRun(CELL, {}).__enter__()
    killed.log(0, {"validation_accuracy": 40.0})
    unfinished = Cell("tiny", "digits", "fc8", 0, "ann")
    tracking.LiveRun(unfinished, {}).__enter__()
    client = tracking._client()
    own = client.create_run(tracking._experiment(client, "tiny"), run_name="by hand").info.run_id

    assert publish(tiny_grid) == (6, 6, 2)
    shutil.rmtree(tiny_grid.folder / "digits/fc2/seed1")
    assert publish(tiny_grid) == (4, 0, 2)

    found = runs()
    assert [len(found[str(record.cell)]) for record in collect(tiny_grid)] == [1] * 4
    assert len(found) == 5
    assert found[str(unfinished)][0].info.status == "RUNNING"
    assert client.get_run(own).info.lifecycle_stage == "active"


def test_publish_goes_on_where_it_was_interrupted(store, tiny_grid, monkeypatch):
    class Killed(BaseException):
        pass

    def stop(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("mlflow.tracking.MlflowClient.set_tag", stop)
        with pytest.raises(Killed):
            publish(tiny_grid)
    assert publish(tiny_grid) == (6, 6, 1)
    assert publish(tiny_grid) == (6, 0, 0)


def test_a_deleted_experiment_comes_back(store, tiny_grid):
    publish(tiny_grid)
    client = tracking._client()
    client.delete_experiment(tracking._experiment(client, "tiny"))
    publish(tiny_grid)
    assert len(runs()) == 6


def test_more_than_one_batch(store):
    with tracking.LiveRun(CELL, {f"key{n}": n for n in range(250)}) as live:
        live.log(0, {f"metric{n}": float(n) for n in range(1200)})
    (run,) = runs()[str(CELL)]
    assert len(run.data.params) == 254
    assert len(run.data.metrics) == 1200


def test_a_live_run_of_a_failed_training_is_failed(store):
    def train() -> None:
        with tracking.LiveRun(CELL, {}) as live:
            live.log(0, {"train_loss": float("nan")})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train()
    (run,) = runs()[str(CELL)]
    assert run.info.status == "FAILED"


def broken_not_a_database(file: Path) -> None:
    file.write_text("no database " * 1000)


def broken_half(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


@pytest.mark.parametrize("break_it", [broken_not_a_database, broken_half])
def test_a_damaged_store(store, tiny_grid, capsys, break_it):
    break_it(store)
    with pytest.raises(UserError) as caught:
        publish(tiny_grid)
    assert "\n" not in str(caught.value)
    assert str(store) in str(caught.value)
    assert "delete the file and run" in str(caught.value)
    with tracking.LiveRun(CELL, {}) as live:
        for epoch in range(3):
            live.log(epoch, {"train_loss": 1.0})
    assert capsys.readouterr().err.count("warning") == 1
    store.unlink()
    assert publish(tiny_grid) == (6, 6, 0)


def test_a_locked_store(store, tiny_grid, capsys, monkeypatch):
    monkeypatch.setattr(tracking, "BUSY_SECONDS", 0.1)
    holder = sqlite3.connect(store, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(UserError, match="database is locked; close what holds it"):
        publish(tiny_grid)
    with tracking.LiveRun(CELL, {}) as live:
        live.log(0, {"train_loss": 1.0})
    holder.close()
    assert capsys.readouterr().err.count("\n") == 1
    assert publish(tiny_grid) == (6, 6, 0)


def test_an_unreachable_server_is_named_without_its_password(tiny_grid, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(UserError, match="start that server") as caught:
        publish(tiny_grid)
    assert "secret" not in str(caught.value)
    assert "127.0.0.1:9" in str(caught.value)


JOB = """
import sys
from ttfs.config import Cell
from ttfs.results import tracking
tracking._client()
with tracking.LiveRun(Cell("tiny", "digits", "fc2", int(sys.argv[1]), "ann"), {"epochs": 30}) as live:
    for epoch in range(30):
        live.log(epoch, {"train_loss": 1.0 / (epoch + 1), "validation_accuracy": 90.0 + epoch / 10})
"""


def test_four_first_writers_at_once_lose_nothing(tmp_path, monkeypatch):
    file = tmp_path / "a folder" / "mlflow.db"
    file.parent.mkdir()
    (file.parent / "mlflow.db.new").write_text("what a kill left of an earlier attempt")
    (file.parent / "mlflow.db.new-journal").write_text("and its journal")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{file}")
    environment = os.environ | {"PYTHONPATH": str(Path(tracking.__file__).parents[2])}
    jobs = [
        subprocess.Popen([sys.executable, "-c", JOB, str(seed)], env=environment, stderr=subprocess.PIPE, text=True)
        for seed in range(4)
    ]
    assert [job.communicate()[1] for job in jobs] == [""] * 4
    assert [job.returncode for job in jobs] == [0] * 4
    found = runs()
    assert len(found) == 4
    for several in found.values():
        (run,) = several
        assert run.info.status == "FINISHED"
        assert history(run, "validation_accuracy") == [(epoch, 90.0 + epoch / 10) for epoch in range(30)]
        assert len(history(run, "train_loss")) == 30


def test_a_network_on_hardware_is_a_run_with_its_levels_as_steps(tiny_grid: Grid, store: Path):
    cells = collect(tiny_grid)
    ideal = next(record for record in cells if record.cell.method == "b1-converted")
    row = {"network": "ttfs", "fine_tuned": True, "draw": 0}
    levels = tuple({**row, "level": level, "accuracy": 90.0 + level} for level in (4, 2))
    config = {"hardware": {"chip": {}, "axis": {"time_bits": [4, 2]}}}
    swept = replace(ideal, metrics={}, layers={}, hardware="clock", levels=levels, config=config)
    assert tracking.publish("tiny", [*cells, swept]).written == len(cells) + 1
    assert tracking.publish("tiny", [*cells, swept]).written == 0
    client = tracking._client()
    experiment = client.get_experiment_by_name("ttfs/tiny").experiment_id
    (run,) = client.search_runs([experiment], filter_string="params.`hardware.id` = 'clock'")
    assert run.info.run_name == f"{ideal.cell.name}/hardware/clock"
    history = client.get_metric_history(run.info.run_id, "accuracy/ttfs-fine-tuned")
    assert sorted((point.step, point.value) for point in history) == [(0, 94.0), (1, 92.0)]
