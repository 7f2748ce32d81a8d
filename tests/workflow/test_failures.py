"""What goes wrong is said in one line, is shown in the tables, stops nothing else, and is gone once
it is put right.
"""

import fcntl

import pytest
from kit.sandbox import Sandbox
from kit.stages import FILES, write_data


def one_line(said: str) -> str:
    """The only line of what was printed that is about an error."""
    assert "Traceback" not in said
    lines = [line for line in said.splitlines() if "rror" in line]
    assert len(lines) == 1, said
    return lines[0]


@pytest.mark.parametrize(
    ("file", "old", "new", "line"),
    [
        (
            "tiny", "seeds", "sedes",
            "error: configs/tiny.yaml: unknown key 'sedes'; did you mean 'seeds'?",
        ),
        (
            "datasets/digits", "batch_size", "batchsize",
            "error: configs/datasets/digits.yaml: unknown key 'batchsize'; did you mean "
            "'batch_size'?",
        ),
        (
            "published/che2024-ettfs", "source", "sauce",
            "error: configs/published/che2024-ettfs.yaml: unknown key 'sauce'; did you mean "
            "'source'?",
        ),
    ],
)  # fmt: skip
def test_a_typo_stops_everything_before_it_starts(
    sandbox: Sandbox, file: str, old: str, new: str, line: str
):
    sandbox.edit(f"configs/{file}.yaml", old, new)
    status, said = sandbox.run("--dry-run")
    assert status != 0
    assert one_line(said) == line
    assert not (sandbox.folder / "results").exists()


@pytest.mark.parametrize(
    ("setting", "line"),
    [
        ("grid=5", "error: 5: no such file"),
        ("epochs=3", "error: --config epochs: the workflow takes only grid=<file>"),
    ],
)
def test_a_wrong_setting_on_the_command_line(sandbox: Sandbox, setting: str, line: str):
    status, said = sandbox.run("--dry-run", "--config", setting, grid=None)
    assert status != 0
    assert one_line(said).startswith(line)


@pytest.mark.parametrize(
    "place",
    ["results", "results/tiny", "results/tiny/figures", "results/cells/digits/fc2/ann/seed0"],
)
def test_a_file_where_results_go(sandbox: Sandbox, place: str):
    sandbox.write(place, "in the way")
    status, said = sandbox.run("--dry-run")
    assert status != 0
    assert one_line(said) == f"error: {place}: a file is where the results go; move it away"


@pytest.mark.parametrize("option", ["--forceall", "--forcerun make", "--force", "--touch"])
def test_an_option_that_would_do_nothing_is_refused_by_name(sandbox: Sandbox, option: str):
    status, said = sandbox.run(*option.split())
    assert status != 0
    assert f"error: {option.split()[0]}: records say what is due" in said
    assert not (sandbox.folder / "results/tiny/tables").exists()


@pytest.mark.parametrize(
    ("file", "old", "new", "line"),
    [
        ("Snakefile", "rule all:", "1 / 0\n\nrule all:", 'error: ZeroDivisionError in file "'),
        ("workflow/common.smk", "import fcntl", "import nowhere", "error: ModuleNotFoundError in"),
        ("Snakefile", "rules.tables.output,", '"nowhere.txt",', "error: MissingInputException in"),
    ],
)
def test_an_error_of_the_workflow_itself_is_one_line(
    sandbox: Sandbox, file: str, old: str, new: str, line: str
):
    sandbox.edit(file, old, new)
    status, said = sandbox.run()
    assert status != 0
    assert one_line(said).startswith(line)


def test_a_view_that_fails_names_its_log(copy: Sandbox):
    copy.write("ttfs/stages/page.py", "raise ValueError('no page')")
    (copy.folder / "results/tiny/index.html").unlink()
    status, said = copy.run()
    assert status != 0
    [told] = [line for line in said.splitlines() if line.startswith("error: RuleException")]
    assert "results/tiny/logs/page.log" in told


def test_a_second_run_at_once_is_refused_and_harms_nothing(copy: Sandbox, finished: Sandbox):
    copy.edit(
        "configs/tiny.yaml", "seeds: [0]", "seeds: [0, 1]"
    )  # so that there is something to do
    with (copy.folder / "results/tiny/.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        status, said = copy.run()
    assert status != 0
    assert one_line(said) == "error: results/tiny: another run writes there; wait for it or stop it"
    assert copy.tables() == finished.tables()


def test_a_failed_cell_stops_no_other_and_is_gone_once_put_right(copy: Sandbox):
    """A data set whose file is missing, beside a network that is to be evaluated again."""
    made = FILES["configs/datasets/made.yaml"].replace("epochs: 6", "epochs: 1")
    copy.write("configs/datasets/made.yaml", made)
    copy.edit("configs/tiny.yaml", "[digits]", "[made, digits]")
    copy.edit("configs/tiny.yaml", "weight_bits: 4", "weight_bits: [4, 3]")

    status, said = copy.run()
    assert status != 0
    missing = "configs/datasets/made.yaml: key 'source.npz': no file 'made.npz'; put it into"
    assert f"failed: made/fc2/ann/seed0: make: {missing}" in said
    assert "Traceback" not in said
    new = copy.cell("digits/fc2/b1-converted/seed0/hardware/weight_bits=3")
    assert (new / "record.json").exists()
    assert [path.parent.name for path in failures(copy)] == ["seed0"]
    summary = copy.tables()["summary.md"].decode()
    assert f"- made/fc2/ann/seed0: make: {missing}" in summary
    assert summary.count("0 of 1") == 1

    status, said = copy.run(target="tables")
    assert status != 0, "a cell is missing still"

    write_data(copy.folder / "data" / "made.npz")
    status, said = copy.run(target="tables")
    assert status == 0, said
    assert failures(copy) == []
    assert copy.cell("made/fc2/b1-converted/seed0/hardware/weight_bits=3").exists()
    summary = copy.tables()["summary.md"].decode()
    assert "Failed" not in summary
    assert "0 of 1" not in summary


def failures(sandbox: Sandbox) -> list:
    return list((sandbox.folder / "results").rglob("failure.json"))
