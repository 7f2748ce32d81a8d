"""explain, compare, reproduce, why: where a number comes from, and the number again."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from kit.records import made_up, with_values
from kit.stages import EVERYTHING, grid, run_due, run_stages, write_data

import ttfs
from ttfs.__main__ import main
from ttfs.config import SHIPPED, STORE
from ttfs.results.record import RECORD, dimensions, read, write
from ttfs.stages.compare import differing
from ttfs.stages.lookup import PUBLISHED

GRID = "configs/little.yaml"
ANN, B1 = "made/little/ann/seed0", "made/little/b1-converted/seed0"
CHIP = f"{B1}/hardware/weight_bits=4"


def said(capsys: pytest.CaptureFixture, *words: str) -> str:
    assert main(list(words)) == 0
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture, *words: str) -> str:
    assert main(list(words)) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_explain_says_where_a_record_comes_from(little: Path, capsys):
    record = read(STORE / B1 / RECORD)
    text = said(capsys, "explain", B1)
    assert text.splitlines()[0] == B1
    assert f"({record.metrics['accuracy']!r})" in text
    assert f"data: digest {record.digests['data']}" in text
    assert f"make: commit {record.provenance['make'].git_commit}" in text
    assert "  method.source: ann\n" in text
    assert text.splitlines()[-1] == f"the same numbers again: ttfs reproduce {GRID} {B1}"
    assert said(capsys, "explain", str(STORE / B1)) == text
    assert said(capsys, "explain", str(STORE / B1 / RECORD)) == text


def test_explain_finds_the_records_of_a_number(little: Path, capsys, monkeypatch):
    spikes = read(STORE / B1 / RECORD).metrics["spikes_per_neuron"]
    text = said(capsys, "explain", f"{spikes:.5f}")
    assert f"{STORE / B1}: spikes_per_neuron {spikes!r}\n" in text
    monkeypatch.setattr("ttfs.stages.explain.MATCHES", 1000)
    accuracy = read(STORE / CHIP / RECORD).value("accuracy", network="ttfs", draw=0)
    text = said(capsys, "explain", f"{accuracy:.2f}")
    assert f"{STORE / CHIP}: accuracy network=ttfs draw=0 {accuracy!r}\n" in text
    assert "no record has this number" in refused(capsys, "explain", "123.456")
    assert "no record, cell, grid or commit" in refused(capsys, "explain", "nothing")


def test_explain_reads_numbers_with_exponents(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    record = with_values(made_up(), logit_difference=7.13e-7, synaptic_operations=123456.0)
    write(record, STORE / record.name)
    for number, found in (
        ("7.1e-07", "logit_difference 7.13e-07"), ("1.23e5", "synaptic_operations 123456.0"),
    ):  # fmt: skip
        assert f"{STORE / record.name}: {found}\n" in said(capsys, "explain", number)
    for number in ("7.2e-07", "1.24e5"):
        assert "no record has this number" in refused(capsys, "explain", number)
    assert "no record, cell, grid or commit" in refused(capsys, "explain", "nan")


def test_explain_reads_numbers_as_tables_print_them(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    record = with_values(made_up(), synaptic_operations=87935434.0)
    write(record, STORE / record.name)
    line = f"{STORE / record.name}: synaptic_operations 87935434.0\n"
    for number in ("87,935,434", "87935434", "87,935,434.0"):
        assert line in said(capsys, "explain", number)
    for text in ("87_935_434", "8,7935,434", "87935,434", ",434"):
        assert "no record, cell, grid or commit" in refused(capsys, "explain", text)


def test_explain_prints_numbers_of_studies_chips_and_classes(little: Path, capsys):
    for name in (CHIP, "studies/short"):
        text = said(capsys, "explain", name)
        for row in read(STORE / name / RECORD).rows:
            place = " ".join(f"{key}={value}" for key, value in dimensions(row).items())
            assert (f" {place}: " in text) == (row["metric"] != "confusion")
    assert "Accuracy [%] ↑ class=0: " in said(capsys, "explain", B1)


def test_the_command_of_explain_makes_the_same_numbers(little: Path, capsys):
    command = said(capsys, "explain", B1).splitlines()[-1].rpartition("ttfs ")[2]
    before = {path: path.stat().st_mtime_ns for path in little.rglob("*") if path.is_file()}
    text = said(capsys, *command.split())
    count = len(read(STORE / B1 / RECORD).rows)
    assert f"{B1}: all {count} numbers are the record's, bit for bit" in text
    after = {path: path.stat().st_mtime_ns for path in little.rglob("*") if path.is_file()}
    assert before == {path: after[path] for path in before}

    record = read(STORE / B1 / RECORD)
    accuracy = record.metrics["accuracy"]
    write(with_values(record, accuracy=accuracy + 1e-9), STORE / B1)
    assert main(command.split()) == 1
    text = capsys.readouterr().out
    assert text.startswith(f"accuracy {accuracy + 1e-9!r} → {accuracy!r}\n")
    assert f"1 of {count} numbers differ" in text


def test_a_failure_is_not_made_again(little: Path, capsys):
    record = read(STORE / B1 / RECORD)
    (STORE / B1 / RECORD).unlink()
    write(replace(record, rows=(), error="evaluate: no memory"), STORE / B1)
    assert main(["reproduce", GRID, B1]) == 2
    assert (
        "its record is of a failure (evaluate: no memory); run it first" in capsys.readouterr().err
    )


def test_explain_says_that_numbers_may_differ_and_has_the_code_of_then(little: Path, capsys):
    assert "since then" not in said(capsys, "explain", CHIP)
    chip, network = read(STORE / CHIP / RECORD), read(STORE / B1 / RECORD)
    commit = chip.provenance["deploy"].git_commit or ""
    folder = PUBLISHED / "cells" / CHIP
    write(replace(chip, digests=chip.digests | {"stage": "of-then", "code": "of-then"}), folder)
    lines = said(capsys, "explain", f"{folder}/{RECORD}").splitlines()[-2:]
    then = f"; the code of then: git worktree add ../ttfs-{commit[:7]} {commit[:7]}"
    assert lines == [
        f"since then: its code changed, so numbers may differ{then if commit else ''}",
        f"made again: ttfs reproduce {GRID} {CHIP}",
    ]
    write(replace(network, digests=network.digests | {"weights": "others"}), STORE / B1)
    assert (
        f"since then: {B1} is another network, so numbers will differ\n"
        in said(capsys, "explain", CHIP)
    )  # fmt: skip


def test_explain_says_what_is_due_of_a_number(little: Path, capsys):
    """Its configuration and code are those of then, but not all that it builds on."""
    old = STORE / B1 / "history" / "old.json"
    old.parent.mkdir()
    shutil.copy(STORE / B1 / RECORD, old)
    assert "since then" not in said(capsys, "explain", str(old))
    write_data(Path("data/made.npz"), seed=1)
    changed = f"make {ANN} is due (the files of its data set changed)"
    for name in (B1, CHIP, f"{STORE / B1 / RECORD}"):
        since, again = said(capsys, "explain", name).splitlines()[-2:]
        assert since == f"since then: {changed}, so numbers may differ"
        assert again.startswith("made again: ttfs reproduce ")
    since = "since then: study studies/short is due (the files of its data set changed), so "
    assert since in said(capsys, "explain", "studies/short")
    makes = [words for words in EVERYTHING if words.startswith("make")]
    assert set(run_stages(makes).values()) == {0}
    due = f"evaluate {B1} is due (its record is of another network)"
    assert f"since then: {due}, so " in said(capsys, "explain", B1)
    assert set(run_due().values()) == {0}
    assert "since then" not in said(capsys, "explain", B1)
    since = "since then: the cell has other weights and data, so numbers may differ\n"
    assert since in said(capsys, "explain", str(old))


def test_the_code_of_then_is_that_of_the_last_stage(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    record = made_up()
    now = record.provenance["make"]
    parts = {
        "make": replace(now, git_commit="f" * 40, finished="2026-01-01T00:00:00+00:00"),
        "evaluate": replace(now, git_commit="a" * 40, finished="2026-01-02T00:00:00+00:00"),
    }
    write(replace(record, provenance=parts), STORE / record.name)
    then = "git worktree add ../ttfs-aaaaaaa aaaaaaa\n"
    assert then in said(capsys, "explain", record.name)


def test_records_behind_links_are_found_by_number_and_commit(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    record = made_up()
    chip = replace(record, ids={**record.ids, "hardware": "jitter=0.1"})
    for one in (record, chip):
        write(one, tmp_path / "disk" / one.name)
    STORE.mkdir(parents=True)
    (STORE / "digits").symlink_to(tmp_path / "disk" / "digits")
    text = said(capsys, "explain", "98.0")
    assert all(f"{STORE / one.name}: accuracy 98.0\n" in text for one in (record, chip))
    last = replace(record.provenance["make"], git_commit="f" * 40)
    write(replace(record, provenance={"make": last}), STORE / record.name)  # the other: in history
    commit = str(record.provenance["make"].git_commit)[:9]
    assert said(capsys, "compare", commit, commit).startswith("2 cells in both, 0 with other")


def test_reproduce_that_is_asked_to_end_leaves_nothing(little: Path, tmp_path: Path):
    places = tmp_path / "places"
    places.mkdir()
    command = [sys.executable, "-m", "ttfs", "reproduce", GRID, B1]
    mine = {"TMPDIR": str(places), "PYTHONPATH": str(Path(ttfs.__file__).parents[1])}
    child = subprocess.Popen(command, env=os.environ | mine, stderr=subprocess.PIPE)
    end = time.monotonic() + 60
    while not list(places.glob(f"ttfs-*/{STORE}/{ANN}/.lock")):
        assert time.monotonic() < end
        time.sleep(0.02)
    child.terminate()
    _, error = child.communicate(timeout=60)
    assert child.returncode == 128 + signal.SIGTERM
    assert b"Traceback" not in error
    assert list(places.glob("ttfs-*")) == []


def test_numbers_that_differ_in_late_digits_are_shown_in_full():
    old, new = {"accuracy": 98.7, "energy": 1 / 3}, {"accuracy": 98.7 + 2e-14, "energy": 0.5}
    assert differing(old, new) == [
        "accuracy 98.7 → 98.70000000000002", "energy 0.3333333333 → 0.5"
    ]  # fmt: skip


def test_numbers_that_a_record_has_not_are_no_differences(little: Path, capsys):
    record = read(STORE / B1 / RECORD)
    fewer = [row for row in record.rows if row["metric"] != "agreement"]
    write(replace(record, rows=tuple(fewer)), STORE / B1)
    text = said(capsys, "reproduce", GRID, B1)
    verdict = f"all {len(fewer)} numbers are the record's, bit for bit; 1 more not in it"
    assert text.startswith(f"{B1}: {verdict}\norigin: ")


NETS = """
import torch
from torch import nn

