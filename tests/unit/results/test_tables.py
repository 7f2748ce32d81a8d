"""Tables: right numbers, failures in view, the same bytes from the same records."""

import csv
import random
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from kit.records import grid, made_up, records, results, with_values

from ttfs.config import Variant, find, known, read_named
from ttfs.errors import UserError
from ttfs.metrics import METRICS
from ttfs.results import frame, page, record, tables
from ttfs.results.frame import Results, cells, collect, summary

PAPER = {
    "work": "A et al. 2020",
    "source": "abstract",
    "values": [
        {"datasets": ["digits"], "metric": "accuracy", "value": 97.0},
        {"datasets": ["digits"], "model": "fc8", "metric": "accuracy", "value": 99.0},
        {"datasets": ["mnist"], "metric": "accuracy", "value": 99.5},
        {
            "datasets": ["digits"],
            "model": "fc2",
            "method": "ann",
            "metric": "accuracy",
            "value": 98.5,
        },
        {"datasets": ["digits"], "metric": "spikes_per_neuron", "value": 0.3, "relation": "below"},
        {"datasets": ["digits"], "metric": "early_fire_rate", "value": 0.0},
    ],
}
FILES = [
    "cells.csv",
    "classes.csv",
    "hardware.csv",
    "hardware.md",
    "hardware.tex",
    "layers.csv",
    "published.csv",
    "published.md",
    "published.tex",
    "sparsity.csv",
    "steps.csv",
    "summary.csv",
    "summary.md",
    "summary.tex",
]  # fmt: skip


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def write(found: Results, folder: Path, published: bool = True) -> Path:
    found.grid.published[:] = [PAPER] if published else []
    tables.write(found, folder)
    return folder


@pytest.fixture
def written(tmp_path: Path) -> Path:
    return write(results(), tmp_path / "tables")


def test_every_table_is_written(written: Path):
    assert sorted(path.name for path in written.iterdir()) == FILES


def test_cells_have_one_row_each_failures_too(written: Path):
    cells = rows(written / "cells.csv")
    assert [(cell["method"], cell["seed"], cell["status"]) for cell in cells] == [
        ("ann", "0", "ok"), ("ann", "1", "ok"), ("ann", "2", "ok"),
        ("b1-converted", "0", "ok"), ("b1-converted", "1", "ok"), ("b1-converted", "2", "failed"),
    ]  # fmt: skip
    assert cells[0]["spikes_per_neuron"] == ""
    assert cells[5]["accuracy"] == ""
    assert cells[5]["error"] == "evaluate: layer layers.2: off by 0.1 Tolerance 1e-4"


def test_summary_by_hand(written: Path):
    ann, snn = rows(written / "summary.csv")
    assert (ann["method"], ann["n"], ann["seeds"]) == ("ann", "3", "3")
    assert (ann["accuracy_mean"], ann["accuracy_std"]) == ("97", "1")  # of 98, 97, 96
    assert (snn["method"], snn["n"], snn["seeds"]) == ("b1-converted", "2", "3")
    assert (snn["accuracy_mean"], snn["accuracy_std"]) == ("97.5", "0.7071067812")  # of 98, 97
    assert snn["logit_difference_max"] == "2e-06"
    assert (snn["energy_mean"], snn["energy_std"]) == ("0.1", "0")
    assert (snn["accuracy_minus_reference_mean"], snn["accuracy_minus_reference_std"]) == (
        "0",
        "0",
    )  # seed by seed
    assert ann["accuracy_minus_reference_mean"] == ""


def test_summary_shows_reference_spread_and_failure(written: Path):
    text = (written / "summary.md").read_text()
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()[:4]]
    ann, snn = (dict(zip(lines[0], line, strict=True)) for line in lines[2:])
    assert list(ann.values())[:6] == ["digits", "fc2", "ann", "3", "97.00 ± 1.00", "–"]
    assert list(snn.values())[:6] == [
        "digits",
        "fc2",
        "b1-converted",
        "2 of 3",
        "97.50 ± 0.71",
        "+0.00 ± 0.00",
    ]
    assert "Difference to ann [points]" in ann
    assert snn["Largest relative logit difference ↓"] == "2.0e-06"
    assert snn["Spikes per neuron ↓"] == "0.450 ± 0.071"
    assert (
        "Failed:\n\n- digits/fc2/b1-converted/seed2: evaluate: layer layers.2: off by 0.1 "
        "Tolerance 1e-4\n" in text
    )
    assert "Versions of the code, with the records of each: 0123456 (6)." in text


