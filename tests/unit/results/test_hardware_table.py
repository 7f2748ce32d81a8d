"""The table and the figures of networks on hardware, from made-up records."""

import math
import statistics
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from kit.records import grid, made_up

from ttfs.config import Variant, read_named
from ttfs.results import figures, page, tables, tracking
from ttfs.results.figures.chips import beaten as beaten_by_others
from ttfs.results.frame import Results, chip_of, fine_tunings, on_hardware
from ttfs.results.record import Record, write
from ttfs.stages.spikes import spikes as spikes_of

CLOCK = [f"clocked+time_bits={bits}{tuned}" for bits in (4, 2) for tuned in ("", "+tuning")]
LONGER = "+tuning.epochs=30"
FIXED = "combined"
SPENT = {
    "spikes_per_neuron": 0.3,
    "latency": 5.0,
    "time_steps": 32,
    "energy": 7.0,
    "synaptic_operations": 9.0,
}


def on(hardware: str, seed: int) -> Record:
    """A network on a clock as mapped loses 4 or 2 points, fine-tuned none, and one more in the
    second draw.
    """
    top = 98.0 - seed
    rows: list[dict] = []

    def add(network: str, draw: int, accuracy: float, **spent: float) -> None:
        place = {"network": network, "draw": draw}
        rows.extend(
            {"metric": name, "value": value, **place}
            for name, value in {"accuracy": accuracy, **spent}.items()
        )

    if hardware == FIXED:
        add("ttfs", 0, top - 0.25, **SPENT)
    else:
        mapped = float(hardware.partition("time_bits=")[2][0])
        loss = 0.25 if LONGER in hardware else 0.0 if "tuning" in hardware else mapped
        add("ttfs", 0, top - loss, **SPENT)
        add("ttfs", 1, top - loss - 1, latency=5.0)
        if hardware == CLOCK[0]:
            add("relu", 0, top - 0.5)
    base = made_up("b1-converted", seed, hardware=hardware)
    return Record(base.ids, base.provenance, tuple(rows), None, {"hardware": {}}, base.digests)


def chips() -> dict[str, Variant]:
    found = {FIXED: Variant(FIXED, read_named("hardware", FIXED, "a test"))}
    for name in (*CLOCK, "ideal+broken"):
        config = read_named("hardware", "clocked", "a test")
        bits = name.partition("time_bits=")[2][:1]
        tuning = (
            {"epochs": 3, "learning_rate": 1e-3, "batch_size": 128} if "tuning" in name else None
        )
        found[name] = Variant(
            name, config | {"time_bits": int(bits or 3), "tuning": tuning}, ("time_bits", "tuning")
        )
    return found


@pytest.fixture
def found() -> Results:
    """Of each seed a clock of two speeds, as mapped and fine-tuned, and a fixed chip; a failure
    beside them.
    """
    networks = [made_up("b1-converted", seed) for seed in range(3)]
    records = [on(name, seed) for seed in range(3) for name in (*CLOCK, FIXED)]
    broken = made_up("b1-converted", error="boom", hardware="ideal+broken")
    return Results(
        grid(["b1-converted"], chips(), deployed=["b1-converted"]), [*networks, *records, broken]
    )


def test_a_row_for_each_chip_network_and_moment(found: Results):
    table = on_hardware(found)
    rows = [
        tuple(row)
        for row in table[["chip", "tuned", "network", "time_bits"]].itertuples(index=False)
    ]
    assert sorted(rows) == sorted([
        ("clocked+time_bits=4", False, "ttfs", "4"), ("clocked+time_bits=4", True, "ttfs", "4"),
        ("clocked+time_bits=4", False, "relu", "4"), ("clocked+time_bits=2", False, "ttfs", "2"),
        ("clocked+time_bits=2", True, "ttfs", "2"), (FIXED, False, "ttfs", "4"),
    ])  # fmt: skip


def test_a_seed_is_the_mean_of_its_draws(found: Results):
    table = on_hardware(found)
    [first] = table[(table["hardware"] == CLOCK[0]) & (table["network"] == "ttfs")].to_dict(
        "records"
    )
    accuracies = [98.0 - seed - 4 - 0.5 for seed in range(3)]
    assert first["accuracy_mean"] == pytest.approx(statistics.fmean(accuracies))
    assert first["accuracy_std"] == pytest.approx(statistics.stdev(accuracies))
    assert first["accuracy_std_of_draws_mean"] == pytest.approx(math.sqrt(0.5))
    assert (first["n"], first["draws"]) == (3, 2)
    assert first["accuracy_minus_ideal_mean"] == pytest.approx(-4.5)
    assert first["accuracy_minus_ideal_std"] == pytest.approx(0.0)
    assert first["latency_cut_mean"] == pytest.approx(2.0)
    assert first["spikes_per_neuron_mean"] == pytest.approx(0.3)


