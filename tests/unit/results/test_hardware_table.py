"""The table and the figures of networks on hardware, from made-up sweeps."""

import math
import statistics
from dataclasses import replace

import pytest

from ttfs.results import figures, tables
from ttfs.results.hardware import on_hardware
from ttfs.results.records import Record


@pytest.fixture
def records(make_record):
    return [make_record(seed=seed, method="b1-converted") for seed in range(3)]


@pytest.fixture
def sweeps(records) -> list[Record]:
    """Of each seed an axis of two levels with two draws and a control, and a fixed chip; a failure beside them."""

    def row(level, network, fine_tuned, draw, accuracy, **metrics):
        return {
            "level": level,
            "network": network,
            "fine_tuned": fine_tuned,
            "draw": draw,
            "accuracy": accuracy,
            **metrics,
        }

    found = []
    for record in records:
        top = record.metrics["accuracy"]
        spent = {"spikes_per_neuron": 0.3, "latency": 5.0, "time_steps": 32, "energy": 7.0, "synaptic_operations": 9.0}
        levels = tuple(
            row(
                level,
                "ttfs",
                tuned,
                draw,
                top - level * (1 - tuned) - draw,
                **(spent if draw == 0 else {"latency": 5.0}),
            )
            for level in (4, 2)
            for tuned in (False, True)
            for draw in (0, 1)
        )
        control = (row(4, "relu", False, 0, top - 0.5),)
        clock = {"hardware": {"chip": {}, "axis": {"time_bits": [4, 2]}}}
        found.append(replace(record, metrics={}, layers={}, hardware="clock", levels=levels + control, config=clock))
        fixed = (row(None, "ttfs", False, 0, top - 0.25, **spent),)
        found.append(
            replace(record, metrics={}, layers={}, hardware="fixed", levels=fixed, config={"hardware": {"chip": {}}})
        )
    return [*found, replace(found[0], hardware="broken", levels=(), error="boom")]


def test_a_row_for_each_level_network_and_moment(sweeps, records):
    table = on_hardware(sweeps, records)
    found = [
        tuple(row) for row in table[["hardware", "axis", "level", "network", "fine_tuned"]].itertuples(index=False)
    ]
    assert found[:3] == [
        ("clock", "time_bits", 4, "ttfs", False),
        ("clock", "time_bits", 4, "ttfs", True),
        ("clock", "time_bits", 2, "ttfs", False),
    ]
    assert ("clock", "time_bits", 4, "relu", False) in found
    assert found[-1] == ("fixed", "", "", "ttfs", False)
    assert len(found) == 6


def test_a_seed_is_the_mean_of_its_draws(sweeps, records):
    first = on_hardware(sweeps, records).iloc[0]
    accuracies = [record.metrics["accuracy"] - 4 - 0.5 for record in records]
    assert first["accuracy_mean"] == pytest.approx(statistics.fmean(accuracies))
    assert first["accuracy_std"] == pytest.approx(statistics.stdev(accuracies))
    assert first["accuracy_std_of_draws"] == pytest.approx(math.sqrt(0.5))
    assert (first["n"], first["draws"]) == (3, 2)
    assert first["accuracy_minus_ideal_mean"] == pytest.approx(-4.5)
    assert first["accuracy_minus_ideal_std"] == pytest.approx(0.0)
    assert first["latency_cut_mean"] == pytest.approx(2.0)
    assert first["spikes_per_neuron_mean"] == pytest.approx(0.3)


def test_what_failed_is_in_no_row_but_named(sweeps, records, tmp_path):
    failed = [replace(records[0], metrics={}, layers={}, error="late"), *records[1:]]
    assert on_hardware(sweeps, failed)["n"].unique().tolist() == [2]
    tables.write(records, sweeps, tmp_path, [], 0.1)
    text = (tmp_path / "hardware.md").read_text()
    assert "- tiny/digits/fc2/seed0/b1-converted/hardware/broken: boom" in text
    assert "time_bits 4" in text
    assert "-0.50 ± 0.00" in text


def test_figures_are_drawn_and_the_same_each_time(sweeps, records, tmp_path):
    for folder in ("one", "two"):
        figures.write(records, sweeps, tmp_path / folder, 0.1)
    for name in ("hardware.svg", "pareto.svg"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    (panel,) = figures.hardware(on_hardware(sweeps, records)).axes
    assert panel.get_xlabel() == "time_bits"
    assert [label.get_text() for label in panel.get_xticklabels()] == ["4", "2"]


def test_the_front_is_what_no_other_network_beats(sweeps, records):
    table = on_hardware(sweeps, records)
    table = table[table["time_steps_mean"].notna()]
    beaten = figures._beaten(table)
    best = table["accuracy_mean"] == table["accuracy_mean"].max()
    assert (~beaten == best).all()
    assert not figures._beaten(
        table.assign(time_steps_mean=range(len(table), 0, -1), accuracy_mean=range(len(table), 0, -1))
    ).any()
