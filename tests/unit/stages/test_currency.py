"""When a cell is current: files, records, configuration, data and source; the next run makes anew
what is not.
"""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from kit.stages import (
    CELL,
    EVERYTHING,
    GRID,
    cell,
    due,
    edit,
    grid,
    run_due,
    run_stages,
    times,
    write_data,
)  # fmt: skip

from ttfs.__main__ import main
from ttfs.config import Cell, Variant
from ttfs.results.figures import curves_of
from ttfs.results.frame import collect
from ttfs.results.record import file_entry, read_made
from ttfs.results.state import Expected, State
from ttfs.results.tracking.runs import entries

pytestmark = pytest.mark.xdist_group("training")  # one import of Lightning

ANN, B1, ALPHA1 = (CELL.format(method) for method in ("ann", "b1-converted", "alpha1-converted"))
TUNED = CELL.format("b1-finetuned")
CHIP, TRAINED_CHIP = f"{B1}/hardware/weight_bits=4", f"{B1}/hardware/jitter=0.1+tuning.epochs=1"
NETWORKS = {words for words in EVERYTHING if not words.startswith("study")}
STUDY = "study studies/short"
OF_B1 = {words for words in NETWORKS if "/b1-" in words}


def test_points_of_one_data_file_have_stamps_of_their_own(little: Path):
    write_data(little / "data" / "other.npz", seed=1)
    files = ("made.npz", "other.npz")
    points = {name: Variant(name, {"id": "made", "source": {"npz": name}}) for name in files}
    both = replace(grid(), datasets=points)
    cells = [Cell(name, "little", "ann", 0) for name in points]
    together = Expected(both)
    stamps = [together.stamp(one) for one in cells]
    assert stamps == [Expected(both).stamp(one) for one in cells]
    assert len(set(stamps)) == 2


def remove(method: str, name: str, hardware: str = "") -> Callable[[], None]:
    return lambda: (cell(method, hardware) / name).unlink()


def change(method: str, name: str, hardware: str = "") -> Callable[[], None]:
    """Turn a digit of a file; its size stays."""

    def turn() -> None:
        path = cell(method, hardware) / name
        content = bytearray(path.read_bytes())
        place = max(content.rfind(digit) for digit in b"123456789")
        content[place] = ord("0")
        path.write_bytes(content)

    return turn


def append(method: str, name: str) -> Callable[[], None]:
    def longer() -> None:
        with (cell(method) / name).open("a") as file:
            file.write("\n")

    return longer


def swap(name: str) -> Callable[[], None]:
    """Put a file of another cell in the place of a cell's own."""
    return lambda: shutil.copy(cell("alpha1-converted") / name, cell("b1-converted") / name)


def fail(method: str) -> Callable[[], None]:
    """Leave a cell as a failed stage does."""

    def failed() -> None:
        record = cell(method) / "record.json"
        record.rename(record.with_name("failure.json"))

    return failed


@pytest.mark.parametrize(
    ("spoil", "again", "why"),
    [
        (remove("ann", "record.json"), {f"evaluate {ANN}"}, "it has no record"),
        (change("ann", "record.json"), {f"evaluate {ANN}"}, "it was changed since it was written"),
        (swap("record.json"), {f"evaluate {B1}"}, f"is the record of {ALPHA1}"),
        (fail("b1-converted"), {f"evaluate {B1}"}, "it failed"),
        (remove("ann", "curve.csv"), NETWORKS, "curve.csv is missing"),
        (append("ann", "curve.csv"), NETWORKS, "curve.csv was changed since it was made"),
        (remove("ann", "weights.pt"), NETWORKS, "weights.pt is missing"),
        (append("b1-converted", "weights.pt"), OF_B1, "weights.pt was changed since it was made"),
        (remove("b1-converted", "made.json"), OF_B1, "it is not made yet"),
        (change("b1-converted", "made.json"), OF_B1, "it was changed since it was written"),
        (swap("made.json"), OF_B1, "method."),
        (remove("b1-converted", "record.json", "weight_bits=4"), {f"deploy {CHIP}"}, "no record"),
        (
            change("b1-converted", "record.json", "weight_bits=4"), {f"deploy {CHIP}"},
            "it was changed since it was written",
        ),
        (
            remove("b1-converted", "weights.pt", "jitter=0.1+tuning.epochs=1"),
            {f"deploy {TRAINED_CHIP}"}, "weights.pt is missing",
        ),
        (
            lambda: Path("results/cells/studies/short/table.csv").unlink(), {STUDY},
            "table.csv is missing",
        ),
        (lambda: Path("results/cells/studies/short/record.json").unlink(), {STUDY}, "no record"),
        (lambda: shutil.rmtree("results/cells/made/little/ann"), NETWORKS, "it is not made yet"),
    ],
    ids=[
        "no record", "edited record", "another's record", "failure", "no curve", "edited curve",
        "no weights", "longer weights", "no made.json", "edited made.json", "another's made.json",
        "no record on a chip", "edited record on a chip", "no weights on a chip", "no table",
        "no record of a study",
        "no cell",
    ],
)  # fmt: skip
def test_what_is_spoiled_is_made_again_and_nothing_else(
    little: Path, spoil: Callable[[], object], again: set[str], why: str
):
    assert due() == {}
    tables = measured()
    spoil()
    found = due()
    assert set(found) == again
    assert why in next(iter(found.values()))
    before = times()
    assert run_due() == dict.fromkeys(found, 0)
    assert due() == {}
    assert measured() == tables
    after = times()
    rewritten = {name for name in after if after[name] != before.get(name)}
    cells = {words.split()[1] for words in again}
    assert all(any(name.startswith(f"{one}/") for one in cells) for name in rewritten)


