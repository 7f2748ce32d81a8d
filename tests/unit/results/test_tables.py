"""Tables and figures: right numbers, failures in view, the same bytes from the same records."""

import csv
import random
from pathlib import Path

import jsonschema
import pytest
import yaml

from ttfs.results import figures, tables
from ttfs.results.records import METRICS, collect

ROOT = Path(__file__).parents[3]
PAPER = {
    "work": "A et al. 2020",
    "source": "abstract",
    "values": [
        {"datasets": ["digits"], "metric": "accuracy", "value": 97.0},
        {"datasets": ["digits"], "model": "fc8", "metric": "accuracy", "value": 99.0},
        {"datasets": ["mnist"], "metric": "accuracy", "value": 99.5},
        {"datasets": ["digits"], "model": "fc2", "method": "ann", "metric": "accuracy", "value": 98.5},
        {"datasets": ["digits"], "metric": "spikes_per_neuron", "value": 0.3, "relation": "below"},
        {"datasets": ["digits"], "metric": "early_fire_rate", "value": 0.0},
    ],
}
FILES = [
    "cells.csv",
    "hardware.csv",
    "hardware.md",
    "layers.csv",
    "published.csv",
    "published.md",
    "sparsity.csv",
    "summary.csv",
    "summary.md",
]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def written(tiny_grid) -> Path:
    tables.write(collect(tiny_grid), [], tiny_grid.folder / "tables", [PAPER], 0.1)
    return tiny_grid.folder / "tables"


def test_every_table_is_written(written):
    assert sorted(path.name for path in written.iterdir()) == FILES


def test_cells_have_one_row_each_failures_too(written):
    cells = rows(written / "cells.csv")
    assert [(cell["method"], cell["seed"], cell["status"]) for cell in cells] == [
        ("ann", "0", "ok"), ("ann", "1", "ok"), ("ann", "2", "ok"),
        ("b1-converted", "0", "ok"), ("b1-converted", "1", "ok"), ("b1-converted", "2", "failed"),
    ]  # fmt: skip
    assert cells[0]["spikes_per_neuron"] == ""
    assert cells[5]["accuracy"] == ""
    assert cells[5]["error"] == "layer layers.2: off by 0.1 Tolerance 1e-4"


def test_summary_by_hand(written):
    ann, snn = rows(written / "summary.csv")
    assert (ann["method"], ann["n"], ann["seeds"]) == ("ann", "3", "3")
    assert (ann["accuracy_mean"], ann["accuracy_std"]) == ("97", "1")  # of 98, 97, 96
    assert (snn["method"], snn["n"], snn["seeds"]) == ("b1-converted", "2", "3")
    assert (snn["accuracy_mean"], snn["accuracy_std"]) == ("97.5", "0.7071067812")  # of 98, 97
    assert snn["logit_difference_max"] == "2e-06"
    assert (snn["energy_mean"], snn["energy_std"]) == ("0.1", "0")
    assert (snn["accuracy_minus_ann_mean"], snn["accuracy_minus_ann_std"]) == ("0", "0")  # seed by seed
    assert ann["accuracy_minus_ann_mean"] == ""


