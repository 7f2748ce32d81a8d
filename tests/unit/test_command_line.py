"""`python -m ttfs`: what it prints, what it leaves behind, and with which status it ends."""

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from kit.stages import CELL, EVERYTHING, GRID, cell, due, edit

import ttfs
from ttfs.__main__ import main
from ttfs.config import load_grid
from ttfs.errors import UserError
from ttfs.results.frame import Results
from ttfs.results.record import Record, read
from ttfs.stages import archive
from ttfs.stages.archive import _check_versions
from ttfs.stages.run import run
from ttfs.stages.show import _csv

PACKAGE = str(Path(ttfs.__file__).parents[1])
ANN = CELL.format("ann")


@pytest.fixture
def fails(capsys: pytest.CaptureFixture) -> Callable[..., str]:
    """Run a command that must end with status 2; return its one line of error."""

    def fails(*arguments: str) -> str:
        capsys.readouterr()
        assert main(arguments) == 2
        said = capsys.readouterr().err
        assert said.startswith("error: ")
        assert said.count("\n") == 1
        return said[len("error: ") : -1]

    return fails


def command(*arguments: str) -> subprocess.CompletedProcess:
    """Run the command line in a process of its own."""
    environment = os.environ | {"PYTHONPATH": PACKAGE}
    return subprocess.run(
        [sys.executable, "-m", "ttfs", *arguments], capture_output=True, text=True, env=environment
    )


def test_check_lists_the_cells(little: Path, capsys):
    assert main(["check", GRID]) == 0
    names = {words.split()[1] for words in EVERYTHING}
    assert set(capsys.readouterr().out.split()) == names


def test_usage(capsys):
    for arguments in ([], ["fly", GRID], ["make", GRID], ["tables", GRID, "more"]):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == 2
        assert "usage: ttfs" in capsys.readouterr().err


def test_why_says_what_is_due_and_why(little: Path, capsys):
    assert main(["why", GRID]) == 0
    assert (
        capsys.readouterr().out
        == "little: all records are up to date with configuration, code and data\n"
    )
    (cell("ann") / "record.json").unlink()
    assert main(["why", GRID]) == 0
    assert capsys.readouterr().out == f"evaluate {ANN}: it has no record\n"


def test_a_stage_runs_in_a_process_of_its_own_with_its_status(little: Path):
    (cell("ann") / "record.json").unlink()
    done = command("evaluate", GRID, ANN)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[0] == f"[{ANN}] evaluate: it has no record"
    assert due() == {}
    shutil.move("data/made.npz", "elsewhere.npz")
    (cell("ann") / "record.json").unlink()
    done = command("evaluate", GRID, ANN)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "no file 'made.npz'" in done.stderr
    assert read(cell("ann") / "failure.json").status == "failed"


def test_what_names_nothing(little: Path, fails):
    done = command("make", GRID, "made/little/ann/seed1")
    assert done.returncode == 2
    assert done.stderr == (
        "error: grid little has no cell 'made/little/ann/seed1'; did you mean "
        "'made/little/ann/seed0'? `python -m ttfs check` lists them\n"
    )
    assert (
        fails("tables", "configs/litle.yaml")
        == "configs/litle.yaml: no such file; did you mean 'little.yaml'?"
    )


def test_evaluation_loads_no_trainer_no_store_and_no_torchvision(little: Path):
    for path in Path("results/cells").rglob("record.json"):
        path.unlink()
    program = f"""
import sys
sys.path[:0] = ["{Path(__file__).parents[1]}"]
from kit.stages import EVERYTHING, run_stages
wanted = [words for words in EVERYTHING if words.startswith("evaluate") or words.endswith("bits=4")]
assert set(run_stages(wanted).values()) == {{0}}
heavy = {{"mlflow", "pytorch_lightning", "torchvision", "pandas", "matplotlib", "sklearn"}}
print("HEAVY:", sorted(heavy & set(sys.modules)))
"""
    environment = os.environ | {"PYTHONPATH": PACKAGE}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "HEAVY: []\n"


def test_tables_and_figures(little: Path):
    for verb in ("tables", "figures"):
        assert main([verb, GRID]) == 0
    summary = rows(Path("results/little/tables/summary.csv"))
    assert [row["method"] for row in summary] == [
        "ann",
        "alpha1-converted",
        "b1-converted",
        "b1-finetuned",
    ]
    assert len(rows(Path("results/little/tables/hardware.csv"))) == 2
    figures = {path.name for path in Path("results/little/figures").iterdir()}
    assert {"accuracy-by-spikes.svg", "study-short.svg", "training-curves.svg"} <= figures
    drawn = Path("results/little/figures/training-curves.svg").read_text()
    assert "b1-finetuned" in drawn


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_tables_of_a_grid_that_never_ran(fresh: Path, fails):
    for verb in ("tables", "figures", "publish", "archive"):
        assert fails(verb, GRID).startswith(
            "grid little: no records of its cells; run the workflow first"
        )