class Net(nn.Sequential):
    def __init__(self, shape, classes):
        super().__init__(nn.Flatten(), nn.Linear(torch.Size(shape).numel(), classes))
"""


def test_a_network_of_a_module_in_the_working_directory_is_made_anew(
    fresh: Path, monkeypatch, capsys
):
    monkeypatch.setattr(sys, "path", [*sys.path])  # where the module is added
    module = fresh / "nets_made_anew.py"
    module.write_text(NETS)
    (fresh / "configs/models/mine.yaml").write_text(f"title: Mine\nmodule: {module.stem}:Net\n")
    path = "configs/mine.yaml"
    (fresh / path).write_text("datasets: [made]\nmodels: [mine]\nmethods: [ann]\nseeds: [0]\n")
    assert set(run_due(path).values()) == {0}
    cell = "made/mine/ann/seed0"
    assert "the record's, bit for bit" in said(capsys, "reproduce", path, cell)
    module.write_text("class Other: pass\n")
    assert main(["reproduce", path, cell]) == 2
    reason = f"make: model 'mine', key 'module': {module.stem}:Net: "
    assert f"error: {cell}, made anew: {reason}" in capsys.readouterr().err


def test_shipped_grids_are_named_and_found_as_those_of_the_working_directory(
    tmp_path: Path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    record = made_up()
    write(record, STORE / record.name)
    for name in ("quick", "configs/quick.yaml"):
        assert "numbers: all equal" in said(capsys, "compare", name, record.name)
    found = said(capsys, "explain", record.name).splitlines()[-1].split()[-2:]
    assert (Path(found[0]).parent, found[1]) == (SHIPPED / "configs", record.name)
    (tmp_path / "results/quick").mkdir()
    (tmp_path / "results/quick/.grid").write_text("quick\n")
    ran = said(capsys, "explain", record.name).splitlines()[-1].split()[-2]
    assert Path(ran) == SHIPPED / "configs" / "quick.yaml"
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/aaa.yaml").write_text("seed: [0]\n")  # a typo, in a grid of others
    assert said(capsys, "explain", record.name).splitlines()[-1].split()[-2] == ran
    strange = said(capsys, "explain", _stranger(tmp_path))
    assert "98.00 (98.0)" in strange
    assert "no grid of configs/" in strange.splitlines()[-1]


def _stranger(folder: Path) -> str:
    """Write the record of a cell that no grid has."""
    record = made_up(method="nothing")
    write(record, folder / STORE / record.name)
    return record.name


def test_of_two_records_of_a_commit_the_one_of_the_run_is_taken(
    tmp_path: Path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    record = made_up()
    write(record, STORE / record.name)
    write(with_values(record, accuracy=1.0), PUBLISHED / "cells" / record.name)
    commit = str(record.provenance["make"].git_commit)
    assert "numbers: all equal" in said(capsys, "compare", commit[:9], record.name)
    torn = STORE / record.name / "history" / "torn.json"
    torn.parent.mkdir()
    torn.write_text("{")
    assert main(["compare", commit[:9], record.name]) == 0
    read_out = capsys.readouterr()
    assert "numbers: all equal" in read_out.out
    assert f"warning: {torn}: not a readable record" in read_out.err


def test_compare_says_how_two_records_differ(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    first = made_up("ann", 0)
    write(first, STORE / first.name)
    train = {**first.config["method"]["train"], "epochs": 6}
    second = with_values(
        made_up("ann", 1), config={"method": {"train": train}, "seed": 1}, accuracy=98.0
    )
    write(second, STORE / second.name)
    text = said(capsys, "compare", first.name, second.name)
    assert "accuracy class=0 100 → 99" in text
    assert "accuracy 98" not in text
    assert "configuration: method.train.epochs 3 → 6, seed 0 → 1" in text
    assert "data: equal" in text
    assert "numbers: all equal" in said(capsys, "compare", first.name, first.name)


def test_compare_joins_grids_and_commits_by_cell(little: Path, capsys):
    record = read(STORE / ANN / RECORD)
    commit = str(record.provenance["make"].git_commit)[:9]
    count = len(grid().every)
    for name in (GRID, commit):
        both = f"{count} cells in both, 0 with other numbers; 0 only in {GRID}, 0 only in {name}\n"
        assert said(capsys, "compare", GRID, name) == both
    other = replace(record.provenance["evaluate"], git_commit="f" * 40)
    provenance = dict.fromkeys(record.provenance, other)
    write(replace(with_values(record, accuracy=1.0), provenance=provenance), STORE / ANN)
    shutil.rmtree(STORE / "studies")
    assert said(capsys, "compare", GRID, commit) == (
        f"{ANN}: accuracy 1 → {record.metrics['accuracy']:.10g}\n"
        f"{count - 1} cells in both, 1 with other numbers; 0 only in {GRID}, 0 only in {commit}\n"
    )


def test_why_answers_for_one_cell(little: Path, capsys):
    assert said(capsys, "why", GRID, B1).startswith(f"{B1} is up to date")
    path = Path("configs/datasets/made.yaml")
    path.write_text(path.read_text().replace("epochs: 6", "epochs: 7"))
    answer = said(capsys, "why", GRID, ANN)
    assert re.match(rf"make +{ANN}: method.train.epochs 6 → 7\n", answer)
    assert B1 not in answer
    assert "has no cell 'nothing'" in refused(capsys, "why", GRID, "nothing")
