"""The stage that puts networks on chips: what it measures there, as mapped and fine-tuned."""

import shutil
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from kit.stages import (
    CELL,
    GRID,
    cell,
    record,
    run_due,
    run_stages,
    write_data,
)

import ttfs
from ttfs.methods import Task
from ttfs.results.record import read
from ttfs.training import Classifier

pytestmark = pytest.mark.xdist_group("training")  # one import of Lightning

B1 = CELL.format("b1-converted")


def test_a_chip_is_measured_as_mapped_or_fine_tuned(at: Path):
    mapped = record("b1-converted", "weight_bits=4")
    assert {row.get("network") for row in mapped.rows} == {"ttfs"}
    assert {row["draw"] for row in mapped.rows} == {0}  # no chance, one draw
    assert not (cell("b1-converted", "weight_bits=4") / "weights.pt").exists()
    tuned = record("b1-converted", "jitter=0.1+tuning.epochs=1")
    accuracies = [tuned.value("accuracy", network="ttfs", draw=draw) for draw in range(5)]
    assert None not in accuracies
    assert len(set(accuracies)) > 1
    assert tuned.value("spikes_per_neuron", network="ttfs", draw=0) is not None
    assert tuned.value("spikes_per_neuron", network="ttfs", draw=1) is None
    assert (cell("b1-converted", "jitter=0.1+tuning.epochs=1") / "weights.pt").exists()


def test_trials_of_memristive_synapses_are_programmings_the_first_of_which_is_loaded(little: Path):
    path = Path(GRID)
    chip = "hardware: [{over: {programming_noise: 0.3, tuning: {epochs: 1}}}]\n"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(chip if "hardware:" in line else line for line in lines))
    assert set(run_due().values()) == {0}
    name = "programming_noise=0.3+tuning.epochs=1"
    tuned = record("b1-converted", name)
    accuracies = [tuned.value("accuracy", network="ttfs", draw=draw) for draw in range(5)]
    assert len(set(accuracies)) > 1
    loaded = ttfs.load(cell("b1-converted", name))
    items, labels = next(iter(loaded.data.test.batches(1000)))
    right = (loaded.network(items).argmax(1) == labels).double().mean().item()
    assert accuracies[0] == pytest.approx(100 * right)


class Killed(BaseException):
    """Ends a training as a signal does: nothing of ours runs after it."""


def test_a_killed_fine_tuning_goes_on_without_what_it_has(little: Path, monkeypatch):
    """Killed in the second of its two trainings, in the second epoch."""
    path = Path(GRID)
    chip = "time_bits: 2, jitter: 0.05, tuning: {epochs: 2, batch_size: 16}"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(
        "".join(
            f"hardware: [{{over: {{{chip}}}}}]\n" if "hardware:" in line else line for line in lines
        )
    )
    assert set(run_due().values()) == {0}
    name = "jitter=0.05+time_bits=2+tuning.batch_size=16+tuning.epochs=2"
    rows, folder = record("b1-converted", name).rows, cell("b1-converted", name)
    shutil.rmtree(folder)

    fit = import_module("ttfs.training.fit")  # the package has a function of that name
    monkeypatch.setattr(fit, "SAVE_EVERY", 0.0)
    monkeypatch.setattr(fit, "SAVING_SHARE", 0.0)
    say, step, steps = Task.say, Classifier.training_step, 0

    def dying(task: Task, text: str) -> None:
        if text.startswith("relu network, fine-tuning, epoch 2"):
            raise Killed
        say(task, text)

    def counted(classifier: Classifier, *batch: Any) -> Any:
        nonlocal steps
        steps += 1
        return step(classifier, *batch)

    with monkeypatch.context() as patch:
        patch.setattr(Task, "say", dying)
        with pytest.raises(Killed):
            run_due()
    assert len(list(folder.glob("training-*.ckpt"))) == 2
    monkeypatch.setattr(Classifier, "training_step", counted)
    assert set(run_due().values()) == {0}
    assert steps == 3  # one epoch of 48 items
    assert record("b1-converted", name).rows == rows
    assert not list(folder.glob("training-*.ckpt"))