def test_show_prints_the_summary(little: Path, fails, capsys):
    assert "summary.csv: no such table; run the workflow first" in fails("show", GRID)
    assert main(["tables", GRID]) == 0
    capsys.readouterr()
    assert main(["show", GRID, "--method", "b1", "--metric", "accuracy", "--format", "json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [row["method"] for row in shown] == ["b1-converted", "b1-finetuned"]
    exact = read(cell("b1-converted") / "record.json").metrics["accuracy"]
    assert shown[0]["accuracy"] == f"{exact:.2f}"
    assert main(["show", GRID, "--best", "spikes_per_neuron", "--format", "csv"]) == 0
    [best] = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert best["method"].startswith("b1-")
    assert main(["show", GRID, "--under", "spikes_per_neuron=0.99"]) == 0
    said = capsys.readouterr().out
    heads = [head.strip() for head in said.partition("\n")[0].strip("|").split("|")]
    assert heads[:5] == ["Data set", "Model", "Method", "n", "Accuracy [%] ↑"]
    assert "alpha1" not in said
    assert main(["show", GRID, "--format", "latex"]) == 0
    assert capsys.readouterr().out.startswith(r"\begin{tabular}{lll")
    assert "no metric 'acuracy'; did you mean 'accuracy'?" in fails(
        "show", GRID, "--metric", "acuracy"
    )
    assert "write metric=value" in fails("show", GRID, "--under", "accuracy")
    table = Path("results/little/tables/summary.csv")
    whole = table.read_bytes()
    for damaged in (b"a,b\n1,2\n", whole[:-30] + b"\xff", whole[: whole.rindex(b"\n", 0, -1) + 9]):
        table.write_bytes(damaged)
        assert "summary.csv: is damaged" in fails("show", GRID)


def test_show_tells_what_is_out_of_date(little: Path, capsys):
    assert main(["tables", GRID]) == 0
    capsys.readouterr()
    assert main(["show", GRID]) == 0
    assert capsys.readouterr().err == ""
    edit("configs/methods/ann.yaml", "2.0e-2", "3.0e-2")
    assert main(["show", GRID]) == 0
    said = capsys.readouterr().err
    cause = r"made/little/ann/seed0: method\.train\.learning_rate 0\.02 → 0\.03; "
    assert re.match(rf"\d of the records are out of date, such as {cause}", said)
    assert said.endswith(f"; `ttfs why {GRID}` lists them\n")


def test_a_comma_in_a_number_is_no_column():
    text = _csv(["method", "operations"], [["rate", "12,345"]])
    assert list(csv.reader(io.StringIO(text))) == [["method", "operations"], ["rate", "12,345"]]


def test_check_compares_results_with_their_checksums(little: Path, capsys):
    assert main(["check", GRID, "--results"]) == 0
    path = cell("b1-converted") / "weights.pt"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    capsys.readouterr()
    assert main(["check", GRID, "--results"]) == 2
    said = capsys.readouterr()
    assert "b1-converted/seed0" in said.out + said.err
    assert "weights.pt was changed since it was made" in said.out + said.err


def test_a_terminal_without_the_signs_of_tables_is_no_traceback(little: Path):
    edit("configs/datasets/made.yaml", "epochs: 6", "epochs: 7")
    poor = os.environ | {"PYTHONPATH": PACKAGE, "LC_ALL": "C", "PYTHONUTF8": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "ttfs", "why", GRID], capture_output=True, text=True, env=poor
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert f"make     {ANN}: method.train.epochs 6 \\u2192 7" in done.stdout


def test_archive_copies_records_and_tables_for_git(little: Path, fails, capsys):
    words = ("archive", GRID, "--mixed")
    assert main(words) == 0
    published = Path("results/published")
    names = {words.split()[1] for words in EVERYTHING if not words.startswith("make")}
    for name in names:
        assert read(published / "cells" / name / "record.json") == read(
            Path("results/cells", name, "record.json")
        )
    assert len(list(published.rglob("record.json"))) == len(names)
    assert (published / "cells/studies/short/table.csv").exists()
    assert not list(published.rglob("weights.pt"))
    assert "ann" in (published / "little/tables/summary.md").read_text()
    before = {path: path.read_bytes() for path in published.rglob("*") if path.is_file()}
    assert main(words) == 0
    assert before == {path: path.read_bytes() for path in published.rglob("*") if path.is_file()}
    capsys.readouterr()
    edit("configs/datasets/made.yaml", "epochs: 6", "epochs: 5")
    assert "its record is out of date with configuration, code or data" in fails(*words)
    (cell("ann") / "record.json").unlink()
    assert "cells have no record" in fails(*words)
    assert before == {path: path.read_bytes() for path in published.rglob("*") if path.is_file()}


def test_archive_leaves_out_a_table_too_large_for_git(little: Path, monkeypatch, capsys):
    monkeypatch.setattr(archive, "LARGEST_TABLE", 10)
    assert main(("archive", GRID, "--mixed")) == 0
    assert "studies/short: its table has " in capsys.readouterr().out
    place = Path("results/published/cells/studies/short")
    assert [path.name for path in place.iterdir()] == ["record.json"]


def test_archive_asks_for_a_commit_and_for_one_version_of_the_code(little: Path, fails):
    edit(GRID, "seeds: [0]", "seeds: [0, 1]")
    edit(GRID, "studies: [short]\n", "")
    for path in list(Path("results/cells/made").rglob("record.json")):
        other = Path(str(path).replace("seed0", "seed1"))
        write_clean(read(path), path, 0)
        write_clean(read(path), other, 1)
    found = Results(
        load_grid(GRID), [read(path) for path in Path("results/cells/made").rglob("record.json")]
    )
    _check_versions(found)
    one = next(record for record in found.records if record.name == ANN)
    rest = [record for record in found.records if record.name != ANN]
    dirty = replace(one.provenance["evaluate"], git_dirty=True)
    for part, said in (
        (
            dirty,
            "evaluate ran with files that differ from their commit; commit and run again, or "
            "archive --mixed",
        ),
        (replace(dirty, git_commit=None, git_dirty=None), "evaluate ran with code outside git"),
    ):
        with pytest.raises(UserError, match=said):
            _check_versions(
                Results(found.grid, [*rest, replace(one, provenance={"evaluate": part})])
            )
    other = replace(one, digests={**one.digests, "code": "another"})
    with pytest.raises(
        UserError, match="its seeds come from 2 versions of the code; run them with one"
    ):
        _check_versions(Results(found.grid, [*rest, other]))


def write_clean(record: Record, path: Path, seed: int) -> None:
    """Write a record of a seed, made by a commit."""
    clean = {
        stage: replace(part, git_commit="c", git_dirty=False)
        for stage, part in record.provenance.items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    own = replace(record, ids={**record.ids, "seed": seed}, provenance=clean)
    path.write_text(own.to_json(), encoding="utf-8")


@pytest.mark.parametrize("verb", ["check", "explain"])
def test_names_that_are_none_are_one_line(tmp_path: Path, monkeypatch, fails, verb: str):
    """An empty name is that of a variable that is not set."""
    monkeypatch.chdir(tmp_path)
    for name in ("", ".", "..", "a" * 300, "a/" * 3000):
        assert fails(verb, name)
    assert fails("check", "mnits") == "mnits: no such file; did you mean 'mnist'?"


def test_init_writes_a_grid_that_runs(tmp_path: Path, monkeypatch, fails, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["init", "mine"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "next: ttfs run configs/mine.yaml"
    grid = load_grid("configs/mine.yaml")
    assert grid.cells
    assert grid.deployments
    assert Path("configs/datasets/mine.yaml").exists()
    assert "there is one already; choose another name" in fails("init", "mine")
    assert "may hold only a-z, 0-9 and '-'" in fails("init", "My Grid")
    assert "results/site is a folder of its own" in fails("init", "site")
    for taken in ("mnist", "fc2", "digits"):  # a data set and a grid, a grid, a data set
        assert "there is a grid or data set of that name" in fails("init", taken)
        assert not Path("configs", f"{taken}.yaml").exists()


def test_a_pipe_that_closes_is_no_traceback(little: Path):
    environment = os.environ | {"PYTHONPATH": PACKAGE}
    done = subprocess.run(
        [
            "bash", "-c",
            f"{sys.executable} -m ttfs check configs/mnist.yaml | head -n 1; "
            "exit ${PIPESTATUS[0]}",
        ],
        capture_output=True, text=True, env=environment,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    assert done.stdout.startswith("mnist/")


@pytest.mark.parametrize(
    ("words", "verbose"),
    [
        (["-v", "configs/quick.yaml", "--cores", "1"], True),
        (["configs/quick.yaml", "--cores", "1", "--verbose"], True),
        (["configs/quick.yaml", "--cores", "1"], False),
    ],
)
def test_run_lets_snakemake_speak_on_demand(words, verbose, monkeypatch):
    """Snakemake alone takes -v for its version, and --verbose for debugging."""
    commands = []
    monkeypatch.setattr("os.execv", lambda program, command: commands.append(command))
    main(["run", *words])
    (command,) = commands
    assert (command[-2:] == ["--quiet", "host"]) == verbose
    assert "--cores" in command
    assert not {"-v", "--verbose"} & set(command)


@pytest.mark.parametrize("name", ["007", "1e3", "true", "my runs #2/a: b.yaml", "[a].yaml", "ä"])
def test_run_hands_any_name_of_a_grid_on_as_a_text(name: str, monkeypatch):
    from snakemake.cli import parse_config

    commands = []
    monkeypatch.setattr("os.execv", lambda program, command: commands.append(command))
    monkeypatch.setattr("ttfs.stages.run.load_grid", lambda grid: None)
    run(Path(name), ["results/a/tables/summary.csv"])
    (command,) = commands
    assert parse_config(command[-1:]) == {"grid": name}
    assert command[-3:-1] == ["results/a/tables/summary.csv", "--config"]
