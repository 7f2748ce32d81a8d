"""Data that change between the stages of a cell, and while one runs: what was measured on others is
due.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from kit.stages import (
    CELL,
    EVERYTHING,
    GRID,
    cell,
    due,
    grid,
    record,
    run_due,
    run_stages,
    write_data,
)  # fmt: skip

import ttfs.data
from ttfs.__main__ import main
from ttfs.errors import UserError
from ttfs.methods import kind
from ttfs.results.record import read, read_made, write
from ttfs.results.state import Expected
from ttfs.stages import cells

pytestmark = pytest.mark.xdist_group("training")  # one import of Lightning

DATA = Path("data/made.npz")
ANN, STUDY = CELL.format("ann"), "study studies/short"
CHIP = f"{CELL.format('b1-converted')}/hardware/weight_bits=4"
CHANGED, OTHER = "the files of its data set changed", "its record is of other data"


def relabel() -> None:
    """Give the images of the test split other labels."""
    with np.load(DATA) as file:
        arrays = dict(file)
    np.savez(DATA, **arrays | {"y_test": (arrays["y_test"] + 1) % 3})


def files(name: str) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in Path("results/cells").rglob(name)}


def test_another_test_split_is_measured_though_the_networks_are_the_same(little: Path, capsys):
    weights, before = files("weights.pt"), record("ann").metrics["accuracy"]
    relabel()
    makes = [words for words in EVERYTHING if words.startswith("make")]
    assert set(run_stages(makes).values()) == {0}
    assert files("weights.pt") == weights
    measured = set(EVERYTHING) - set(makes)
    assert due() == dict.fromkeys(measured - {STUDY}, OTHER) | {STUDY: CHANGED}
    capsys.readouterr()
    assert main(["why", GRID, CHIP]) == 0
    assert capsys.readouterr().out == f"deploy   {CHIP}: {OTHER}\n"
    assert main(["check", GRID, "--results"]) == 2
    faults = f"results/cells/{CHIP}: {OTHER}; run the workflow again\n"
    assert faults in capsys.readouterr().out
    assert main(["archive", GRID, "--mixed"]) == 2
    assert f"{ANN}: its record is out of date" in capsys.readouterr().err
    assert set(run_due().values()) == {0}
    assert due() == {}
    assert record("ann").metrics["accuracy"] < before
    assert main(["check", GRID, "--results"]) == 0


def test_a_record_without_a_digest_of_its_data_is_current(little: Path):
    now = record("ann")
    digests = {name: value for name, value in now.digests.items() if name != "data"}
    write(replace(now, digests=digests), cell("ann"))
    assert due() == {}


def test_a_network_is_not_loaded_with_data_that_its_record_is_not_of(little: Path):
    relabel()
    for folder in (cell("ann"), cell("b1-converted", "weight_bits=4")):
        with pytest.raises(UserError, match="other data than there are now; run the workflow"):
            ttfs.load(folder)
    assert run_stages([f"make {ANN}"]) == {f"make {ANN}": 0}
    with pytest.raises(UserError, match=f"{OTHER}; run the workflow again"):
        ttfs.load(cell("ann"))


def replacing(work: Callable) -> Callable:
    """The work, during which the data are replaced once."""
    left = [1]

    def working(*words: object) -> object:
        result = work(*words)
        if left:
            write_data(DATA, seed=left.pop())
        return result

    return working


def test_data_that_are_replaced_during_a_training_are_learned(fresh: Path, monkeypatch):
    own = type(kind("relu"))
    monkeypatch.setattr(own, "make", replacing(own.make))
    assert run_stages([f"make {ANN}"]) == {f"make {ANN}": 0}
    old = read_made(cell("ann"))
    assert due()[f"make {ANN}"] == CHANGED
    assert set(run_due().values()) == {0}
    assert due() == {}
    assert record("ann").digests["data"] == read_made(cell("ann")).data != old.data


@pytest.mark.parametrize("method", ["ann", "b1-converted"])
def test_data_that_are_replaced_as_they_were_read_are_seen(little: Path, monkeypatch, method: str):
    (cell(method) / "made.json").unlink()
    monkeypatch.setattr("ttfs.data.load", replacing(ttfs.data.load))
    words = f"make {CELL.format(method)}"
    assert run_stages([words]) == {words: 0}
    assert read_made(cell(method)).stamp != Expected(grid()).stamp(grid().find(ANN))


def test_data_that_are_replaced_during_a_study_are_studied(fresh: Path, monkeypatch):
    from ttfs.studies import trajectory

    monkeypatch.setattr(trajectory, "trajectory", replacing(trajectory.trajectory))
    assert run_stages([STUDY]) == {STUDY: 0}
    path = Path("results/cells/studies/short/record.json")
    old = read(path)
    assert due()[STUDY] == CHANGED
    assert run_stages([STUDY]) == {STUDY: 0}
    assert STUDY not in due()
    assert read(path).digests["data"] != old.digests["data"]


def test_data_that_are_downloaded_are_stamped_as_they_are_then(fresh: Path):
    DATA.unlink()
    job = cells.task("make", grid(), grid().find(ANN))
    _, stamp = cells._stamped(lambda: write_data(DATA), job, Expected(grid()))  # type: ignore
    assert stamp == Expected(grid()).stamp(job.cell) is not None


def test_a_network_of_other_data_is_made_anew_whatever_its_stamp_says(little: Path, capsys):
    """Data of the same files may be others: another version of a library decodes them."""
    write_data(DATA, seed=1)
    for method in ("ann", "b1-converted"):
        now = Expected(grid()).stamp(grid().find(ANN))
        made = replace(read_made(cell(method)), stamp=now)
        (cell(method) / "made.json").write_text(made.to_json())
    (cell("ann") / "record.json").unlink()
    assert f"make {ANN}" not in due()
    assert run_stages([f"evaluate {ANN}"]) == {f"evaluate {ANN}": 2}
    assert "made with other data than there are now" in capsys.readouterr().err
    assert due()[f"make {ANN}"] == CHANGED
    assert set(run_due().values()) == {0}
    assert due() == {}
    assert read_made(cell("ann")).data == read_made(cell("b1-converted")).data
