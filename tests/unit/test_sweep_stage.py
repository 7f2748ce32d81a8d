"""A network on hardware in its grid: what the verb writes, and which configuration is refused."""

import shutil
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from ttfs.__main__ import main
from ttfs.config import SCHEMAS, Cell, load_grid, read_yaml
from ttfs.errors import UserError
from ttfs.hardware import Hardware
from ttfs.results.records import Record, read

CELL = "digits/little/seed0/b1-converted"
GRID = """
datasets: [digits]
models: [little]
methods: [ann, b1-converted, alpha1-converted]
seeds: [0]
hardware: [clock, noise, early, cut]
"""
HARDWARE = {
    "clock": "title: C\nchip: {time_rounding: nearest, weight_bits: 6}\naxis: {time_bits: [8, 2]}\n"
    "fine_tuning: {epochs: 1}\n",
    "noise": "title: N\nchip: {jitter: 0.02, dead_neurons: 0.1}\ndraws: 3\nfine_tuning: {epochs: 1}\n",
    "early": "title: E\naxis: {read_out: [0.5, 1.0]}\nfine_tuning: null\n",
    "cut": "title: L\naxis: {latency_cut: [2, 1.5]}\nfine_tuning: null\n",
}


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of a little network of digits, trained and mapped, once for all tests here."""
    return tmp_path_factory.mktemp("trained")


@pytest.fixture
def house(configs: Path, trained: Path) -> Path:
    """The working directory, with the grid tiny, four hardware files and a mapped network."""
    (configs / "tiny.yaml").write_text(GRID)
    (configs / "models" / "little.yaml").write_text("title: Little\nlayers: 24-16\n")
    for name, text in HARDWARE.items():
        (configs / "hardware" / f"{name}.yaml").write_text(text)
    digits = configs / "datasets" / "digits.yaml"
    digits.write_text(digits.read_text().replace("epochs: 40", "epochs: 3"))
    if not (trained / "results").exists():
        for stage, method in (("train", "ann"), ("convert", "b1-converted"), ("verify", "b1-converted")):
            assert main([stage, "configs/tiny.yaml", f"digits/little/seed0/{method}"]) == 0
        shutil.copytree("results", trained / "results")
    else:
        shutil.copytree(trained / "results", "results")
    return configs.parent


def swept(hardware: str) -> Record:
    assert main(["sweep", "configs/tiny.yaml", CELL, hardware]) == 0
    return read(Cell("tiny", "digits", "little", 0, "b1-converted").hardware_folder(hardware) / "record.json")


def ideal() -> Record:
    return read(Cell("tiny", "digits", "little", 0, "b1-converted").folder / "record.json")


def keys(record: Record) -> list[tuple[Any, ...]]:
    return [(row["level"], row["network"], row["fine_tuned"], row["draw"]) for row in record.levels]


def test_each_level_is_measured_as_mapped_and_fine_tuned_beside_the_control(house: Path):
    record = swept("clock")
    kinds = [("ttfs", False, 0), ("ttfs", True, 0), ("relu", False, 0), ("relu", True, 0)]
    assert keys(record) == [(level, *kind) for level in (8, 2) for kind in kinds]
    rows = dict(zip(keys(record), record.levels, strict=True))
    fine, coarse = rows[8, "ttfs", False, 0], rows[2, "ttfs", False, 0]
    assert fine["accuracy"] == pytest.approx(ideal().metrics["accuracy"], abs=1.5)
    assert coarse["accuracy"] < fine["accuracy"]
    assert fine["time_steps"] == 3 * 2**8  # the input's window and two of neurons
    assert fine["latency"] == pytest.approx(ideal().metrics["latency"])
    assert 0 < coarse["energy"] <= fine["energy"]
    again = swept("clock")
    assert again.levels == record.levels


def test_chance_is_drawn_anew_and_again_the_same(house: Path):
    record = swept("noise")
    assert keys(record) == [(None, "ttfs", tuned, draw) for tuned in (False, True) for draw in range(3)]
    assert len({row["accuracy"] for row in record.levels}) > 1
    assert ["spikes_per_neuron" in row for row in record.levels] == [True, False, False] * 2
    assert swept("noise").levels == record.levels


def test_reading_at_the_end_is_reading_the_logits(house: Path):
    half, whole = swept("early").levels
    assert whole["accuracy"] == ideal().metrics["accuracy"]
    assert half["latency"] == pytest.approx(whole["latency"] / 2)
    assert half["accuracy"] < whole["accuracy"]
    assert whole["spikes_per_neuron"] == pytest.approx(ideal().metrics["spikes_per_neuron"])


def test_latency_is_cut_as_asked(house: Path):
    by_two, less = swept("cut").levels
    assert by_two["latency"] == pytest.approx(ideal().metrics["latency"] / 2, rel=1e-2)
    assert less["latency"] == pytest.approx(ideal().metrics["latency"] / 1.5, rel=1e-2)


def test_a_latency_below_that_of_the_input_is_a_failure_with_its_reason(house: Path, capsys: pytest.CaptureFixture):
    (house / "configs/hardware/cut.yaml").write_text("title: L\naxis: {latency_cut: [1000]}\n")
    assert main(["sweep", "configs/tiny.yaml", CELL, "cut"]) == 2
    assert "the input takes 1 of it, so cut it less" in capsys.readouterr().err
    failure = read(Path(f"results/tiny/{CELL}/hardware/cut/failure.json"))
    assert failure.status == "failed"
    assert main(["tables", "configs/tiny.yaml"]) == 0
    assert f"- tiny/{CELL}/hardware/cut: sweep: " in Path("results/tiny/tables/hardware.md").read_text()


def test_all_methods_of_b1_neurons_are_deployed_unless_some_are_named(house: Path):
    grid = load_grid("configs/tiny.yaml")
    assert [(cell.method, name) for cell, name in grid.deployments()] == [("b1-converted", name) for name in HARDWARE]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[clock,", "[clok,", "key 'hardware': no configs/hardware/clok.yaml; did you mean 'clock'?"),
        (
            "seeds:",
            "deployed: [ann]\nseeds:",
            "key 'deployed': 'ann' is no method of b1 neurons here; choose from: b1-",
        ),
        ("seeds:", "deployed: [alpha1-converted]\nseeds:", "'alpha1-converted' is no method of b1 neurons here"),
        ("b1-converted, ", "", "key 'hardware': no method here is of b1 neurons; add one"),
    ],
)
def test_a_grid_whose_hardware_is_wrong_is_refused(house: Path, old: str, new: str, said: str):
    path = house / "configs/tiny.yaml"
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(UserError) as caught:
        load_grid("configs/tiny.yaml")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("chip: {time_bits: 0}\n", "key 'chip.time_bits': 0 is less than the minimum of 1"),
        ("chip: {jitter: -0.1}\n", "key 'chip.jitter': -0.1 is less than the minimum of 0"),
        ("chip: {jiter: 0.1}\n", "unknown key 'chip.jiter'; did you mean 'jitter'?"),
        ("chip: {window_quantile: 0}\n", "'chip.window_quantile': 0 is less than or equal to"),
        ("axis: {weight_bits: [4, 0]}\n", "'axis.weight_bits.1': 0 is less than the minimum"),
        ("axis: {time_bits: [4], jitter: [0.1]}\n", "key 'axis': {'time_bits': [4], 'jitter'"),
        ("axis: {latency_cut: [0.5]}\n", "'axis.latency_cut.0': 0.5 is less than the minimum"),
        ("axis: {read_out: [0, 1]}\n", "'axis.read_out.0': 0 is less than or equal to"),
        ("fine_tuning: {epochs: 0}\n", "key 'fine_tuning.epochs': 0 is less than the minimum"),
    ],
)  # fmt: skip
def test_a_hardware_file_that_is_wrong_is_refused_in_one_line(tmp_path: Path, text: str, said: str):
    (tmp_path / "made-up.yaml").write_text(f"title: T\n{text}")
    with pytest.raises(UserError) as caught:
        read_yaml(tmp_path / "made-up.yaml", "hardware")
    assert said in str(caught.value)
    assert "made-up.yaml: " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_does_not_go_onto_a_hardware_is_said(house: Path, capsys: pytest.CaptureFixture):
    assert main(["sweep", "configs/tiny.yaml", "digits/little/seed0/alpha1-converted", "clock"]) == 2
    assert "not on 'clock'; its hardware: clock, noise, early, cut" in capsys.readouterr().err


def test_a_network_is_fine_tuned_as_it_was_trained(house: Path):
    grid = load_grid("configs/tiny.yaml")
    cell = next(cell for cell, _ in grid.deployments())
    train = grid.hardware_slice(cell, "clock")["train"]
    assert train["epochs"] == 1
    assert (train["optimizer"], train["select"], train["learning_rate"], train["batch_size"]) == (
        "adam",
        "last",
        1e-3,
        128,
    )
    trained = grid.slice("train", Cell("tiny", "digits", "little", 0, "ann"))["train"]
    assert {key: train[key] for key in ("augment", "weight_decay", "activity_l1")} == {
        key: trained[key] for key in ("augment", "weight_decay", "activity_l1")
    }
    assert "optimizer" not in grid.hardware_slice(cell, "early")["train"]


def test_the_words_of_a_file_are_those_of_the_chip():
    schema = yaml.safe_load((SCHEMAS / "hardware.schema.yaml").read_text())
    chip = set(schema["properties"]["chip"]["properties"])
    assert chip == {field.name for field in fields(Hardware)} - {"seed"}
    assert set(schema["properties"]["axis"]["properties"]) - chip == {"latency_cut", "read_out"}