def test_stale_records_are_named_with_the_reason(tmp_path: Path):
    stale = {"digits/fc2/ann/seed1": "its code changed"}
    write(Results(grid(), records(), stale), tmp_path)
    text = (tmp_path / "summary.md").read_text()
    assert (
        "Not of today's configuration, code or data:\n\n- digits/fc2/ann/seed1: its code changed\n"
        in text
    )


def test_one_seed_has_no_spread(tmp_path: Path):
    write(results([made_up(), made_up("b1-converted")]), tmp_path)
    assert "±" not in "".join((tmp_path / "summary.md").read_text().splitlines()[2:4])
    assert [row["accuracy_std"] for row in rows(tmp_path / "summary.csv")] == ["", ""]


def test_a_metric_that_some_cells_lack_is_not_averaged():
    found = results(
        [made_up("b1-converted"), with_values(made_up("b1-converted", seed=1), energy=None)]
    )
    summary = frame.summary(found, frame.cells(found))
    assert summary["energy_mean"].isna().all()
    assert summary["accuracy_mean"].tolist() == [97.5]


def test_all_failed(tmp_path: Path):
    write(results([made_up(seed=seed, error="boom") for seed in range(2)]), tmp_path)
    text = (tmp_path / "summary.md").read_text()
    assert "0 of 2" in text
    assert text.count("boom") == 2
    assert "No published value" in (tmp_path / "published.md").read_text()


def test_layers_come_in_order_of_depth(written: Path):
    layers = rows(written / "layers.csv")
    assert [(row["layer"], row["neurons_mean"], row["n"], row["t_min_mean"]) for row in layers] == [
        ("layers.2", "30", "2", "1"),
        ("layers.10", "20", "2", "3"),
    ]
    assert layers[0]["spikes_per_neuron_mean"] == "0.45"


def test_classes_have_their_own_accuracy(written: Path):
    found = {
        (row["method"], row["class"]): (row["n"], row["accuracy_mean"])
        for row in rows(written / "classes.csv")
    }
    assert found == {
        ("ann", "0"): ("3", "99"), ("ann", "1"): ("3", "95"),
        ("b1-converted", "0"): ("2", "99.5"), ("b1-converted", "1"): ("2", "95.5"),
    }  # fmt: skip


