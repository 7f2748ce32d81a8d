"""The MLflow view: rebuilt from records without duplicates, shared by parallel jobs, never in the
way of a training.
"""

import base64
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import time
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
from kit.records import PROVENANCE, grid, made_up, records, results, with_values, write_curve

from ttfs.config import STORE, Cell, Variant
from ttfs.errors import UserError
from ttfs.files import locked
from ttfs.results import tracking
from ttfs.results.record import CURVE_COLUMNS, Record, read_curve
from ttfs.results.tracking import store as stores
from ttfs.results.tracking.tags import CURRENT, KILLED, PARENT, STATE, SUPERSEDED

CELL = Cell("digits", "fc2", "ann", 0)
ANN, B1 = CELL.name, "digits/fc2/b1-converted/seed{}"
pytestmark = pytest.mark.xdist_group("store")  # one import of MLflow


@pytest.fixture(scope="module")
def fresh_store(tmp_path_factory) -> Path:
    """A prepared store, made once: making one takes seconds."""
    file = tmp_path_factory.mktemp("store") / "mlflow.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{file}")
        stores.client()
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


def point(**values: float) -> dict[str, float]:
    return dict.fromkeys(CURVE_COLUMNS, 1.0) | values


def runs(*states: str) -> dict[str, list]:
    """The runs of cells, of some states if any is named; no means, and not the grid's run."""
    client = stores.client()
    found = stores.runs_by_cell(client, stores.experiment_of(client, "tiny"))
    kept = {
        cell: [run for run in several if not states or run.data.tags[STATE] in states]
        for cell, several in found.items()
        if "seed" in cell
    }
    return {cell: several for cell, several in kept.items() if several}


def means() -> dict[str, object]:
    client = stores.client()
    found = stores.runs_by_cell(client, stores.experiment_of(client, "tiny"))
    return {cell: run for cell, (run, *_) in found.items() if "seed" not in cell}


def history(run, metric: str) -> list[tuple[int, float]]:
    return [
        (point.step, point.value)
        for point in stores.client().get_metric_history(run.info.run_id, metric)
    ]


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


def test_default_store_is_in_the_results_folder(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    assert tracking.tracking_uri() == f"sqlite:///{tmp_path}/results/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://example.org")
    assert tracking.tracking_uri() == "http://example.org"


def test_publish_writes_each_cell_once(store: Path, found: list[Record]):
    assert publish(found) == (6, 6, 0, 0)
    assert publish(found) == (6, 0, 0, 0)
    written = runs()
    assert {cell: len(several) for cell, several in written.items()} == {
        one.name: 1 for one in found
    }
    (ann,) = written[ANN]
    assert ann.info.status == "FINISHED"
    assert ann.info.run_name == "ann · fc2 · digits · seed 0"
    assert ann.info.end_time - ann.info.start_time == 12_500  # the training, not its evaluation
    assert ann.data.metrics["accuracy"] == 98.0
    assert ann.data.metrics["accuracy/class-1"] == 96.0
    assert not any("confusion" in name for name in ann.data.metrics)
    assert history(ann, "training/validation_accuracy") == [(0, 89.0), (1, 90.0), (2, 91.0)]
    assert ann.data.params["method.train.optimizer"] == "adam"
    assert ann.data.params["dataset"] == "digits"
    assert ann.data.tags["version.torch"] == "2.15.0"
    assert "ttfs reproduce tiny.yaml digits/fc2/ann/seed0" in ann.data.tags["mlflow.note.content"]
    (data,) = ann.inputs.dataset_inputs
    assert (data.dataset.name, data.dataset.digest) == ("digits", "d1")
    (snn,) = written[B1.format(0)]
    assert snn.data.metrics["spikes_per_neuron/layers.10"] == 0.2
    (failed,) = written[B1.format(2)]
    assert failed.info.status == "FAILED"
    assert "off by 0.1" in failed.data.tags["mlflow.note.content"]


def test_the_time_of_a_run_is_that_of_its_training(store: Path, found: list[Record]):
    stages = {"evaluate": PROVENANCE, "make": replace(PROVENANCE, wall_seconds=300.0)}
    publish([replace(found[0], provenance=stages)])
    (run,) = runs()[ANN]
    assert run.info.end_time - run.info.start_time == 300_000


def test_the_views_of_a_grid_have_links(store: Path, found: list[Record]):
    with pytest.raises(UserError, match=r"grid tiny: no runs in sqlite:.*ttfs publish"):
        tracking.view_links("tiny")
    publish(found)
    (first, link), *others = tracking.view_links("tiny")
    assert first == "All results, seeds below their mean"
    assert re.fullmatch(
        r"#/experiments/\d+/runs\?workflowType=machine_learning&viewStateShareKey=results", link
    )
    assert [name for name, _ in others] == [
        "Best accuracy under a spike budget",
        "fc2 on digits, across methods",
    ]


def test_a_grid_that_only_trains_has_no_views_yet(store: Path, found: list[Record]):
    with live(), pytest.raises(UserError, match=r"grid tiny: no runs in .*ttfs publish"):
        tracking.view_links("tiny")


