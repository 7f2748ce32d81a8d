"""A digest moves with the code behind a stage's results, and with nothing else."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from ttfs import digest

HOUSE = Path(digest.__file__).parent
VERBS = ("train", "convert", "verify", "tables", "figures", "publish")
NUMBERS = ("train", "convert", "verify")


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the package, which the digests are now taken of."""
    shutil.copytree(HOUSE, tmp_path / "ttfs", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(digest, "__file__", str(tmp_path / "ttfs" / "digest.py"))
    yield tmp_path / "ttfs"
    forget()


@pytest.fixture(scope="module")
def before() -> dict[str, str]:
    """The digests of the package as it is."""
    return digests()


def digests() -> dict[str, str]:
    """Take the digest of each verb anew."""
    forget()
    numbers = {verb: digest.stage_digest(verb, {}) for verb in NUMBERS}
    return numbers | {verb: digest.code_digest(f"ttfs.stages.{verb}") for verb in VERBS if verb not in NUMBERS}


def forget() -> None:
    for function in (digest.code_digest, digest._tree, digest._path):
        function.cache_clear()


def closure(verb: str) -> set[str]:
    return digest._closure(f"ttfs.stages.{verb}")


def modules(*folders: str) -> set[str]:
    """The modules of a package's folders but for `__init__`, which only gathers names, and stamps, for the workflow."""
    paths = [path for folder in folders for path in (HOUSE / folder).glob("*.py")]
    return {f"ttfs.{path.parent.name}.{path.stem}" for path in paths if path.stem not in ("__init__", "stamp")}


def test_each_stage_depends_on_what_makes_its_numbers():
    assert closure("train") >= modules("training", "data", "models") | {
        "ttfs.models",
        "ttfs.seeds",
        "ttfs.snn.alpha1",
        "ttfs.stages._networks",
    }
    assert closure("verify") >= modules("metrics", "data", "models") | {
        "ttfs.snn.simulation.simulator",
        "ttfs.stages._networks",
    }
    assert closure("convert") >= modules("data", "models") | {"ttfs.snn.conversion.convert", "ttfs.snn.b1"}
    assert closure("tables") >= {"ttfs.results.tables", "ttfs.results.records"}
    assert closure("figures") >= {"ttfs.results.figures", "ttfs.results.records"}
    assert closure("publish") >= {"ttfs.results.tracking", "ttfs.results.records"}


def test_no_stage_depends_on_what_it_does_not_use():
    assert not closure("verify") & modules("training")
    assert "ttfs.results.tracking" not in closure("verify")
    assert not closure("convert") & (modules("training", "metrics") | {"ttfs.snn.simulation.simulator"})
    assert not closure("train") & {"ttfs.snn.simulation.simulator", "ttfs.metrics._spikes", "ttfs.stages.convert"}
    assert not closure("tables") & modules("snn", "data", "training", "metrics")


@pytest.mark.parametrize("verb", VERBS)
def test_all_that_is_found_exists(verb: str):
    assert all(digest._path(name) is not None for name in closure(verb))


def moved(before: dict[str, str]) -> set[str]:
    after = digests()
    return {verb for verb in VERBS if before[verb] != after[verb]}


@pytest.mark.parametrize(
    ("file", "verbs"),
    [
        ("metrics/_agreement.py", {"train", "verify"}),
        ("metrics/_spikes.py", {"verify"}),
        ("snn/b1.py", {"train", "convert", "verify"}),
        ("snn/conversion/convert.py", {"train", "convert", "verify"}),
        ("snn/alpha1.py", {"train", "convert", "verify"}),
        ("snn/simulation/simulator.py", {"verify"}),
        ("training/_fit.py", {"train"}),
        ("training/_classifier.py", {"train"}),
        ("data/splits.py", {"train", "convert", "verify"}),
        ("models/sequential.py", {"train", "convert", "verify"}),
        ("seeds.py", {"train", "convert", "verify"}),
        ("stages/convert.py", {"convert"}),
        ("stages/_networks.py", {"train", "convert", "verify"}),
        ("stages/verify.py", {"verify"}),
        ("results/tables.py", {"tables", "figures"}),
        ("results/figures.py", {"figures"}),
        ("results/tracking.py", {"publish"}),
        ("stages/_job.py", set()),
        ("__main__.py", set()),
    ],
)
def test_a_change_of_code_moves_what_it_defines(house: Path, before: dict[str, str], file: str, verbs: set[str]):
    with (house / file).open("a") as module:
        module.write("\nMORE = 1\n")
    assert moved(before) == verbs


def test_a_number_inside_a_function_counts(house: Path, before: dict[str, str]):
    text = (house / "seeds.py").read_text()
    assert ">> 1" in text
    (house / "seeds.py").write_text(text.replace(">> 1", ">> 2"))
    assert moved(before) == set(NUMBERS)


def test_comments_docstrings_and_layout_move_nothing(house: Path, before: dict[str, str]):
    for path in house.rglob("*.py"):
        text = path.read_text()
        text = text.replace('"""\n', ' It says more now."""\n', 1)
        text = text.replace("\n\n\ndef ", "\n\n\n# A comment.\n\ndef ").replace('    """Return', '    """Give')
        text = text.replace('\n"""Energy of a', '\n"""Energy used by a')
        path.write_text(text + "\n\n# The end.\n")
    assert moved(before) == set()


def test_a_module_imported_inside_a_function_counts(house: Path):
    (house / "late.py").write_text("FACTOR = 2\n")
    with (house / "stages" / "verify.py").open("a") as module:
        module.write("\n\ndef late():\n    from ttfs.late import FACTOR\n\n    return FACTOR\n")
    before = digests()
    (house / "late.py").write_text("FACTOR = 3\n")
    assert moved(before) == {"verify"}


def test_the_configuration_moves_the_digest_and_its_order_does_not():
    one = digest.stage_digest("train", {"a": 1, "b": {"c": 2, "d": 3}})
    assert one == digest.stage_digest("train", {"b": {"d": 3, "c": 2}, "a": 1})
    assert one != digest.stage_digest("train", {"a": 1, "b": {"c": 2, "d": 4}})
    assert one != digest.stage_digest("verify", {"a": 1, "b": {"c": 2, "d": 3}})


def test_a_stage_that_is_not_there_is_an_error():
    with pytest.raises(ModuleNotFoundError, match=r"ttfs\.stages\.nothing"):
        digest.stage_digest("nothing", {})