def measured() -> dict[str, list]:
    """{file: rows} of all records."""
    paths = sorted(Path("results/cells").rglob("record.json"))
    return {str(path): json.loads(path.read_text())["rows"] for path in paths}


@pytest.mark.parametrize("name", ["weights.pt", "curve.csv"])
def test_a_file_changed_by_hand_is_made_again_and_marked_meanwhile(little: Path, name: str):
    path = cell("ann") / name
    content = bytearray(path.read_bytes())
    content[-3 if name == "curve.csv" else len(content) // 2] ^= 1
    path.write_bytes(content)
    why = f"{name} was changed since it was made"
    assert due()[f"make {ANN}"] == why
    assert main(["tables", GRID]) == 0
    said = Path("results/little/tables/summary.md").read_text(encoding="utf-8")
    assert f"- {ANN}: {why}\n" in said
    curves = curves_of(collect(grid()))
    assert ("ann" in set(curves["method"])) == (name != "curve.csv")
    assert set(run_due().values()) == {0}
    assert due() == {}
    assert "ann" in set(curves_of(collect(grid()))["method"])


def test_a_study_of_an_imported_network_is_due_when_its_module_changes(fresh: Path):
    module = fresh / "nets_of_a_study.py"
    module.write_text("import torch\n")
    (fresh / "configs/models/mine.yaml").write_text(f"title: M\nmodule: {module.stem}:Net\n")
    edit("configs/studies/short.yaml", "models: [dense]", "models: [mine]")

    def digests() -> list[str]:
        expected = State(grid()).expected
        [study] = [cell for stage, cell in State(grid()).due if stage == "study"]
        return [expected.code("study", study), expected.digest("study", study)]

    before = digests()
    module.write_text("import torch, math\n")
    assert all(one != other for one, other in zip(before, digests(), strict=True))


def test_a_network_that_cannot_be_made_anew_has_no_curve(little: Path):
    edit("configs/methods/ann.yaml", "adam", "adamw")
    edit("configs/methods/ann.yaml", "kind: relu", "kind: relu\ndevice: cuda")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert "ann" in set(curves_of(collect(grid()))["method"])
    assert run_stages([f"make {ANN}"]) != {f"make {ANN}": 0}
    found = collect(grid())
    assert "ann" not in set(curves_of(found)["method"])
    [entry] = [e for e in entries(found) if e.cell == ANN]
    assert (entry.failed, list(entry.curve)) == (True, [])


def test_weights_of_the_same_size_are_caught_before_they_are_measured(little: Path, capsys):
    """When a run is planned, files as old as they should be are trusted; checksums are compared
    when weights are read.
    """
    change("ann", "weights.pt")()
    os.utime(cell("ann") / "weights.pt", (1, 1))
    (cell("ann") / "record.json").unlink()
    assert set(due()) == {f"evaluate {ANN}"}
    assert run_due() == {f"evaluate {ANN}": 2}
    assert (
        "weights.pt was changed since it was made; run the workflow again"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("file", "old", "new", "again", "why"),
    [
        ("datasets/made", "epochs: 6", "epochs: 5", NETWORKS, "method.train.epochs 6 → 5"),
        (
            "datasets/made", "validation: 12", "validation: 15", NETWORKS | {STUDY},
            "dataset.validation 12 → 15",
        ),
        ("datasets/made", "title: Made up", "title: Another", set(), ""),
        ("models/little", "4C3-P2-6", "4C3-P2-7", NETWORKS, 'model.layers "4C3-P2-6" → "4C3-P2-7"'),
        ("models/dense", "layers: 5", "layers: 6", {STUDY}, "trajectory"),
        ("methods/ann", "2.0e-2", "1.0e-2", NETWORKS, "method.train.learning_rate 0.02 → 0.01"),
        (
            "little", "weight_bits: 4", "weight_bits: [4, 3]",
            {f"deploy {B1}/hardware/weight_bits=3"}, "no record",
        ),
        ("little", "seeds: [0]", "seeds: [0, 1]",
         {words.replace("seed0", "seed1") for words in NETWORKS}, "it is not made yet"),
        ("little", "seeds: [0]", "seeds: [0]\ntitle: A grid", set(), ""),
    ],
)  # fmt: skip
def test_a_change_of_the_configuration_moves_what_depends_on_it(
    little: Path, file: str, old: str, new: str, again: set[str], why: str
):
    edit(f"configs/{file}.yaml", old, new)
    found = due()
    assert set(found) == again
    assert why in next(iter(found.values()), "")


def test_a_tolerance_is_of_the_evaluation_alone(little: Path):
    text = "title: B1\nkind: b1\nsource: ann\ncheck: {agreement: 99.0}\n"
    Path("configs/methods/b1-converted.yaml").write_text(text)
    assert due() == {f"evaluate {B1}": "method.check.agreement 99.9 → 99.0"}
    assert run_due() == {f"evaluate {B1}": 0}


def test_data_that_were_replaced_are_learned_again(little: Path):
    write_data(Path("data/made.npz"), seed=1)
    found = due()
    assert set(found) == NETWORKS | {STUDY}
    assert found[f"make {ANN}"] == found[STUDY] == "the files of its data set changed"
    before = measured()
    assert set(run_due().values()) == {0}
    assert due() == {}
    assert measured() != before


def test_data_that_were_only_touched_are_looked_at_and_no_network_is_trained_again(little: Path):
    weights = (cell("ann") / "weights.pt").stat().st_mtime_ns
    write_data(Path("data/made.npz"))
    assert set(due()) == NETWORKS | {STUDY}
    assert set(run_due().values()) == {0}
    assert (cell("ann") / "weights.pt").stat().st_mtime_ns == weights
    assert due() == {}


def test_what_started_from_a_source_that_is_another_now_is_made_again(little: Path):
    """The source was made by another run, which ended in other weights: the records of what
    followed are of the old.
    """
    made = ("weights.pt", "curve.csv", "made.json")
    for name in made:
        shutil.copy(cell("ann") / name, name)
    edit("configs/methods/ann.yaml", "2.0e-2", "1.0e-2")
    assert due()[f"make {B1}"] == "its source is made"
    assert run_stages([f"make {ANN}"]) == {f"make {ANN}": 0}
    assert due()[f"make {B1}"] == "what it comes from changed"
    assert set(run_due().values()) == {0}
    edit("configs/methods/ann.yaml", "1.0e-2", "2.0e-2")
    for name in made:
        shutil.copy(name, cell("ann") / name)
    assert set(due()) == NETWORKS - {f"make {ANN}"}
    assert due()[f"evaluate {ANN}"] == "its record is of another network"


def test_a_source_remade_in_other_bits_moves_what_started_from_it(little: Path):
    """Another machine ends in other weights of the same configuration, code and data."""
    folder = cell("ann")
    made = read_made(folder)
    weights = torch.load(folder / "weights.pt")
    torch.save({key: 1.01 * value for key, value in weights.items()}, folder / "weights.pt")
    files = {name: file_entry(folder / name) for name in made.files}
    assert files["weights.pt"] != made.files["weights.pt"]
    (folder / "made.json").write_text(replace(made, files=files).to_json())
    found = due()
    assert set(found) == NETWORKS - {f"make {ANN}"}
    assert found[f"evaluate {ANN}"] == "its record is of another network"
    assert found[f"make {B1}"] == "its source is another network than it was"
    assert set(run_due().values()) == {0}
    assert due() == {}


def test_a_network_remade_in_the_same_bits_is_evaluated_again(little: Path):
    """Its record tells of the training that was asked for now."""
    before = (cell("ann") / "weights.pt").read_bytes()
    edit("configs/methods/ann.yaml", "2.0e-2}", "2.0e-2, patience: 1000}")
    assert run_stages([f"make {ANN}"]) == {f"make {ANN}": 0}
    assert (cell("ann") / "weights.pt").read_bytes() == before
    found = due()
    assert set(found) == NETWORKS - {f"make {ANN}"}
    assert run_stages(found) == dict.fromkeys(found, 0)
    assert due() == {}


def test_a_stage_of_what_is_current_does_nothing(little: Path):
    before = times()
    assert run_stages(EVERYTHING) == dict.fromkeys(EVERYTHING, 0)
    assert times() == before


def test_an_earlier_record_is_kept(little: Path):
    old = (cell("ann") / "record.json").read_bytes()
    stages = [f"make {ANN}", f"evaluate {ANN}"]
    for rate in (("2.0e-2", "1.0e-2"), ("1.0e-2", "2.0e-2")):
        edit("configs/methods/ann.yaml", *rate)
        assert set(run_stages(stages).values()) == {0}
    kept = [path.read_bytes() for path in (cell("ann") / "history").iterdir()]
    assert len(kept) == 2
    assert old in kept
    again = json.loads((cell("ann") / "record.json").read_text())
    assert again["rows"] == json.loads(old)["rows"]
