"""The MLflow view: rebuilt from records without duplicates, shared by parallel jobs, never in the
way of a training.
"""

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from kit.records import made_up, records, results, write_curve

from ttfs.config import STORE, Cell
from ttfs.errors import UserError
from ttfs.results import tracking
from ttfs.results.record import Record

CELL = Cell("digits", "fc2", "ann", 0)
ANN, B1 = CELL.name, "digits/fc2/b1-converted/seed{}"
pytestmark = pytest.mark.xdist_group("store")  # one import of MLflow


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


@pytest.fixture
def found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Record]:
    """Records of a grid, with curves of its ReLU networks in the working directory."""
    monkeypatch.chdir(tmp_path)
    for seed in range(3):
        write_curve(STORE / made_up(seed=seed).name)
    return records()


def publish(found: list[Record]) -> tracking.Published:
    return tracking.publish(results(found))


def live(cell: Cell = CELL, config: dict | None = None) -> tracking.LiveRun:
    return tracking.LiveRun("tiny", cell, config or {})


def runs() -> dict[str, list]:
    client = tracking._client()
    return tracking._runs_by_cell(client, tracking._experiment(client, "tiny"))


def history(run, metric: str) -> list[tuple[int, float]]:
    return [
        (point.step, point.value)
        for point in tracking._client().get_metric_history(run.info.run_id, metric)
    ]


def test_default_store_is_in_the_results_folder(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    assert tracking.tracking_uri() == f"sqlite:///{tmp_path}/results/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://example.org")
    assert tracking.tracking_uri() == "http://example.org"


def test_publish_writes_each_cell_once(store: Path, found: list[Record]):
    assert publish(found) == (6, 6, 0)
    assert publish(found) == (6, 0, 0)
    written = runs()
    assert {cell: len(several) for cell, several in written.items()} == {
        one.name: 1 for one in found
    }
    (ann,) = written[ANN]
    assert ann.info.status == "FINISHED"
    assert ann.info.run_name == ANN
    assert ann.info.end_time - ann.info.start_time == 25_000  # two stages of 12.5 s
    assert ann.data.metrics["accuracy"] == 98.0
    assert ann.data.metrics["accuracy/class-1"] == 96.0
    assert not any("confusion" in name for name in ann.data.metrics)
    assert history(ann, "validation_accuracy") == [(0, 89.0), (1, 90.0), (2, 91.0)]
    assert ann.data.params["method.train.optimizer"] == "adam"
    assert ann.data.params["dataset"] == "digits"
    assert ann.data.tags["version.torch"] == "2.15.0"
    (snn,) = written[B1.format(0)]
    assert snn.data.metrics["spikes_per_neuron/layers.10"] == 0.2
    (failed,) = written[B1.format(2)]
    assert failed.info.status == "FAILED"
    assert "off by 0.1" in failed.data.tags["mlflow.note.content"]


def test_publish_replaces_only_what_changed(store: Path, found: list[Record]):
    publish(found)
    before = {cell: several[0].info.run_id for cell, several in runs().items()}
    curve = STORE / made_up(seed=1).name / "curve.csv"
    curve.write_text(curve.read_text().replace("90,1.1,91", "90,1.1,92"))
    assert publish([*found[:-1], made_up("b1-converted", seed=2)]) == (6, 2, 2)
    after = {cell: several[0].info.run_id for cell, several in runs().items()}
    assert {cell for cell in before if before[cell] != after[cell]} == {
        B1.format(2),
        "digits/fc2/ann/seed1",
    }


