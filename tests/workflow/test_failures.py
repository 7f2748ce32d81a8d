"""What goes wrong is said in one line, is shown in the tables, stops nothing else, and is gone once
it is put right.
"""

import fcntl
import re
import shutil
from dataclasses import replace

import pytest
from kit.sandbox import CHIP, Sandbox
from kit.stages import FILES, write_data

from ttfs.results.record import read, write


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


RULES = "workflow/rules/hardware.smk"


@pytest.mark.parametrize(
    ("file", "old", "new", "line"),
    [
        ("Snakefile", "rule all:", "1 / 0\n\nrule all:",
         'ZeroDivisionError in file "{}", line 19: '),
        ("Snakefile", "rules.tables.o", '"nowhere.txt",\n        rules.tables.o',
         'MissingInputException in rule all in file "{}", line 19: '),
        ("Snakefile", "studies.smk", "study.smk", 'FileNotFoundError in file "{}", line 15: '),
        ("workflow/common.smk", "import fcntl", "import nowhere",
         'ModuleNotFoundError in file "{}", line 9: '),
        ("workflow/common.smk", "import fcntl", "x = = 1", 'SyntaxError in file "{}", line 9: '),
        (RULES, "rule deploy:", "rule deploy", 'SyntaxError in file "{}", line 4: Expected'),
        (RULES, "rule deploy:", 'x = """\nrule deploy:', 'SyntaxError in file "{}", line 4: EOF'),
        (RULES, "    output:", "   output:", 'SyntaxError in file "{}", line 8: unindent does'),
        (RULES, "    log:", "    logs:", 'SyntaxError in file "{}", line 13: Unexpected keyword'),
        (RULES, "threads: threads_of", "threads: nowhere", 'NameError in file "{}", line 10: name'),
    ],
)  # fmt: skip
def test_an_error_of_the_workflow_itself_is_one_line(
    sandbox: Sandbox, file: str, old: str, new: str, line: str
):
    """It names the file and its line, wherever Snakemake and Python look for the fault."""
    sandbox.edit(file, old, new)
    status, said = sandbox.run()
    assert status == 1
    assert one_line(said).startswith("error: " + line.format(sandbox.folder / file))


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("rule all:", "rule all", "line 19: Expected name or colon"),
        ("rule all:", "x = = 1\n\nrule all:", "line 19: invalid syntax"),
        ("default_target", "target", "line 20: Unexpected keyword"),
        ("rules.publish.output,", "(rules.publish.output", "line 20: EOF in"),
        ('another grid\n"""', "another grid", "line 1: EOF in"),
        ("    input:", "   input:", "line 21: unindent does"),
        ("rules/cells.smk", "rules/cell.smk", "line 13: [Errno 2] No such file or directory:"),
    ],
)
def test_an_error_of_the_snakefile_names_it_and_the_line(
    sandbox: Sandbox, old: str, new: str, place: str
):
    sandbox.edit("Snakefile", old, new)
    status, said = sandbox.ttfs("run", "configs/tiny.yaml")
    assert status == 1
    _, line = said.splitlines()  # the first names the profile
    assert re.match(f'error: [a-zA-Z]+ in file "{sandbox.folder}/[a-z./]*Snakefile", ', line)
    assert f'Snakefile", {place}' in line


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("rule all:", "x = = 1\n\nrule all:", "line 19"),
        ("workflow/errors.smk", "workflow/nowhere.smk", "line 11"),
        ('report: "', '1 / 0\n\nreport: "', "line 8"),
    ],
)
def test_an_error_before_all_else_is_told_by_snakemake(
    sandbox: Sandbox, old: str, new: str, place: str
):
    sandbox.edit("Snakefile", old, new)
    status, said = sandbox.run()
    assert status == 1
    assert "Traceback" not in said
    assert f'rror in file "{sandbox.folder}/Snakefile", {place}:' in said


def test_a_view_that_fails_names_its_log(copy: Sandbox):
    copy.write("ttfs/stages/page.py", "raise ValueError('no page')")
    (copy.folder / "results/tiny/index.html").unlink()
    status, said = copy.run()
    assert status == 1
    [told] = [line for line in said.splitlines() if line.startswith("error: RuleException")]
    file = copy.folder / "workflow/rules/report.smk"
    [line] = re.findall(f'in file "{file}", line ([0-9]+): ', told)
    assert " page {GRID_FILE:q}" in file.read_text().splitlines()[int(line) - 1]
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


def test_a_network_that_cannot_be_made_is_told_before_anything_is_trained(sandbox: Sandbox):
    sandbox.write("configs/models/vast.yaml", "title: vast\nlayers: 400000-400000\n")
    text = "title: t\ndatasets: [digits]\nmodels: [vast]\nmethods: [ann]\nseeds: [0]\n"
    sandbox.write("configs/vast.yaml", text)
    status, said = sandbox.run(grid="configs/vast.yaml")
    assert status != 0
    [line] = [line for line in said.splitlines() if "vast" in line and "digits" in line]
    assert line.startswith("error: digits: model 'vast': needs at least")
    assert "no records" not in said  # there is nothing for tables to show
    assert not list((sandbox.folder / "results").rglob("weights.pt"))


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


def test_a_failure_beside_a_record_is_not_told(copy: Sandbox):
    """A stage that is killed while it files its record leaves the failure of before."""
    cell = copy.cell("ann/seed0")
    failure = replace(read(cell / "record.json"), rows=(), error="evaluate: of before")
    write(failure, copy.folder / "failed")
    shutil.copy(copy.folder / "failed" / "failure.json", cell)
    (copy.cell("b1-converted/seed0") / "hardware" / CHIP / "record.json").unlink()
    status, said = copy.run()
    assert status == 0, said
    assert "page: results/tiny/index.html" in said
    assert "failed: " not in said


def failures(sandbox: Sandbox) -> list:
    return list((sandbox.folder / "results").rglob("failure.json"))