def test_what_varies_is_a_column(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from ttfs.config import load_grid

    monkeypatch.chdir(tmp_path)
    Path("axes.yaml").write_text(
        "datasets: [digits]\nmodels: [fc2]\nseeds: [0]\n"
        "methods: [ann, {method: b1-scratch, over: {activity_l1: [0.0, 2.0e-3]}}]\n"
    )
    own = load_grid("axes.yaml")
    found = Results(own, [made_up(method) for method in own.methods])
    values = {row["method"]: row["activity_l1"] for row in frame.cells(found).to_dict("records")}
    assert values == {"ann": "0", "b1-scratch": "0", "b1-scratch+activity_l1=2e-3": "2e-3"}


def test_published_values_stand_beside_the_rows_they_are_for(written: Path):
    found = rows(written / "published.csv")
    assert [
        (row["metric"], row["method"], row["published"], row["ours_mean"], row["n"])
        for row in found
    ] == [
        ("accuracy", "b1-converted", "97", "97.5", "2"),
        ("accuracy", "ann", "98.5", "97", "3"),
        ("spikes_per_neuron", "b1-converted", "0.3", "0.45", "2"),
    ]
    assert [float(row["difference"]) for row in found] == pytest.approx([0.5, -1.5, 0.15])
    text = (written / "published.md").read_text()
    assert "| < 0.3" in text
    assert "A et al. 2020 (abstract)" in text


def test_same_records_in_any_order_give_the_same_bytes(written: Path, tmp_path: Path):
    shuffled = records()
    random.Random(0).shuffle(shuffled)
    assert shuffled != records()
    write(results(shuffled), tmp_path / "again")
    for name in FILES:
        assert (tmp_path / "again" / name).read_bytes() == (written / name).read_bytes()


def store(folder: Path, found: list) -> None:
    for one in found:
        record.write(one, folder / one.name)


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    store(Path("kept"), records())
    return tmp_path


def test_collect_takes_success_before_failure_and_whole_files_alone(stored: Path):
    folder = Path("kept", made_up().name)
    (folder / "failure.json").write_text(made_up(error="an earlier attempt").to_json())
    (folder / ".record.json.99.tmp").write_text("{")
    found = collect(grid(), Path("kept"))
    assert [one.name for one in found.records] == [cell.name for cell in grid().cells]
    assert [one.status for one in found.records] == ["ok", "ok", "ok", "ok", "ok", "failed"]
    assert found.stale == {}


def test_collect_leaves_out_what_the_grid_does_not_list(stored: Path):
    found = collect(grid(["ann"]), Path("kept"))
    assert [one.ids["method"] for one in found.records] == ["ann"] * 3


def test_collect_refuses_the_record_of_another_cell(stored: Path):
    store(Path("kept"), [])
    Path("kept", made_up().name, "record.json").write_text(made_up(seed=1).to_json())
    with pytest.raises(UserError, match="is the record of digits/fc2/ann/seed1"):
        collect(grid(), Path("kept"))


def test_nothing_to_collect_says_what_to_run(stored: Path):
    with pytest.raises(
        UserError, match="grid tiny: no records of its cells; run the workflow first"
    ):
        collect(grid(), Path("nowhere"))


def test_signs_that_latex_reads_as_commands_are_text():
    lines = tables.latex(["A & B", "Cost [$]"], [["{50 %}", "a_b#1"], ["c\\d", "e & f"]])
    assert lines[2] == r"A \& B & Cost [\$] \\"
    assert lines[4] == r"\{50 \%\} & a\_b\#1 \\"
    assert lines[5] == r"c\textbackslash{}d & e \& f \\"


def test_bars_and_tildes_of_names_are_text_in_markdown_and_latex(tmp_path: Path):
    name = "b1-converted+source=ann~epochs=9~seed=1"
    value = {"datasets": ["digits"], "metric": "synaptic_operations", "value": 1234567.8}
    work = {"work": "A | B", "source": "page 7~8", "values": [value | {"network": "784|600"}]}
    found = Results(
        replace(grid([name]), published=[work]),
        [made_up(name), made_up(name, seed=1, error="boom")],
    )
    tables.write(found, tmp_path)
    texts = {path.name: path.read_text() for path in tmp_path.iterdir()}
    [row] = [line for line in texts["published.md"].splitlines() if "digits" in line]
    cells = [cell.strip() for cell in row.replace(r"\|", "bar").split("|")[1:-1]]
    tilde = name.replace("~", r"\~")
    assert cells[2:5] == [r"A bar B (page 7\~8)", "784bar600", "1,234,567.8"]
    assert cells[6] == tilde
    assert f"| {tilde} |" in texts["summary.md"]
    assert f"- digits/fc2/{tilde}/seed1: boom\n" in texts["summary.md"]
    assert f"% - digits/fc2/{name}/seed1: boom\n" in texts["summary.tex"]
    [row] = [line for line in texts["published.tex"].splitlines() if "page 7" in line]
    assert row.count("&") == 9
    assert row.split(" & ")[2:4] == [r"A $|$ B (page 7\~{}8)", "784$|$600"]
    assert name in texts["summary.csv"]


@pytest.mark.parametrize("name", known("published"))
def test_published_values_are_of_known_metrics_data_sets_and_networks(name: str):
    for value in read_named("published", name, "a test")["values"]:
        assert value["metric"] in METRICS
        places = [("dataset", one) for one in value["datasets"]]
        places += [(noun, value[noun]) for noun in ("model", "method") if noun in value]
        assert [place for place in places if find(*place) is None] == []


def test_of_equally_accurate_networks_the_best_has_the_fewest_spikes():
    table = pd.DataFrame(
        {
            "method": ["ann", "dense", "sparse", "sparser"],
            "accuracy_mean": [99.0, 98.0, 98.0, 97.0],
            "spikes_per_neuron_mean": [float("nan"), 0.5, 0.2, 0.1],
        }
    )
    chosen = frame.best(table)
    assert chosen is not None
    assert chosen["method"] == "sparse"


def test_a_varied_key_with_the_name_of_a_metric_is_the_column(tmp_path: Path, monkeypatch):
    """`neurons` is an option of stdp, and a metric."""
    monkeypatch.chdir(tmp_path)
    names = {f"ann+neurons={n}": n for n in (50, 60)}
    methods = {
        name: Variant(name, {"id": "ann", "kind": "relu", "neurons": n}, ("neurons",))
        for name, n in names.items()
    }
    records = [with_values(made_up(name), neurons=float(n)) for name, n in names.items()]
    found = Results(replace(grid(), methods=methods), records)
    table = summary(found, cells(found))
    assert list(table["neurons"]) == ["50", "60"]
    assert "neurons_mean" not in table
    tables.write(found, tmp_path / "tables")
    page.write(found, tmp_path)
    [row] = [r for r in (tmp_path / "tables/summary.md").read_text().splitlines() if "=60" in r]
    assert [word.strip() for word in row.split("|")[3:6]] == ["ann+neurons=60", "60", "1"]