def test_no_training_goes_on_from_one_of_other_data(little: Path, monkeypatch):
    """Killed in its last epoch; then the data change, and the network with them."""
    fit = import_module("ttfs.training.fit")
    monkeypatch.setattr(fit, "SAVE_EVERY", 0.0)
    monkeypatch.setattr(fit, "SAVING_SHARE", 0.0)
    chip = f"{B1}/hardware/jitter=0.1+tuning.epochs=1"
    stages = [f"make {CELL.format('ann')}", f"make {B1}", f"deploy {chip}"]
    folder = cell("b1-converted", "jitter=0.1+tuning.epochs=1")
    shutil.rmtree(folder)
    say = Task.say

    def dying(task: Task, text: str) -> None:
        if text.startswith("ttfs network, draw 0"):
            raise Killed
        say(task, text)

    with monkeypatch.context() as patch:
        patch.setattr(Task, "say", dying)
        with pytest.raises(Killed):
            run_stages(stages[2:])
    [left] = folder.glob("training-*.ckpt")
    write_data(little / "data" / "made.npz", seed=5)
    assert set(run_stages(stages).values()) == {0}
    resumed = record("b1-converted", "jitter=0.1+tuning.epochs=1").rows
    assert not left.exists()
    shutil.rmtree(little / "results")
    assert set(run_stages(stages).values()) == {0}
    assert record("b1-converted", "jitter=0.1+tuning.epochs=1").rows == resumed


CHIPS = """\
hardware:
  - {over: {time_bits: [8, 2], time_rounding: nearest, tuning: [none, {epochs: 1}]}}
  - {over: {read_out: [0.5, 1.0]}}
  - {over: {latency_cut: [1.6]}}
  - {over: {latency_cut: 3, equalize: true}}
  - {over: {latency_cut: 3, equalize: true, weight_scale: channel}}
  - {over: {latency_cut: 1000}}
"""


def test_chips_of_all_sorts(little: Path, capsys: pytest.CaptureFixture):
    path = Path(GRID)
    text = "".join(
        line for line in path.read_text().splitlines(keepends=True) if "hardware:" not in line
    )
    path.write_text(text + CHIPS)
    statuses = run_due()
    assert [words for words, status in statuses.items() if status] == [
        f"deploy {B1}/hardware/latency_cut=1000"
    ]
    said = capsys.readouterr().err
    assert "the input takes 1 of it, so cut it less" in said
    for network in ("ttfs", "relu"):
        assert f"{network} network, fine-tuning, epoch 1/1: train loss" in said
    failure = read(cell("b1-converted", "latency_cut=1000") / "failure.json")
    assert failure.error is not None
    assert failure.error.startswith("deploy: latency_cut of latency_cut=1000: ")

    ideal = record("b1-converted").metrics
    clock = "time_bits={}+time_rounding=nearest{}"
    fine, coarse = (record("b1-converted", clock.format(bits, "")) for bits in (8, 2))
    for chip, bits in ((fine, 8), (coarse, 2)):
        assert (
            chip.value("time_steps", network="ttfs", draw=0) == 3 * 2**bits
        )  # the input's window and two of neurons
        assert chip.value("latency", network="ttfs", draw=0) == pytest.approx(ideal["latency"])
        assert chip.value("accuracy", network="relu", draw=0) is not None  # the control
    assert fine.value("accuracy", network="ttfs", draw=0) == pytest.approx(ideal["accuracy"], abs=4)
    tuned = record("b1-converted", clock.format(2, "+tuning.epochs=1"))
    assert tuned.value("accuracy", network="relu", draw=0) is not None

    assert "read_out=1" not in [path.name for path in (cell("b1-converted") / "hardware").iterdir()]
    half, whole = record("b1-converted", "read_out=0.5"), record("b1-converted", "ideal")
    assert whole.value("accuracy", network="ttfs", draw=0) == ideal["accuracy"]
    assert half.value("latency", network="ttfs", draw=0) == pytest.approx(ideal["latency"] / 2)
    cuts = {"latency_cut=1.6": 1.6, "equalize=true+latency_cut=3": 3}
    for name, cut in (cuts | {"equalize=true+latency_cut=3+weight_scale=channel": 3}).items():
        latency = record("b1-converted", name).value("latency", network="ttfs", draw=0)
        assert 0.97 < latency / (ideal["latency"] / cut) <= 1.0
