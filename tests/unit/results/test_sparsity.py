"""The trade-off of accuracy and spikes, and the operating point that validation chooses."""

import math
import statistics
from pathlib import Path

import pandas as pd
import pytest
from kit.records import TRAIN, grid, made_up, with_values

from ttfs.results import figures
from ttfs.results.frame import Results
from ttfs.results.record import Record
from ttfs.results.sparsity import trade_off

WEAK, STRONG = "b1-scratch+activity_l1=1e-4", "b1-scratch+activity_l1=1e-2"
COUNTED = "b1-scratch+activity_l0=1e-5"
METHODS = ["ann", STRONG, WEAK, "b1-scratch", COUNTED, "b1-converted"]


def trained(method: str, seed: int, validation: float, **penalty: float) -> Record:
    values: dict[str, float] = {"best_validation_accuracy": validation}
    if method != "ann":
        values["spikes_per_neuron"] = (0.4 + 0.01 * seed) / (
            1 + 1e4 * penalty.get("activity_l1", 0.0)
        )
    return with_values(
        made_up(method, seed), config={"method": {"train": TRAIN | penalty}}, **values
    )


@pytest.fixture
def records() -> list[Record]:
    """ANN at 95 and 97 % validation accuracy (mean error 4 points), and strengths that add 0, 0.05
    and 0.5 points.
    """
    found = []
    for seed, validation in ((0, 95.0), (1, 97.0)):
        found += [
            trained("ann", seed, validation),
            trained(STRONG, seed, validation - 0.5, activity_l1=1e-2),
            trained(WEAK, seed, validation - 0.05, activity_l1=1e-4),
            trained("b1-scratch", seed, validation),
        ]
    return [*found, made_up("b1-converted")]


def curve(records: list[Record], tolerance: float = 0.1):
    return trade_off(Results(grid(METHODS), records), tolerance)


def test_a_row_for_each_trained_ttfs_method_by_strength(records: list[Record]):
    table = curve(records)
    assert table["method"].tolist() == ["b1-scratch", WEAK, STRONG]
    assert table["activity_l1"].tolist() == [0.0, 1e-4, 1e-2]
    assert table["n"].tolist() == [2, 2, 2]
    spikes = [one.metrics["spikes_per_neuron"] for one in records if one.ids["method"] == WEAK]
    assert table["spikes_per_neuron_mean"][1] == pytest.approx(statistics.fmean(spikes))
    assert table["spikes_per_neuron_std"][1] == pytest.approx(statistics.stdev(spikes))


@pytest.mark.parametrize(
    ("tolerance", "chosen"), [(0.0, "b1-scratch"), (0.0125, WEAK), (0.125, STRONG)]
)
def test_the_operating_point_has_the_fewest_spikes_that_validation_allows(
    records, tolerance: float, chosen: str
):
    table = curve(records, tolerance)
    assert table.loc[table["operating_point"], "method"].tolist() == [chosen]


def test_test_accuracy_has_no_say_in_the_operating_point(records: list[Record]):
    worse = [
        with_values(one, accuracy=10.0) if one.ids["method"] == WEAK else one for one in records
    ]
    assert curve(worse)["accuracy_mean"].tolist() != curve(records)["accuracy_mean"].tolist()
    assert curve(worse)["operating_point"].tolist() == curve(records)["operating_point"].tolist()


def test_a_count_of_spikes_comes_after_l1_and_can_be_the_operating_point(
    records, tmp_path: Path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    few = [
        with_values(trained(COUNTED, seed, validation, activity_l0=1e-5), spikes_per_neuron=0.01)
        for seed, validation in ((0, 94.95), (1, 96.95))
    ]
    table = curve([*records, *few], 0.0125)
    assert table["method"].tolist() == ["b1-scratch", WEAK, STRONG, COUNTED]
    assert table.loc[table["operating_point"], "method"].tolist() == [COUNTED]
    for found, labelled in ((records, False), ([*records, *few], True)):
        figures.write(Results(grid(METHODS), found), tmp_path)
        assert ("smooth count of spikes" in (tmp_path / "sparsity.svg").read_text()) is labelled


def test_a_network_without_a_spike_is_not_drawn(records: list[Record]):
    """Its place on the logarithmic axis would be infinitely far to the left."""
    still = with_values(trained(COUNTED, 0, 97.0, activity_l0=1e-5), spikes_per_neuron=0.0)
    table = curve([*records, still])
    assert table.loc[table["operating_point"], "method"].tolist() == [COUNTED]
    anns = pd.DataFrame([{"dataset": "digits", "model": "fc2", "method": "ann", "status": "ok",
                          "accuracy": 98.0}])  # fmt: skip
    (axes,) = figures.sparsity(table, anns, {"digits": "ann"}).axes
    lines = [line for line in axes.lines if line.get_linestyle() != "--"]
    assert max(len(line.get_xdata()) for line in lines) == 3
    assert all(x > 0 for line in lines for x in line.get_xdata())


def test_networks_of_many_time_steps_have_no_part_in_it(records: list[Record]):
    """Their spikes per neuron may exceed 1: they are in the figure of costs."""
    stepping = with_values(trained("lif", 0, 97.0), latency=None, time_steps=4.0)
    assert curve([*records, stepping]).equals(curve(records))


def test_methods_that_differ_in_a_penalty_alone_are_a_family(records: list[Record]):
    names = [f"{method}+epochs=9" for method in ("b1-scratch", STRONG)]
    long = [trained(name, 0, 96.0) for name in names]
    table = trade_off(Results(grid([*METHODS, *names]), [*records, *long]), 0.1)
    families = table.groupby("family")["method"].agg(set).to_dict()
    assert families == {
        "b1-scratch": {"b1-scratch", WEAK, STRONG},
        "b1-scratch+epochs=9": set(names),
    }


def test_a_penalty_that_an_id_spells_out_is_one(records: list[Record]):
    """A method without a block `train` of its own names the block where a grid varies it."""
    spelled = "b1-converted+train.activity_l1=1e-3"
    own = [trained(spelled, 0, 96.0, activity_l1=1e-3)]
    table = trade_off(Results(grid([*METHODS, spelled]), [*records, *own]), 0.1)
    assert set(table[table["method"] == spelled]["family"]) == {"b1-converted"}


def test_without_the_reference_nothing_is_chosen(records: list[Record]):
    table = curve([one for one in records if one.ids["method"] != "ann"], 10.0)
    assert len(table) == 3
    assert not table["operating_point"].any()


def test_one_seed_has_no_deviation_and_is_drawn(records, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    alone = [one for one in records if one.ids["seed"] == 0]
    assert math.isnan(curve(alone)["accuracy_std"][0])
    figures.write(Results(grid(METHODS), alone), tmp_path)
    assert "digits" in (tmp_path / "sparsity.svg").read_text()
