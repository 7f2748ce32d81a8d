"""An edit of the code moves the cells whose numbers it can change, and no other."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from kit.stages import CELL, EVERYTHING, due

import ttfs.methods
import ttfs.metrics
from ttfs import digest
from ttfs.digest import code_digest, digest_of, files_digest, kind_digest

PACKAGE = Path(digest.__file__).parent
ANN, ALPHA1 = CELL.format("ann"), CELL.format("alpha1-converted")
STUDY = "study studies/short"
NETWORKS = {words for words in EVERYTHING if words != STUDY}
OF_B1 = {words for words in NETWORKS if "/b1-" in words}
OF_ALPHA1 = {f"make {ALPHA1}", f"evaluate {ALPHA1}"}
MEASURED = {words for words in NETWORKS if not words.startswith("make")}
CHIPS = {words for words in NETWORKS if words.startswith("deploy")}
SPIKING = OF_B1 | OF_ALPHA1
SIMULATED = {words for words in SPIKING if words.startswith("evaluate")}
LINE = "\nMORE = 1\n"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of the package, which digests are now taken of."""
    copy = tmp_path_factory.mktemp("copy") / "ttfs"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__", "shipped"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digest, "__file__", str(copy / "digest.py"))
        patch.setattr(ttfs.methods, "__path__", [str(copy / "methods")])
        patch.setattr(ttfs.metrics, "__path__", [str(copy / "metrics")])
        yield copy
    digest.forget()


class Edits:
    """Edits of files of the package, which are put back in the end."""

    def __init__(self, package: Path):
        self.package = package
        self.before: dict[Path, str] = {}

    def __call__(self, file: str, old: str = "", new: str = LINE) -> set[str]:
        """Change the one place of a file that holds a text, or add to its end; return what is due
        then.
        """
        path = self.package / file
        text = path.read_text(encoding="utf-8")
        assert not old or text.count(old) == 1, f"{file}: {old!r}"
        self.rewrite(path, text.replace(old, new) if old else text + new)
        digest.forget()
        return set(due())

    def rewrite(self, path: Path, text: str) -> None:
        self.before.setdefault(path, path.read_text(encoding="utf-8"))
        path.write_text(text, encoding="utf-8")

    def undo(self) -> None:
        for path, text in self.before.items():
            path.write_text(text, encoding="utf-8")


@pytest.fixture
def after_edit(package: Path, made: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Edits]:
    """Edits of the package, beside the records of the little grid."""
    monkeypatch.chdir(made)
    edits = Edits(package)
    yield edits
    edits.undo()
    digest.forget()


def test_nothing_is_due_of_the_code_as_it_is(after_edit):
    digest.forget()
    assert due() == {}


@pytest.mark.parametrize(
    ("file", "moved"),
    [
        ("snn/alpha1.py", OF_ALPHA1 | {STUDY}),
        ("methods/alpha1.py", OF_ALPHA1),
        ("methods/relu.py", NETWORKS),
        ("methods/_deploying.py", CHIPS),
        ("metrics/spikes.py", MEASURED),
        ("hardware/chip.py", CHIPS),
        ("snn/simulation/simulator.py", SIMULATED),
        ("training/fit.py", NETWORKS),
        ("data/augment.py", NETWORKS | {STUDY}),
        ("models/notation.py", NETWORKS | {STUDY}),
        ("seeds.py", NETWORKS | {STUDY}),
        ("studies/trajectory.py", {STUDY}),
        ("studies/gradients.py", set()),
        ("results/figures/chips.py", set()),
        ("results/tables.py", set()),
        ("results/tracking/publish.py", set()),
        ("results/tracking/live.py", set()),
        ("stages/cells.py", set()),
        ("config/grid.py", set()),
        ("__main__.py", set()),
    ],
)
def test_an_edit_moves_what_it_can_change(after_edit, file: str, moved: set[str]):
    assert after_edit(file) == moved


def test_the_module_of_b1_neurons_trains_no_relu_network(after_edit):
    """α1 networks are made by way of B1 networks, so they move too; what counts spikes knows of B1
    networks.
    """
    assert after_edit("snn/b1.py") == NETWORKS - {f"make {ANN}"} | {STUDY}


