"""The trade-off of accuracy and spikes, and the operating point that validation chooses."""

import math
import statistics
from dataclasses import replace

import pytest

from ttfs.results import figures
from ttfs.results.sparsity import trade_off


@pytest.fixture
def records(make_record):
    """ANN at 95 and 97 % validation accuracy (mean error 4 points), and strengths that add 0, 0.05 and 0.5 points."""

    def trained(method, strength, seed, validation):
        record = make_record(seed=seed, method=method)
        metrics = {**record.metrics, "best_validation_accuracy": validation}
        if method != "ann":
            metrics["spikes_per_neuron"] = (0.4 + 0.01 * seed) / (1 + 1e4 * strength)
        return replace(record, metrics=metrics, config={"train": {"activity_l1": strength, "activity_l0": 0.0}})

    found = []
    for seed, validation in ((0, 95.0), (1, 97.0)):
        found += [
            trained("ann", 0.0, seed, validation),
            trained("b1-l1-strong", 1e-2, seed, validation - 0.5),
            trained("b1-l1-weak", 1e-4, seed, validation - 0.05),
            trained("b1-scratch", 0.0, seed, validation),
        ]
    return [*found, make_record(method="b1-converted")]


def test_a_row_for_each_trained_ttfs_method_by_strength(records):
    table = trade_off(records, 0.1)
    assert table["method"].tolist() == ["b1-scratch", "b1-l1-weak", "b1-l1-strong"]
    assert table["activity_l1"].tolist() == [0.0, 1e-4, 1e-2]
    assert table["n"].tolist() == [2, 2, 2]
    spikes = [r.metrics["spikes_per_neuron"] for r in records if r.cell.method == "b1-l1-weak"]
    assert table["spikes_per_neuron_mean"][1] == pytest.approx(statistics.fmean(spikes))
    assert table["spikes_per_neuron_std"][1] == pytest.approx(statistics.stdev(spikes))


@pytest.mark.parametrize(
    ("tolerance", "chosen"), [(0.0, "b1-scratch"), (0.0125, "b1-l1-weak"), (0.125, "b1-l1-strong")]
)
def test_the_operating_point_has_the_fewest_spikes_that_validation_allows(records, tolerance, chosen):
    table = trade_off(records, tolerance)
    assert table.loc[table["operating_point"], "method"].tolist() == [chosen]


def test_test_accuracy_has_no_say_in_the_operating_point(records):
    worse = [
        replace(r, metrics={**r.metrics, "accuracy": 10.0}) if r.cell.method == "b1-l1-weak" else r for r in records
    ]
    assert trade_off(worse, 0.1)["operating_point"].tolist() == trade_off(records, 0.1)["operating_point"].tolist()


def test_a_count_of_spikes_comes_after_l1_and_can_be_the_operating_point(records, tmp_path):
    def counted(record):
        metrics = record.metrics | {"spikes_per_neuron": 0.01}
        cell = replace(record.cell, method="b1-l0")
        return replace(record, cell=cell, metrics=metrics, config={"train": {"activity_l1": 0.0, "activity_l0": 1e-5}})

    both = [*records, *(counted(r) for r in records if r.cell.method == "b1-l1-weak")]
    table = trade_off(both, 0.0125)
    assert table["method"].tolist() == ["b1-scratch", "b1-l1-weak", "b1-l1-strong", "b1-l0"]
    assert table.loc[table["operating_point"], "method"].tolist() == ["b1-l0"]
    for found, labelled in ((records, False), (both, True)):
        figures.write(found, [], tmp_path, 0.0125)
        assert ("smooth count of spikes" in (tmp_path / "sparsity.svg").read_text()) is labelled


def test_without_the_ann_nothing_is_chosen(records):
    table = trade_off([r for r in records if r.cell.method != "ann"], 10.0)
    assert len(table) == 3
    assert not table["operating_point"].any()


def test_one_seed_has_no_deviation_and_is_drawn(records, tmp_path):
    table = trade_off([r for r in records if r.cell.seed == 0], 0.1)
    assert math.isnan(table["accuracy_std"][0])
    figures.write([r for r in records if r.cell.seed == 0], [], tmp_path, 0.1)
    assert "<svg" in (tmp_path / "sparsity.svg").read_text()
