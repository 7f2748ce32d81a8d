"""The stages of cells: what they measure, what they leave behind, and with which status they
end.
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from kit.stages import (
    CELL,
    GRID,
    cell,
    due,
    edit,
    grid,
    record,
    run_due,
    run_stages,
    weights,
    write_data,
)

import ttfs
from ttfs.errors import UserError
from ttfs.methods import Job, kind
from ttfs.metrics import METRICS
from ttfs.results.record import read, read_made
from ttfs.stages import cells

pytestmark = pytest.mark.xdist_group("training")  # one import of Lightning

METHODS = ("ann", "b1-converted", "b1-finetuned", "alpha1-converted")
PLAIN = {"accuracy", "balanced_accuracy", "macro_f1", "parameters"}
TRAINED = {"best_validation_accuracy", "best_epoch"}
SPIKING = {
    "agreement", "logit_difference", "spikes_per_neuron", "latency", "synaptic_operations",
    "energy", "ann_energy",
    "spike_time_error", "early_fire_rate", "first_spike_latency",
}  # fmt: skip
ANN, B1 = CELL.format("ann"), CELL.format("b1-converted")


def test_records_hold_what_their_stages_measure(at: Path):
    expected = {
        "ann": PLAIN | TRAINED,
        "b1-converted": PLAIN | SPIKING,
        "b1-finetuned": PLAIN | TRAINED | SPIKING,
        "alpha1-converted": PLAIN | SPIKING | {"stalled_neurons"},
    }
    for method, metrics in expected.items():
        found = record(method)
        assert set(found.metrics) == metrics <= set(METRICS), method
        classes = [
            row["value"] for row in found.rows if row["metric"] == "accuracy" and "class" in row
        ]
        assert len(classes) == 3
        assert found.metrics["accuracy"] == pytest.approx(
            sum(classes) / 3
        )  # as many items of each class
        assert sum(row["value"] for row in found.rows if row["metric"] == "confusion") == 30
        assert set(found.provenance) == {"make", "evaluate"}
        assert found.config == json.loads(json.dumps(found.config))


def test_layers_are_rows_with_a_dimension(at: Path):
    found = record("b1-converted")
    layers = [row["layer"] for row in found.rows if row["metric"] == "neurons"]
    assert len(layers) == 2
    neurons = {name: found.value("neurons", layer=name) for name in layers}
    assert sorted(neurons.values()) == [6, 4 * 4 * 4]
    spikes = {name: found.value("spikes_per_neuron", layer=name) for name in layers}
    mean = sum(neurons[name] * spikes[name] for name in layers) / sum(neurons.values())
    assert found.metrics["spikes_per_neuron"] == pytest.approx(mean)
    assert found.value("t_max", layer=layers[0]) == found.value("t_min", layer=layers[1])
    assert found.metrics["latency"] == found.value("t_max", layer=layers[1])


def test_a_ttfs_network_answers_as_its_reference(at: Path):
    ann = record("ann").metrics
    assert ann["accuracy"] > 60
    for method in METHODS[1:]:
        metrics = record(method).metrics
        assert metrics["agreement"] == 100.0, method
        assert metrics["logit_difference"] <= (0.0 if method.startswith("b1") else 1e-4)
        assert metrics["spike_time_error"] <= 1e-9
    for method in ("b1-converted", "alpha1-converted"):
        assert record(method).metrics["accuracy"] == ann["accuracy"]
        assert record(method).metrics["parameters"] == ann["parameters"]
    assert 0 < record("b1-converted").metrics["spikes_per_neuron"] < 1
    alpha1 = record("alpha1-converted").metrics
    assert (alpha1["spikes_per_neuron"], alpha1["stalled_neurons"]) == (1.0, 0.0)
    assert alpha1["synaptic_operations"] > record("b1-converted").metrics["synaptic_operations"]


def test_fine_tuning_starts_where_its_source_ended(at: Path):
    source, tuned = weights("b1-converted"), weights("b1-finetuned")
    moved = max((tuned[name] - value).abs().max().item() for name, value in source.items())
    assert 0 < moved < 2 * 5e-5 * 6 * 3  # six steps an epoch, of about the learning rate each
    assert len((cell("b1-finetuned") / "curve.csv").read_text().splitlines()) == 1 + 3
    assert (
        read_made(cell("b1-finetuned")).source
        == read_made(cell("b1-converted")).files["weights.pt"]["sha256"]
    )


def test_b1_from_scratch_is_the_relu_network_to_the_last_byte_of_the_curve(little: Path):
    edit(GRID, "[ann, b1-converted", "[ann, b1-scratch, b1-converted")
    text = Path("configs/methods/ann.yaml").read_text().replace("kind: relu", "kind: b1")
    Path("configs/methods/b1-scratch.yaml").write_text(text)
    assert run_stages(
        [f"{stage} {CELL.format('b1-scratch')}" for stage in ("make", "evaluate")]
    ) == dict.fromkeys(
        [f"make {CELL.format('b1-scratch')}", f"evaluate {CELL.format('b1-scratch')}"], 0
    )
    assert (cell("b1-scratch") / "curve.csv").read_bytes() == (
        cell("ann") / "curve.csv"
    ).read_bytes()
    for trained, twin in zip(weights("ann").values(), weights("b1-scratch").values(), strict=True):
        assert torch.equal(trained, twin)
    assert record("b1-scratch").metrics["accuracy"] == record("ann").metrics["accuracy"]


def test_the_same_stages_give_the_same_bytes(little: Path):
    names = [
        cell("ann") / "weights.pt",
        cell("ann") / "curve.csv",
        cell("b1-converted") / "weights.pt",
    ]
    names += [cell("b1-converted", "jitter=0.1+tuning.epochs=1") / "weights.pt"]
    before = [path.read_bytes() for path in names]
    rows = [record(method).rows for method in METHODS]
    shutil.rmtree("results")
    torch.rand(5)  # what was drawn before does not matter
    assert set(run_due().values()) == {0}
    assert [path.read_bytes() for path in names] == before
    assert [record(method).rows for method in METHODS] == rows


def test_a_curve_goes_with_the_training_that_wrote_it(little: Path):
    """The method has a training no more, and so no curve."""
    assert (cell("b1-finetuned") / "curve.csv").exists()
    Path("configs/methods/b1-finetuned.yaml").write_text("title: B1\nkind: b1\nsource: ann\n")
    words = [f"{stage} {CELL.format('b1-finetuned')}" for stage in ("make", "evaluate")]
    assert set(run_stages(words).values()) == {0}
    assert not (cell("b1-finetuned") / "curve.csv").exists()


def test_a_study_leaves_its_table_and_a_summary(at: Path):
    folder = Path("results/cells/studies/short")
    found = read(folder / "record.json", "studies/short")
    lines = (folder / "table.csv").read_text().splitlines()
    assert lines[0].startswith("model,optimizer,dtype,network,step")
    assert len(lines) == 1 + 4 * 3  # four networks, two steps and the end
    assert found.rows
    assert {row["metric"] for row in found.rows} <= set(METRICS)


def test_a_network_is_loaded_in_one_line(at: Path, monkeypatch: pytest.MonkeyPatch):
    for method in METHODS:
        run = ttfs.load(cell(method))
        right = sum(
            int((run.network(items).argmax(1) == labels).sum())
            for items, labels in run.data.test.batches(7)
        )
        assert 100.0 * right / 30 == run.record.metrics["accuracy"]
    chip = ttfs.load(cell("b1-converted", "weight_bits=4"))
    right = sum(
        int((chip.network(items).argmax(1) == labels).sum())
        for items, labels in chip.data.test.batches(7)
    )
    assert 100.0 * right / 30 == pytest.approx(
        chip.record.value("accuracy", network="ttfs", draw=0)
    )
    monkeypatch.setenv("TTFS_DATA", str(at / "data"))
    monkeypatch.chdir(cell("b1-converted", "weight_bits=4"))
    assert ttfs.load(".").record == chip.record
    monkeypatch.chdir(at)
    with pytest.raises(UserError, match=r"holds no record\.json; name the folder of a cell"):
        ttfs.load("results/cells")
    kept = at / "kept/seed0"
    kept.mkdir(parents=True)
    shutil.copy(cell("ann") / "record.json", kept)
    with pytest.raises(UserError, match=r"holds no network beside its record.*ttfs reproduce"):
        ttfs.load(kept)
    with pytest.raises(UserError, match="is a study; it has a table, and no network"):
        ttfs.load("results/cells/studies/short")


def test_a_network_whose_files_were_changed_is_not_loaded(little: Path):
    with (cell("ann") / "weights.pt").open("ab") as file:
        file.write(b" ")
    with pytest.raises(
        UserError, match=r"weights\.pt was changed since it was made; run the workflow again"
    ):
        ttfs.load(cell("ann"))


def test_a_network_is_built_the_same_each_time(little: Path, monkeypatch):
    """Also what is no state of it, such as an order of its inputs."""
    monkeypatch.setattr("ttfs.models.build", lambda *_: torch.randperm(99))
    ann = grid().find(CELL.format("ann"))
    job = Job("make", grid(), ann)
    before = torch.get_rng_state()
    orders = [job.build(), job.build()]
    assert torch.equal(*orders)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(Job("make", grid(), replace(ann, seed=1)).build(), orders[0])


def test_a_record_of_another_network_is_not_loaded(little: Path):
    ttfs.load(cell("ann"))
    edit("configs/methods/ann.yaml", "2.0e-2", "3.0e-2")
    make = f"make {CELL.format('ann')}"
    assert run_stages([make]) == {make: 0}
    with pytest.raises(UserError, match="its record is of another network; run the workflow again"):
        ttfs.load(cell("ann"))


def test_a_death_costs_no_result(little: Path):
    name = CELL.format("ann")
    cells.record_death("evaluate", Path(GRID), name, "its process was ended by SIGTERM")
    assert (cell("ann") / "record.json").exists()
    edit("configs/methods/ann.yaml", "2.0e-2", "3.0e-2")
    cells.record_death("make", Path(GRID), name, "its process was ended by SIGTERM")
    assert "SIGTERM" in str(read(cell("ann") / "failure.json").error)


def test_what_a_training_leaves_is_removed_and_costs_no_result(little: Path):
    stuck, torn = cell("ann") / "training-x.ckpt", cell("ann") / ".training-y.ckpt.7.tmp"
    stuck.mkdir()  # cannot be unlinked
    torn.touch()
    name = CELL.format("ann")
    edit("configs/methods/ann.yaml", "2.0e-2", "3.0e-2")
    assert run_stages([f"make {name}"]) == {f"make {name}": 0}
    assert read_made(cell("ann")).config["method"]["train"]["learning_rate"] == 3.0e-2
    assert not torn.exists()
    torn.touch()
    assert run_stages([f"evaluate {name}"]) == {f"evaluate {name}": 0}
    assert torn.exists(), "it trains nothing"
    assert run_stages([f"make {name}"]) == {f"make {name}": 0}  # nothing to do but that
    assert not torn.exists()


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        ("logit_difference: 1.0e-30", "tolerance 1e-30), agreement is 100.00 %; "),
        ("spike_time_error: 1.0e-30", ": closed form and event-driven simulator differ by"),
    ],
)
def test_a_conversion_outside_its_tolerance_fails_with_the_layer(
    little: Path, capsys, limit: str, said: str
):
    name = CELL.format("alpha1-converted")
    text = f"title: A\nkind: alpha1\nsource: ann\ncheck: {{{limit}}}\n"
    Path("configs/methods/alpha1-converted.yaml").write_text(text)
    assert run_due() == {f"evaluate {name}": 2}
    assert said in capsys.readouterr().err
    failure = read(cell("alpha1-converted") / "failure.json")
    assert said in str(failure.error)
    assert not (cell("alpha1-converted") / "record.json").exists()
    assert due() == {f"evaluate {name}": "it failed"}
    Path("configs/methods/alpha1-converted.yaml").unlink()
    assert run_due() == {f"evaluate {name}": 0}
    assert not (cell("alpha1-converted") / "failure.json").exists()


def test_missing_data_are_a_failure_until_they_are_there(fresh: Path, capsys):
    Path("data/made.npz").unlink()
    words = f"make {ANN}"
    assert run_stages([words]) == {words: 2}
    missing = "configs/datasets/made.yaml: key 'source.npz': no file 'made.npz'; put it into"
    assert f"error: {missing}" in capsys.readouterr().err
    assert str(read(cell("ann") / "failure.json").error).startswith(f"make: {missing}")
    write_data(Path("data/made.npz"))
    assert run_stages([words]) == {words: 0}
    assert (cell("ann") / "made.json").exists()


def test_a_stage_before_its_source_is_one_line(fresh: Path, capsys):
    for words in (f"make {B1}", f"evaluate {B1}", f"deploy {B1}/hardware/weight_bits=4"):
        assert run_stages([words]) == {words: 2}
        said = capsys.readouterr().err
        assert "Traceback" not in said
        assert "made.json: not a readable list of files" in said
        assert "run the workflow again" in said


def test_a_fault_of_the_program_is_a_failure_with_a_traceback(little: Path, capsys, monkeypatch):
    def broken(self: object, job: object) -> None:
        raise ZeroDivisionError("so\nit goes")

    monkeypatch.setattr(type(kind("relu")), "evaluate", broken)
    (cell("ann") / "record.json").unlink()
    assert run_due() == {f"evaluate {ANN}": 1}
    assert "Traceback" in capsys.readouterr().err
    assert read(cell("ann") / "failure.json").error == "evaluate: ZeroDivisionError: so it goes"


def test_a_configuration_that_changes_while_a_stage_runs_is_not_filed(
    little: Path, capsys, monkeypatch
):
    own = type(kind("relu"))
    evaluate = own.evaluate

    def meanwhile(self, job):
        edit("configs/models/little.yaml", "4C3-P2-6", "4C3-P2-7")
        return evaluate(self, job)

    monkeypatch.setattr(own, "evaluate", meanwhile)
    (cell("ann") / "record.json").unlink()
    words = f"evaluate {ANN}"
    assert run_stages([words]) == {words: 2}
    assert "its configuration or code changed while it ran" in capsys.readouterr().err
    assert not (cell("ann") / "record.json").exists()


def test_data_that_changed_since_training_are_noticed(little: Path, capsys):
    """A stamp of the same second and size may lie; what the data hold does not."""
    write_data(Path("data/made.npz"), seed=1)
    (cell("b1-converted") / "record.json").unlink()
    grid_now = cells.load_grid(GRID)
    job = cells.task("evaluate", grid_now, grid_now.find(B1))
    with pytest.raises(
        UserError, match="made with other data than there are now; run the workflow again"
    ):
        cells._measure(job, cells.Expected(grid_now))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (f"deploy {B1}", "has no such stage; its stages are: make and evaluate"),
        (f"make {B1}/hardware/weight_bits=4", "has no such stage; its stages are: deploy"),
        ("make studies/short", "has no such stage; its stages are: study"),
        ("study made/little/ann/seed3", "grid little has no cell 'made/little/ann/seed3'"),
    ],
)
def test_a_stage_that_is_not_the_cell_s(at: Path, words: str, said: str):
    with pytest.raises(UserError) as caught:
        run_stages([words])
    assert said in str(caught.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what is said where there is no GPU")
def test_a_gpu_that_is_not_there(fresh: Path, capsys):
    edit("configs/methods/ann.yaml", "kind: relu", "kind: relu\ndevice: cuda")
    words = f"make {ANN}"
    assert run_stages([words]) == {words: 2}
    assert (
        "key 'device' is 'cuda', but there is no GPU; use 'auto' or 'cpu'"
        in capsys.readouterr().err
    )


def test_a_process_that_ended_and_was_not_asked_how_is_not_alive():
    """Who reads a run's output to its end, before asking how it ended, must not wait for the run's
    server.
    """
    import subprocess
    import sys
    import time

    from ttfs.stages.process import alive

    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert alive(child.pid)
    assert child.stdin is not None
    child.stdin.close()
    end = time.monotonic() + 30
    while alive(child.pid):
        assert time.monotonic() < end
        time.sleep(0.02)
    assert child.wait() != 0
    assert not alive(child.pid)
