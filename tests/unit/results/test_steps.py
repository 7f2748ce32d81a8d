"""Networks of many time steps: a row of the table for each number, a curve of the figure."""

from dataclasses import replace

import pytest
from kit import records

from ttfs.results.figures import cost
from ttfs.results.frame import cells, steps, summary


def stepping(method: str, seed: int):
    """A record with rows after 1 and 8 steps."""
    record = records.made_up(method, seed)
    rows = [row for row in record.rows if row["metric"] != "latency"]
    for number, accuracy in ((1, 50.0), (8, 98.0)):
        rows += [
            {"metric": "accuracy", "value": accuracy - seed, "step": number},
            {"metric": "spikes_per_neuron", "value": 0.1 * number, "step": number},
            {"metric": "synaptic_operations", "value": 100.0 * number, "step": number},
        ]
    return replace(record, rows=tuple(rows))


@pytest.fixture
def results():
    methods = ("ann", "b1-converted", "rate")
    found = [records.made_up(m, s) for m in methods[:2] for s in (0, 1)]
    found += [stepping("rate", s) for s in (0, 1)]
    return records.results(found, records.grid(methods))


def test_each_number_of_steps_has_a_row_over_seeds(results):
    table = steps(results)
    assert table["step"].tolist() == [1, 8]
    assert table["n"].tolist() == [2, 2]
    assert table["accuracy_mean"].tolist() == [49.5, 97.5]
    assert table["synaptic_operations_mean"].tolist() == [100.0, 800.0]


def test_networks_of_one_pass_have_no_such_rows(results):
    plain = replace(results, records=[r for r in results.records if r.ids["method"] != "rate"])
    assert steps(plain).empty
    figure = cost(steps(plain), summary(plain, cells(plain)), {"digits": "ann"})
    assert not figure.axes


def test_the_figure_draws_curves_over_steps_and_ttfs_as_points(results):
    table = cells(results)
    figure = cost(steps(results), summary(results, table), {"digits": "ann"})
    spikes, operations = figure.axes
    curves = [line for line in spikes.lines if line.get_marker() == "."]
    assert [line.get_xdata().tolist() for line in curves] == [[0.8]]  # 1 step is far below the best
    assert [line.get_ydata().tolist() for line in curves] == [[pytest.approx(2.5)]]
    points = [line for line in operations.lines if line.get_marker() not in (".", "None", "")]
    assert [line.get_xdata().tolist() for line in points] == [[12345.0]]