def test_views_of_what_the_grid_has_no_more_go_and_those_of_users_stay(
    store: Path, found: list[Record]
):
    publish([*found, on_chip()])
    client = stores.client()
    place = stores.experiment_of(client, "tiny")
    own = json.dumps({"name": "my view", "createdAt": 1, "updatedAt": 1, "state": "deflate;"})
    client.set_experiment_tag(place, "mlflow.sharedViewState.5f3e", own)
    client.set_experiment_tag(place, "mlflow.sharedViewState.77aa", "deflate;eNqrVgoo")
    assert "On hardware" in dict(tracking.view_links("tiny"))
    publish(found)
    assert {*dict(tracking.view_links("tiny"))} == {
        "All results, seeds below their mean", "Best accuracy under a spike budget",
        "fc2 on digits, across methods", "my view",
    }  # fmt: skip
    assert "mlflow.sharedViewState.77aa" in client.get_experiment(place).tags


def test_a_point_of_an_axis_has_a_view_too(store: Path, found: list[Record]):
    """Its id holds signs that MLflow refuses in names."""
    names = ("digits+augment=none+epochs=1", "digits+source=a~b")
    point = grid().datasets["digits"].config
    varied = replace(grid(), datasets={name: Variant(name, point) for name in names})
    tracking.publish(results([made_up(dataset=name) for name in names], varied))
    (_, _, *others) = tracking.view_links("tiny")
    assert sorted(name for name, _ in others) == [f"fc2 on {n}, across methods" for n in names]
    assert len({link for _, link in others}) == 2


def test_a_mean_over_seeds_is_the_parent_of_its_seeds(store: Path, found: list[Record]):
    publish(found)
    ann, b1 = means()["digits/fc2/ann"], means()["digits/fc2/b1-converted"]
    assert ann.info.run_name == "ann · fc2 · digits"
    assert (ann.data.metrics["accuracy"], ann.data.metrics["accuracy_std"]) == (97.0, 1.0)
    assert (ann.data.metrics["n"], b1.data.metrics["n"]) == (3.0, 2.0)
    assert b1.data.metrics["logit_difference"] == 2e-6  # the largest, as in the tables
    assert (ann.info.status, b1.info.status) == ("FINISHED", "FAILED")
    assert "seed" not in ann.data.params
    for name, (run,) in runs().items():
        parent = ann if "/ann/" in name else b1
        assert run.data.tags[PARENT] == parent.info.run_id


def test_a_run_that_was_replaced_stays_beside_its_successor(store: Path, found: list[Record]):
    publish(found)
    before = {cell: several[0].info.run_id for cell, several in runs().items()}
    better = with_values(found[0], accuracy=99.0)
    assert publish([better, *found[1:]]) == (6, 1, 1, 0)
    assert {cell for cell, (run,) in runs(CURRENT).items() if before[cell] != run.info.run_id} == {
        ANN
    }
    ((old,),) = runs(SUPERSEDED).values()
    assert (old.info.run_id, old.data.metrics["accuracy"]) == (before[ANN], 98.0)
    assert old.data.tags[PARENT] == means()["digits/fc2/ann"].info.run_id
    assert means()["digits/fc2/ann"].data.metrics["accuracy"] == pytest.approx(292 / 3)
    assert publish([better, *found[1:]]) == (6, 0, 0, 0)

    assert publish(found) == (6, 0, 1, 0)  # the record of before comes back, and so does its run
    assert runs(CURRENT)[ANN][0].info.run_id == before[ANN]


def test_a_changed_curve_is_written_anew(store: Path, found: list[Record]):
    publish(found)
    curve = STORE / made_up(seed=1).name / "curve.csv"
    curve.write_text(curve.read_text().replace("90,1.1,91", "90,1.1,92"))
    assert publish(found) == (6, 1, 0, 0)
    assert history(runs()["digits/fc2/ann/seed1"][0], "training/validation_accuracy")[-1][1] == 92


def test_a_store_that_lost_metrics_or_params_gets_them_back(store: Path, found: list[Record]):
    publish(found)
    with sqlite3.connect(store) as connection:
        connection.execute("DELETE FROM latest_metrics WHERE key = 'accuracy'")
    assert publish(found).written == 5  # all that succeeded
    with sqlite3.connect(store) as connection:
        connection.execute("DELETE FROM params WHERE key = 'method.train.optimizer'")
    assert publish(found).written == 6
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


