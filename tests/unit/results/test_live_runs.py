"""The MLflow run of a training while it lasts, and as the run of its record afterwards."""

import time
from pathlib import Path

import pytest
from kit.records import made_up
from kit.tracking import ANN, history, live, point, publish, runs

from ttfs.config import STORE, Cell
from ttfs.files import locked
from ttfs.results.record import CURVE_COLUMNS, Record, read_curve
from ttfs.results.tracking import store as stores
from ttfs.results.tracking.tags import CURRENT, KILLED, STATE

pytestmark = pytest.mark.xdist_group("store")  # one import of MLflow


@pytest.mark.parametrize("asked", ["true", ""])
def test_a_training_logs_use_of_the_machine_where_it_is_asked_to(store, monkeypatch, found, asked):
    monkeypatch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", asked)
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.05")
    with live() as training:
        for row in read_curve(STORE / ANN):
            epoch = {name: value for name, value in row.items() if name != "epoch"}
            training.log(int(row["epoch"]), epoch)
        time.sleep(1.0 if asked else 0.0)
    publish(found)
    [run] = runs(CURRENT)[ANN]
    names = {name for name in run.data.metrics if name.startswith("system/")}
    assert ("system/cpu_utilization_percentage" in names) == bool(asked)
    assert bool(names) == bool(asked)
    assert publish(found).written == 0


def test_the_live_run_of_a_training_becomes_the_run_of_its_record(store: Path, found: list[Record]):
    rows = read_curve(STORE / ANN)
    with live(config=found[0].config) as run:
        for row in rows:
            run.log(int(row["epoch"]), {name: row[name] for name in CURVE_COLUMNS})
    (before,) = runs()[ANN]
    assert publish(found) == (6, 6, 0, 0)
    (after,) = runs()[ANN]
    assert after.info.run_id == before.info.run_id
    assert after.info.end_time == before.info.end_time
    assert (after.data.tags[STATE], after.data.metrics["accuracy"]) == (CURRENT, 98.0)
    assert history(after, "training/validation_accuracy") == [(0, 89.0), (1, 90.0), (2, 91.0)]
    assert publish(found) == (6, 0, 0, 0)


def test_a_failed_training_of_other_parameters_stays_apart(store: Path, found: list[Record]):
    with pytest.raises(ZeroDivisionError), live(config={"method": {"train": {"epochs": 4}}}):
        raise ZeroDivisionError
    failed = made_up(error="make: it diverged")
    assert publish([failed]) == (1, 1, 0, 0)
    (run,) = runs(CURRENT)[ANN]
    assert run.data.params["method.train.epochs"] == "3"
    assert publish([failed]) == (1, 0, 0, 0)


def test_the_live_run_of_a_failed_training_becomes_that_of_its_record(
    store: Path, found: list[Record]
):
    failed = made_up(error="make: it diverged")
    with pytest.raises(ZeroDivisionError), live(config=failed.config):
        raise ZeroDivisionError
    ((before,),) = runs().values()
    publish([failed])
    ((after,),) = runs().values()
    assert after.info.run_id == before.info.run_id


def test_killed_trainings_are_marked_so_and_strangers_spared(store: Path, found: list[Record]):
    live().__enter__().log(0, point())
    live().__enter__().log(0, point())  # the second start of a cell marks the first
    assert [run.info.status for run in runs()[ANN]].count("KILLED") == 1
    trained, dead = Cell("digits", "fc8", "ann", 0), Cell("digits", "fc8", "ann", 1)
    live(trained).__enter__()
    live(dead).__enter__()
    client = stores.client()
    own = client.create_run(stores.experiment_of(client, "tiny"), run_name="by hand").info.run_id
    with locked(trained.folder / ".lock"):
        assert publish(found) == (6, 6, 0, 2)
    assert {cell: len(several) for cell, several in runs(KILLED).items()} == {ANN: 2, dead.name: 1}
    assert runs()[trained.name][0].info.status == "RUNNING"
    assert client.get_run(own).info.lifecycle_stage == "active"
    assert publish(found[:4]) == (4, 0, 2, 1)  # two records are gone, and the other training is


def test_more_than_one_batch(store):
    with live(config={f"key{n}": n for n in range(250)}) as run:
        run.log(0, point(**{f"metric{n}": float(n) for n in range(1200)}))
    (run,) = runs()[ANN]
    assert len(run.data.params) == 254
    assert len(run.data.metrics) == 1205


def test_a_live_run_of_a_failed_training_is_failed(store):
    def train() -> None:
        with live() as run:
            run.log(0, point(train_loss=float("nan")))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train()
    (run,) = runs()[ANN]
    assert run.info.status == "FAILED"