def test_an_edit_of_evaluate_makes_no_network_anew(after_edit):
    here = "        snn, source = self.load(job), job.source\n"
    moved = after_edit("methods/b1.py", old=here, new=f"{here}        job.say('')\n")
    assert moved == {words for words in SPIKING if words.startswith("evaluate")}


def test_what_starts_from_a_network_depends_on_how_that_is_loaded(after_edit):
    here = "return job.restore(job.build()).eval()"
    moved = after_edit("methods/relu.py", old=here, new=here.replace("eval()", "eval().float()"))
    assert moved == NETWORKS - {f"make {ANN}"}


def test_a_number_inside_a_function_counts(after_edit):
    assert after_edit("seeds.py", old=">> 1", new=">> 2") == NETWORKS | {STUDY}


def test_comments_docstrings_and_layout_move_nothing(after_edit, package: Path):
    names = ("results.tables", "results.figures", "results.tracking", "studies.figures")
    views = {name: code_digest(f"ttfs.{name}") for name in names}
    for path in sorted(package.rglob("*.py")):
        after_edit.rewrite(path, reworded(path.read_text(encoding="utf-8")))
    digest.forget()
    assert set(due()) == set()
    assert views == {name: code_digest(f"ttfs.{name}") for name in names}


def reworded(text: str) -> str:
    """Other words in the first docstring, a comment before each function, lines at the end."""
    text = text.replace('"""\n', ' It says more now."""\n', 1)
    return text.replace("\n\n\ndef ", "\n\n\n# A comment.\n\ndef ") + "\n\n# The end.\n"


@pytest.mark.parametrize(
    ("file", "moved"),
    [
        ("results/figures/__init__.py", {"results.figures"}),
        ("results/figures/chips.py", {"results.figures"}),
        ("results/figures/style.py", {"results.figures"}),
        ("studies/figures.py", {"studies.figures"}),
        ("results/tables.py", {"results.tables"}),
        ("results/tracking/views.py", {"results.tracking"}),
        ("metrics/agreement.py", {"results.tables", "results.figures", "results.tracking"}),
    ],
)
def test_the_code_of_a_view_is_its_module_and_what_that_imports(
    after_edit, file: str, moved: set[str]
):
    names = ("results.tables", "results.figures", "results.tracking", "studies.figures")
    before = {name: code_digest(f"ttfs.{name}") for name in names}
    after_edit(file)
    assert {name for name in names if code_digest(f"ttfs.{name}") != before[name]} == moved


def test_a_module_imported_inside_a_function_counts(after_edit, package: Path):
    late = package / "late.py"
    late.write_text("FACTOR = 2\n", encoding="utf-8")
    after_edit(
        "snn/encode.py",
        new="\n\ndef late():\n    from ttfs.late import FACTOR\n\n    return FACTOR\n",
    )
    before = kind_digest("make", "b1")
    late.write_text("FACTOR = 3\n", encoding="utf-8")
    digest.forget()
    assert kind_digest("make", "b1") != before
    late.unlink()


def test_the_configuration_moves_a_digest_and_its_order_does_not():
    one = digest_of({"a": 1, "b": {"c": 2, "d": 3}}, "code")
    assert one == digest_of({"b": {"d": 3, "c": 2}, "a": 1}, "code")
    assert one != digest_of({"a": 1, "b": {"c": 2, "d": 4}}, "code")
    assert one != digest_of({"a": 1, "b": {"c": 2, "d": 3}}, "another code")


def test_the_files_of_a_folder_are_their_names_and_bytes_but_for_python(tmp_path: Path):
    (tmp_path / "page.css").write_text("p {}")
    (tmp_path / "page.py").write_text("A = 1")
    before = files_digest(tmp_path)
    (tmp_path / "page.py").write_text("A = 2")
    assert files_digest(tmp_path) == before
    (tmp_path / "page.css").write_text("b {}")
    changed = files_digest(tmp_path)
    (tmp_path / "page.css").rename(tmp_path / "side.css")
    assert len({before, changed, files_digest(tmp_path)}) == 3


def test_a_module_that_is_not_there_is_an_error():
    with pytest.raises(ModuleNotFoundError, match=r"ttfs\.snn\.nothing"):
        code_digest("ttfs.snn.nothing")