def test_three_publishes_at_once_write_each_run_once(store: Path, found: list[Record]):
    program = (
        "from kit.records import records, results; from ttfs.results import tracking;"
        "print(tracking.publish(results(records())).written)"
    )
    paths = [str(Path(__file__).parents[2]), str(Path(tracking.__file__).parents[3])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    jobs = [
        subprocess.Popen([sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE)
        for _ in range(3)
    ]
    assert sorted(int(job.communicate()[0]) for job in jobs) == [0, 0, 6]
    assert {cell: len(several) for cell, several in runs().items()} == {
        one.name: 1 for one in found
    }


def test_saved_views_show_the_numbers_of_current_runs(store: Path, found: list[Record]):
    chip = on_chip()
    publish([*found, chip])
    client = stores.client()
    experiment = stores.experiment_of(client, "tiny")
    shown = {}
    for name, value in client.get_experiment(experiment).tags.items():
        if name.startswith("mlflow.sharedViewState."):
            content = json.loads(value)
            packed = content["state"].removeprefix("deflate;")
            state = json.loads(zlib.decompress(base64.b64decode(packed)))
            runs = client.search_runs([experiment], state["searchFilter"])
            shown[name.rpartition(".")[2]] = {run.info.run_name for run in runs}
            assert {"attributes.`Source`", "attributes.`Version`"} <= set(state["selectedColumns"])
    ann, b1 = "ann · fc2 · digits", "b1-converted · fc2 · digits"
    seeds = {f"{name} · seed {seed}" for name in (ann, b1) for seed in range(3)}
    assert shown == {
        "results": {ann, b1, *seeds},
        "best": {b1},
        "digits-fc2": {ann, b1},
        "hardware": {"b1-converted on jitter=0.1 · fc2 · digits"},
    }
    tags = client.get_experiment(experiment).tags
    assert tags["mlflow.experimentKind"] == "custom_model_development"
    assert "ttfs run tiny.yaml" in tags["mlflow.note.content"]


def test_tables_and_figures_are_artifacts_of_one_run(store: Path, found: list[Record]):
    tables = grid().folder / "tables"
    tables.mkdir(parents=True)
    (tables / "summary.md").write_text("a table")
    publish(found)
    client = stores.client()
    run = means()["grid/tiny"]
    assert [file.path for file in client.list_artifacts(run.info.run_id, "tables")] == [
        "tables/summary.md"
    ]
    publish(found)
    assert means()["grid/tiny"].info.run_id == run.info.run_id
    (tables / "summary.md").write_text("another table")
    publish(found)
    assert means()["grid/tiny"].info.run_id != run.info.run_id


@pytest.mark.parametrize("step", ["log_batch", "log_inputs", "set_terminated"])
def test_publish_goes_on_where_it_was_interrupted(
    store: Path, found: list[Record], monkeypatch, step: str
):
    class Killed(BaseException):
        pass

    def stop(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(f"mlflow.tracking.MlflowClient.{step}", stop)
        with pytest.raises(Killed):
            publish(found)
    assert publish(found).written == 6
    assert publish(found).written == 0
    assert [len(several) for several in runs().values()] == [1] * 6


def test_a_deleted_experiment_comes_back(store, found):
    publish(found)
    client = stores.client()
    client.delete_experiment(stores.experiment_of(client, "tiny"))
    publish(found)
    assert len(runs()) == 6


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
from ttfs.results.record import CURVE_COLUMNS
cell = Cell("digits", "fc2", "ann", int(sys.argv[1]))
with tracking.LiveRun("tiny", cell, {"epochs": 30}) as live:
    for epoch in range(30):
        row = dict.fromkeys(CURVE_COLUMNS, 1.0)
        live.log(epoch, row | {"validation_accuracy": 90.0 + epoch / 10})
"""


def test_four_first_writers_at_once_lose_nothing(tmp_path, monkeypatch):
    file = tmp_path / "a folder" / "mlflow.db"
    file.parent.mkdir()
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


def on_chip() -> Record:
    base = made_up("b1-converted", hardware="jitter=0.1")
    rows = tuple(
        {"metric": "accuracy", "value": 90.0 + draw, "network": "ttfs", "draw": draw}
        for draw in range(3)
    )
    return Record(
        base.ids, base.provenance, rows, None, {"hardware": {"jitter": 0.1}}, base.digests
    )


def test_a_network_on_hardware_is_a_run_with_means_over_draws(store: Path, found: list[Record]):
    assert publish([*found, on_chip()]) == (7, 7, 0, 0)
    assert publish([*found, on_chip()]) == (7, 0, 0, 0)
    (run,) = runs()[f"{B1.format(0)}/hardware/jitter=0.1"]
    assert run.data.metrics == {"accuracy/ttfs": 91.0}
    assert run.data.params["hardware"] == "jitter=0.1"
    assert run.data.params["hardware.jitter"] == "0.1"
    mean = means()["digits/fc2/b1-converted/hardware/jitter=0.1"]
    assert run.data.tags[PARENT] == mean.info.run_id
    assert mean.data.tags[PARENT] == means()["digits/fc2/b1-converted"].info.run_id
    assert mean.info.run_name == "b1-converted on jitter=0.1 · fc2 · digits"


def test_a_path_that_is_too_long_for_sqlite_is_said_at_once(tmp_path, monkeypatch, found):
    file = tmp_path.joinpath(*["a" * 200] * 4, "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{file}")
    started = time.monotonic()
    with pytest.raises(UserError, match="its path short") as caught:
        publish(found)
    assert time.monotonic() - started < 10
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("uri", ["sqlite://", "file:///tmp/runs", "/tmp/runs"])
def test_a_uri_that_keeps_no_runs_is_refused(uri, monkeypatch, found):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(UserError, match=f"MLFLOW_TRACKING_URI={uri}: .*sqlite:///<path>"):
        publish(found)
