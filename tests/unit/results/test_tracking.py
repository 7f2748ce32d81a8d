"""The MLflow view: rebuilt from records without duplicates."""

import base64
import json
import os
import re
import sqlite3
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
from kit.records import PROVENANCE, grid, made_up, results, with_values
from kit.tracking import ANN, B1, history, live, means, point, publish, runs

from ttfs.config import STORE, Variant
from ttfs.errors import UserError
from ttfs.results import tracking
from ttfs.results.record import Record
from ttfs.results.tracking import store as stores
from ttfs.results.tracking.tags import CURRENT, PARENT, SUPERSEDED

pytestmark = pytest.mark.xdist_group("store")  # one import of MLflow


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
    assert ann.info.end_time - ann.info.start_time == 1_000_000  # the training, not its evaluation
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


def test_names_that_mlflow_does_not_take_are_translated(store: Path, found: list[Record]):
    """Columns of a table are keys, and layers have the names of an imported network."""
    keys = {"price ($)": 1, "price (€)": 2, "a" * 300: 3, "../up": 4, "größe": 5}
    rows = ({"metric": "spikes_per_neuron", "layer": "../a+b", "value": 0.5},)
    odd = replace(found[0], config={"keys": keys}, rows=found[0].rows + rows)
    assert publish([odd]) == (1, 1, 0, 0)
    assert publish([odd]) == (1, 0, 0, 0)
    (run,) = runs()[ANN]
    names = {name for name in run.data.params if name.startswith("keys.")}
    assert {run.data.params[name] for name in names} == {"1", "2", "3", "4", "5"}
    assert "keys.größe" in names
    assert 0.5 in run.data.metrics.values()
    with live(config={"keys": keys}) as training:
        training.log(1, point())
    assert runs("live")


def test_a_mean_has_the_commit_of_its_seeds(store: Path, found: list[Record]):
    publish(found)
    commits = {run.data.tags.get("mlflow.source.git.commit") for run in means().values()}
    assert commits == {PROVENANCE.git_commit}
    other = {name: replace(part, git_commit="f" * 40) for name, part in found[0].provenance.items()}
    publish([replace(found[0], provenance=other), *found[1:]])
    assert "mlflow.source.git.commit" not in means()["digits/fc2/ann"].data.tags


def test_a_store_that_was_moved_takes_its_files_along(
    store: Path, found: list[Record], monkeypatch: pytest.MonkeyPatch
):
    tables = Path("results/tiny/tables/summary.md")
    tables.parent.mkdir(parents=True)
    file = store
    for moved in ("old", "new's 100 %"):
        place = store.parent / moved
        place.mkdir()
        file = file.rename(place / store.name)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{file}")
        tables.write_text(moved)
        publish(found)
        [written] = place.glob("mlflow-artifacts/tiny/*/artifacts/tables/summary.md")
        assert written.read_text() == moved
        run = runs()[ANN][0]
        assert run.info.artifact_uri.startswith((place / "mlflow-artifacts").as_uri())
    [written] = store.parent.glob("old/mlflow-artifacts/tiny/*/artifacts/tables/summary.md")
    assert written.read_text() == "old"


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


def test_a_run_out_of_date_says_so(store: Path, found: list[Record]):
    name, other, reason = found[0].name, found[-1].name, "its code changed"
    group = name.removesuffix("/seed0")

    def tags() -> dict[str, str]:
        client = stores.client()
        by_cell = stores.runs_by_cell(client, stores.experiment_of(client, "tiny"))
        return {
            cell: by_cell[cell][0].data.tags["ttfs.out_of_date"] for cell in (name, group, other)
        }

    tracking.publish(replace(results(found), stale={name: reason}))
    assert tags() == {name: reason, group: f"{name}: {reason}", other: "no"}
    assert tracking.publish(results(found)).written == 0
    assert set(tags().values()) == {"no"}


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