def test_publish_replaces_live_killed_and_stale_runs_and_spares_others(
    store: Path, found: list[Record]
):
    with live() as run:
        run.log(0, {"validation_accuracy": 50.0})
    killed = live().__enter__()
    killed.log(0, {"validation_accuracy": 40.0})
    unfinished = Cell("digits", "fc8", "ann", 0)
    live(unfinished).__enter__()
    client = tracking._client()
    own = client.create_run(tracking._experiment(client, "tiny"), run_name="by hand").info.run_id

    assert publish(found) == (6, 6, 2)
    left = [one for one in found if one.ids["seed"] != 1]
    assert publish(left) == (4, 0, 2)

    after = runs()
    assert [len(after[one.name]) for one in left] == [1] * 4
    assert len(after) == 5
    assert after[unfinished.name][0].info.status == "RUNNING"
    assert client.get_run(own).info.lifecycle_stage == "active"


def test_publish_goes_on_where_it_was_interrupted(store: Path, found: list[Record], monkeypatch):
    class Killed(BaseException):
        pass

    def stop(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("mlflow.tracking.MlflowClient.set_tag", stop)
        with pytest.raises(Killed):
            publish(found)
    assert publish(found) == (6, 6, 1)
    assert publish(found) == (6, 0, 0)


def test_a_deleted_experiment_comes_back(store, found):
    publish(found)
    client = tracking._client()
    client.delete_experiment(tracking._experiment(client, "tiny"))
    publish(found)
    assert len(runs()) == 6


def test_more_than_one_batch(store):
    with live(config={f"key{n}": n for n in range(250)}) as run:
        run.log(0, {f"metric{n}": float(n) for n in range(1200)})
    (run,) = runs()[ANN]
    assert len(run.data.params) == 254
    assert len(run.data.metrics) == 1200


def test_a_live_run_of_a_failed_training_is_failed(store):
    def train() -> None:
        with live() as run:
            run.log(0, {"train_loss": float("nan")})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train()
    (run,) = runs()[ANN]
    assert run.info.status == "FAILED"


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
        for epoch in range(3):
            run.log(epoch, {"train_loss": 1.0})
    assert capsys.readouterr().err.count("warning") == 1
    store.unlink()
    assert publish(found) == (6, 6, 0)


def test_a_locked_store(store, found, capsys, monkeypatch):
    monkeypatch.setattr(tracking, "BUSY_SECONDS", 0.1)
    holder = sqlite3.connect(store, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(UserError, match="database is locked; close what holds it"):
        publish(found)
    with live() as run:
        run.log(0, {"train_loss": 1.0})
    holder.close()
    assert capsys.readouterr().err.count("\n") == 1
    assert publish(found) == (6, 6, 0)


def test_an_unreachable_server_is_named_without_its_password(found, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(UserError, match="start that server") as caught:
        publish(found)
    assert "secret" not in str(caught.value)
    assert "127.0.0.1:9" in str(caught.value)


JOB = """
import sys
from ttfs.config import Cell
from ttfs.results import tracking
tracking._client()
cell = Cell("digits", "fc2", "ann", int(sys.argv[1]))
with tracking.LiveRun("tiny", cell, {"epochs": 30}) as live:
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
        assert history(run, "validation_accuracy") == [
            (epoch, 90.0 + epoch / 10) for epoch in range(30)
        ]
        assert len(history(run, "train_loss")) == 30


def test_a_network_on_hardware_is_a_run_with_means_over_draws(store: Path, found: list[Record]):
    base = made_up("b1-converted", hardware="jitter=0.1")
    rows = tuple(
        {"metric": "accuracy", "value": 90.0 + draw, "network": "ttfs", "draw": draw}
        for draw in range(3)
    )
    chip = Record(
        base.ids, base.provenance, rows, None, {"hardware": {"jitter": 0.1}}, base.digests
    )
    assert publish([*found, chip]) == (7, 7, 0)
    assert publish([*found, chip]) == (7, 0, 0)
    (run,) = runs()[f"{B1.format(0)}/hardware/jitter=0.1"]
    assert run.data.metrics == {"accuracy/ttfs": 91.0}
    assert run.data.params["hardware"] == "jitter=0.1"
    assert run.data.params["hardware.jitter"] == "0.1"