def test_summary_shows_reference_spread_and_failure(written):
    text = (written / "summary.md").read_text()
    ann, snn = ([cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()[2:4])
    assert ann[:6] == ["digits", "fc2", "ann", "3", "97.00 ± 1.00", "–"]
    assert snn[:6] == ["digits", "fc2", "b1-converted", "2 of 3", "97.50 ± 0.71", "+0.00 ± 0.00"]
    assert snn[6:10] == ["100.00 ± 0.00", "2.0e-06", "0.450 ± 0.071", "10.00 ± 0.00"]
    assert "- digits/fc2/seed2/b1-converted: layer layers.2: off by 0.1 Tolerance 1e-4\n" in text


def test_one_seed_has_no_spread(make_record, tmp_path):
    tables.write([make_record(), make_record(method="b1-converted")], [], tmp_path, [], 0.1)
    assert "±" not in (tmp_path / "summary.md").read_text().splitlines()[3]
    assert rows(tmp_path / "summary.csv")[0]["accuracy_std"] == ""


def test_a_metric_that_some_cells_lack_is_not_averaged(make_record):
    bare = make_record(seed=1, method="b1-converted")
    without = {name: value for name, value in bare.metrics.items() if name != "energy"}
    some = [make_record(method="b1-converted"), type(bare)(bare.cell, bare.provenance, without)]
    summary = tables.summary(tables.cells(some))
    assert summary["energy_mean"].isna().all()
    assert summary["accuracy_mean"].tolist() == [97.5]


def test_all_failed(make_record, tmp_path):
    tables.write([make_record(seed=seed, error="boom") for seed in range(2)], [], tmp_path, [PAPER], 0.1)
    text = (tmp_path / "summary.md").read_text()
    assert "0 of 2" in text
    assert text.count("boom") == 2
    assert "No published value" in (tmp_path / "published.md").read_text()


def test_layers_come_in_order_of_depth(written):
    layers = rows(written / "layers.csv")
    assert [(row["layer"], row["neurons"], row["n"], row["t_min_mean"]) for row in layers] == [
        ("layers.2", "30", "2", "1"),
        ("layers.10", "20", "2", "3"),
    ]
    assert layers[0]["spikes_per_neuron_mean"] == "0.45"


def test_published_values_stand_beside_the_rows_they_are_for(written):
    found = rows(written / "published.csv")
    assert [(row["metric"], row["method"], row["published"], row["ours_mean"], row["n"]) for row in found] == [
        ("accuracy", "b1-converted", "97", "97.5", "2"),
        ("accuracy", "ann", "98.5", "97", "3"),
        ("spikes_per_neuron", "b1-converted", "0.3", "0.45", "2"),
    ]
    assert [float(row["difference"]) for row in found] == pytest.approx([0.5, -1.5, 0.15])
    text = (written / "published.md").read_text()
    assert "| < 0.3" in text
    assert "A et al. 2020 (abstract)" in text


def test_same_records_in_any_order_give_the_same_bytes(written, tiny_grid, tmp_path):
    shuffled = collect(tiny_grid)
    random.Random(0).shuffle(shuffled)
    tables.write(shuffled, [], tmp_path / "again", [PAPER], 0.1)
    for name in FILES:
        assert (tmp_path / "again" / name).read_bytes() == (written / name).read_bytes()


def test_figures_are_written_and_the_same_each_time(tiny_grid, tmp_path):
    for folder in ("one", "two"):
        figures.write(collect(tiny_grid), [], tmp_path / folder, 0.1)
    names = sorted(path.stem for path in (tmp_path / "one").iterdir())
    assert names == ["accuracy-by-spikes", "hardware", "pareto", "sparsity", "spikes-by-layer", "training-curves"]
    for name in names:
        one, two = (tmp_path / folder / f"{name}.svg" for folder in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()


def test_figures_without_a_successful_cell(make_record, tmp_path):
    figures.write([make_record(error="boom")], [], tmp_path, 0.1)
    assert (tmp_path / "accuracy-by-spikes.svg").stat().st_size > 0


def test_accuracy_figure_draws_each_seed_mean_and_reference(tiny_grid):
    (axes,) = figures.accuracy_by_spikes(tables.cells(collect(tiny_grid))).axes
    data = [sorted(zip(*line.get_data(), strict=True)) for line in axes.lines if len(line.get_xdata())]
    assert [(0.4, 98.0), (0.5, 97.0)] in data
    assert [pytest.approx((0.45, 97.5))] in data
    assert any(all(y == 97.0 for _, y in line) for line in data)  # mean of the ANN


def test_training_curves_have_a_line_per_seed(tiny_grid):
    figure = figures.training_curves(figures._curves(collect(tiny_grid)))
    assert [len(line.get_xdata()) for line in figure.axes[0].lines] == [3, 3, 3]


@pytest.mark.parametrize("path", sorted((ROOT / "configs/published").glob("*.yaml")), ids=lambda path: path.stem)
def test_published_values_are_of_known_metrics_data_sets_and_networks(path):
    schema = yaml.safe_load((ROOT / "workflow/schemas/published.schema.yaml").read_text())
    work = yaml.safe_load(path.read_text())
    jsonschema.Draft202012Validator(schema).validate(work)
    for value in work["values"]:
        assert value["metric"] in METRICS
        for kind, names in {"datasets": value["datasets"], "models": [value.get("model", "fc2")]}.items():
            for name in names:
                assert (ROOT / "configs" / kind / f"{name}.yaml").is_file(), f"{kind}/{name}"