def test_what_failed_is_in_no_row_but_named(found: Results, tmp_path: Path):
    tables.write(found, tmp_path)
    text = (tmp_path / "hardware.md").read_text()
    assert "- digits/fc2/b1-converted/seed0/hardware/ideal+broken: boom" in text
    row = next(line for line in text.splitlines() if "clocked+time_bits=4" in line)
    assert [cell.strip() for cell in row.split("|")[1:9]] == [
        "digits", "fc2", "b1-converted", "clocked+time_bits=4", "92.50 ± 1.00", "96.50 ± 1.00",
        "-0.50 ± 0.00",
        "96.50 ± 1.00",
    ]  # fmt: skip
    assert "broken" not in (tmp_path / "hardware.csv").read_text()


def test_each_fine_tuning_of_a_chip_is_told(found: Results, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    longer = CLOCK[0] + LONGER
    variants = chips()
    variants[longer] = replace(variants[CLOCK[1]], id=longer)
    records = [*found.records, *(on(longer, seed) for seed in range(3))]
    results = Results(grid(["b1-converted"], variants, deployed=["b1-converted"]), records)
    table = on_hardware(results)
    tuning = dict(zip(table["hardware"], fine_tunings(table), strict=True))
    tuned = set(table["hardware"][table["tuned"].astype(bool)])
    wanted = {name: "default" if name in tuned else "" for name in tuning}
    assert tuning == wanted | {longer: "epochs=30"}

    tables.write(results, tmp_path)
    lines = (tmp_path / "hardware.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.split("|")[4:8]] for line in lines if "clocked" in line]
    assert rows == [
        ["clocked+time_bits=2", "default", "94.50 ± 1.00", "96.50 ± 1.00"],
        ["clocked+time_bits=4", "default", "92.50 ± 1.00", "96.50 ± 1.00"],
        ["clocked+time_bits=4", "epochs=30", "92.50 ± 1.00", "96.25 ± 1.00"],
    ]
    page.write(results, tmp_path)
    text = (tmp_path / "index.html").read_text()
    assert "TTFS, fine-tuned (epochs=30)" in text
    [axis] = figures.axes_of(results.grid)
    (panel,) = figures.hardware(table, [axis]).axes
    assert {label.get_text() for label in panel.texts} == {"default", "epochs=30"}
    curves = [line for line in panel.lines if len(line.get_xdata()) == 2]
    assert all(len(set(line.get_xdata())) == 2 for line in curves), "no curve doubles back"


def test_a_fine_tuning_in_the_file_of_a_chip_is_one():
    config = read_named("hardware", "clocked", "a test")
    tuned, mapped = ({"id": "lab", "tuning": tuning} for tuning in ({"epochs": 10}, None))
    assert chip_of(Variant("lab", config | tuned)) == ("lab", "default")
    assert chip_of(Variant("lab+epochs=30", config | tuned)) == ("lab", "epochs=30")
    mixed = "augment.cutmix=0.5+epochs=30"
    assert chip_of(Variant(f"lab+{mixed}", config | tuned)) == ("lab", mixed.replace("+", ", "))
    assert chip_of(Variant("lab+tuning.augment.flip=true", config | tuned)) == (
        "lab", "augment.flip=true",
    )  # fmt: skip
    assert chip_of(Variant("lab+tuning=none", config | mapped)) == ("lab", None)
    assert chip_of(Variant("tuning", config | tuned)) == ("ideal", "default")


def test_draws_may_be_varied(found: Results):
    variants = {name: replace(point, varied=("draws",)) for name, point in chips().items()}
    results = Results(grid(["b1-converted"], variants, deployed=["b1-converted"]), found.records)
    assert set(on_hardware(results)["draws"]) == {1, 2}


def test_means_over_other_seeds_say_so(found: Results, tmp_path: Path):
    records = [one for one in found.records if "tuning" not in one.name or "seed2" in one.name]
    tables.write(Results(found.grid, records), tmp_path)
    text = (tmp_path / "hardware.md").read_text()
    row = next(line for line in text.splitlines() if "clocked+time_bits=4" in line)
    cells = [cell.strip() for cell in row.split("|")]
    assert cells[5:8] == ["3 as mapped, 1 fine-tuned", "92.50 ± 1.00", "95.50"]


def test_networks_of_several_methods_look_different(found: Results):
    table = on_hardware(found)
    other = table.assign(method="b1-finetuned", accuracy_mean=table["accuracy_mean"] - 3)
    both = pd.concat([table, other], ignore_index=True)
    [axis] = figures.axes_of(found.grid)
    drawn = figures.hardware(both, [axis])
    names = [text.get_text() for text in drawn.legends[0].texts]
    assert names[:2] == ["fc2, b1-converted", "fc2, b1-finetuned"]
    (panel,) = drawn.axes
    mapped = [line for line in panel.lines if line.get_linestyle() == "--"]
    assert len({line.get_color() for line in mapped}) == 2
    front = [text.get_text() for text in figures.pareto(both).legends[0].texts]
    assert any("b1-converted" in name for name in front)


def test_a_seed_whose_network_failed_has_no_difference(found: Results):
    records = [one for one in found.records if one.name != made_up("b1-converted").name]
    table = on_hardware(Results(found.grid, records))
    assert set(table["n"]) == {3}
    assert table["accuracy_minus_ideal_mean"].isna().all()
    assert table["accuracy_mean"].notna().all()


def test_the_difference_is_to_the_network_that_went_onto_the_chip(
    found: Results, tmp_path: Path, monkeypatch
):
    monkeypatch.chdir(tmp_path)

    def of_weights(record: Record, weights: str) -> Record:
        return replace(record, digests={**record.digests, "weights": weights})

    chips = [of_weights(one, "w1") for one in found.records if "hardware" in one.ids]
    networks = [one for one in found.records if "hardware" not in one.ids]
    same = on_hardware(Results(found.grid, [of_weights(one, "w1") for one in networks] + chips))
    assert same.equals(on_hardware(found))
    assert same["accuracy_minus_ideal_mean"].notna().all()

    again = Results(found.grid, [of_weights(one, "w2") for one in networks] + chips)
    table = on_hardware(again)
    assert table["accuracy_minus_ideal_mean"].isna().all()
    assert table["latency_cut_mean"].isna().all()

    for one in networks:
        write(of_weights(one, "w1"), again.store / one.name)
        write(of_weights(one, "w2"), again.store / one.name)
    assert on_hardware(again).equals(same)


@pytest.mark.usefixtures("store")
def test_chips_whose_networks_have_no_record(found: Results, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    chips = Results(found.grid, [one for one in found.records if "hardware" in one.ids])
    folder = chips.grid.folder
    tables.write(chips, folder / "tables")
    figures.write(chips, folder / "figures")
    page.write(chips, folder)
    assert "clocked+time_bits=4" in (folder / "tables/hardware.md").read_text()
    assert "clocked" in (folder / "index.html").read_text()
    assert (folder / "figures/hardware.svg").exists()
    assert tracking.publish(chips).written == len(chips.records)
    assert list(spikes_of(chips)) == []


def test_figures_are_drawn_and_the_same_each_time(found: Results, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("one", "two"):
        figures.write(found, tmp_path / folder)
    for name in ("hardware.svg", "pareto.svg"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    [axis] = figures.axes_of(found.grid)
    assert axis.key == "time_bits"
    (panel,) = figures.hardware(on_hardware(found), [axis]).axes
    assert panel.get_xlabel() == "Time steps a window [bits]"
    assert [label.get_text() for label in panel.get_xticklabels()] == ["2", "4"]
    shared = "conductance_bits=4+drift_exponent=0.05+drift_spread=0.01"
    (panel,) = figures.hardware(on_hardware(found), [axis._replace(shared=shared)]).axes
    lines = panel.get_title(loc="left").splitlines()
    assert "".join(lines) == f"digits: {shared}", "nothing is lost where a title is broken"
    assert max(map(len, lines)) <= 36


def test_the_front_is_what_no_other_network_beats(found: Results):
    table = on_hardware(found)
    table = table[table["time_steps_mean"].notna()]
    beaten = beaten_by_others(table)
    best = table["accuracy_mean"] == table["accuracy_mean"].max()
    assert 0 < (~beaten).sum() < len(table)
    assert (~beaten == best).all()
    falling = range(len(table), 0, -1)
    assert not beaten_by_others(table.assign(time_steps_mean=falling, accuracy_mean=falling)).any()


def test_a_grid_without_hardware_says_so(tmp_path: Path):
    tables.write(Results(grid(), [made_up()]), tmp_path)
    assert (tmp_path / "hardware.md").read_text() == "This grid puts no network on hardware.\n"


def test_the_front_has_no_network_that_lies_below_its_panel(found: Results):
    table = on_hardware(found)
    clocked = table.index[(table["network"] == "ttfs") & table["time_steps_mean"].notna()]
    table.loc[clocked, "time_steps_mean"] = [8.0 * 2**place for place in range(len(clocked))]
    table.loc[clocked, "accuracy_mean"] = [70.0, *[90.0 + n for n in range(len(clocked) - 1)]]
    figure = figures.pareto(table)
    [numbered] = [[text.get_text() for text in axes.texts] for axes in figure.axes if axes.texts]
    named = [text.get_text() for text in figure.legends[0].texts if text.get_text()[0].isdigit()]
    assert len(named) == len(numbered) == len(clocked) - 1
