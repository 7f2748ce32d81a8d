"""Published tables, and the tables of pages, have the numbers of the published records."""

import csv
import re
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev

import pytest
from kit.pages import cells, text_of
from kit.sandbox import ROOT

from ttfs.config import load_grid
from ttfs.metrics import METRICS
from ttfs.results import tables
from ttfs.results.frame import collect
from ttfs.results.record import Record, read

STORE = ROOT / "results/published/cells"
GRIDS = sorted(path.parent.name for path in ROOT.glob("results/published/*/tables"))
SHIFTED = "fashion-mnist+shift=1"
COUNT = "batch_size=128+epochs={}+learning_rate=2e-3"


def of_seeds(network: str, chip: str = "") -> list[Record]:
    """The records of all seeds of <dataset>/<model>/<method>, on a chip if one is named."""
    place = f"hardware/{chip}/record.json" if chip else "record.json"
    found = [read(path) for path in sorted(STORE.glob(f"{network}/seed*/{place}"))]
    assert len(found) == 3, f"{network} {chip}"
    return found


def shown(values: Sequence[float]) -> str:
    """Mean and sample standard deviation, as pages show an accuracy."""
    return f"{mean(values):.2f} ± {stdev(values):.2f}"


def part(page: str, heading: str, first: str = "") -> list[list[str]]:
    """The rows of the first table below a heading of a page, or of the first there whose head
    begins with a word; bold type taken off.
    """
    below = page.partition(f"\n{heading}\n")[2]
    found = re.search(rf"^\| {first}.*\n(?:\|.*\n)+", below, re.MULTILINE)
    return [[cell.strip("*") for cell in row] for row in cells(found[0])[1:]]


@pytest.mark.parametrize("grid", GRIDS)
def test_tables_of_a_grid_have_the_numbers_of_the_records(grid: str):
    path = ROOT / "results/published" / grid / "tables/cells.csv"
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert rows
    for row in rows:
        place = STORE / row["dataset"] / row["model"] / row["method"] / f"seed{row['seed']}"
        metrics = read(place / "record.json").metrics
        numbers = {name: float(row[name]) for name in METRICS if row.get(name)}
        assert "accuracy" in numbers
        assert numbers == pytest.approx({name: metrics[name] for name in numbers}, rel=1e-9)


@pytest.mark.parametrize("grid", GRIDS)
def test_tables_of_a_grid_are_those_of_its_records(
    grid: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(ROOT)
    tables.write(collect(load_grid(f"configs/{grid}.yaml"), STORE), tmp_path)
    published = ROOT / "results/published" / grid / "tables"
    files = {path.name: path.read_text() for path in published.iterdir()}
    assert files == {path.name: path.read_text() for path in tmp_path.iterdir()}


def test_the_page_names_the_grids_of_which_records_are_missing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(ROOT)
    missing = {
        path.stem
        for path in Path("configs").glob("*.yaml")
        if not all((STORE / cell.name / "record.json").exists() for cell in load_grid(path).every)
    }
    rows = part(text_of("reproduce.md"), "## Missing records")
    assert {name for row in rows for name in re.findall(r"`([^`]+)`", row[0])} == missing


SPARSE = "b1-scratch+activity_l1=2e-3"
TRAINED = {
    ("mnist", "fc2", "fc2"): ("mnist/fc2", SPARSE),
    ("mnist", "fc8", "deep"): ("mnist+epochs=10/fc8", ""),
    ("mnist", "fc16", "deep"): ("mnist+epochs=10/fc16", ""),
    ("mnist", "lenet5", "lenet5, tenth"): (
        "mnist/lenet5", f"b1-scratch+activity_l0=5e-5+{COUNT.format(30)}"
    ),
    ("fashion-mnist", "fc2", "fc2"): ("fashion-mnist/fc2", SPARSE),
    ("fashion-mnist", "fc2", "deep"): ("fashion-mnist+epochs=60/fc2", ""),
    ("fashion-mnist", "lenet5", "lenet5, tenth"): (
        f"{SHIFTED}/lenet5", f"b1-scratch+activity_l0=1.7e-4+{COUNT.format(60)}"
    ),
}  # fmt: skip
"""Row of the README: its network, and the sparse method."""


def trained(network: str) -> list[str]:
    """Accuracy and spikes per neuron, as the README shows them."""
    records = of_seeds(network)
    spikes = mean(record.value("spikes_per_neuron") for record in records)
    return [shown([record.value("accuracy") for record in records]), f"{spikes:.3f}"]


def test_the_readme_has_the_accuracy_of_the_records():
    rows = part((ROOT / "README.md").read_text(), "## MNIST and Fashion-MNIST")
    assert {(r[0], r[1], r[-1].replace("`", "")) for r in rows} == TRAINED.keys()
    for row in rows:
        place, sparse = TRAINED[row[0], row[1], row[-1].replace("`", "")]
        ann = shown([record.value("accuracy") for record in of_seeds(f"{place}/ann")])
        last = trained(f"{place}/{sparse}") if sparse else ["–", "–"]
        assert row[2:7] == [ann, *trained(f"{place}/b1-scratch"), *last]


NARROW, SPARSER = "airbench-128-residual", "b1-airbench-sparse+activity_l0"
LISTENED = "b1-airbench+source=ann-airbench~activity_l1"
CIFAR = [
    ("airbench-256-residual", "ann-airbench+cutmix=0.5+cutout=0+epochs=60"),
    (NARROW, "ann-airbench"),
    (NARROW, "b1-airbench"),
    *[(NARROW, f"{LISTENED}={strength}") for strength in ("3e-7", "1e-6", "1.6e-6", "3e-6")],
    *[(NARROW, f"{SPARSER}={strength}") for strength in ("1e-6", "4e-6", "1.6e-5")],
    ("vgg16", "ann-onecycle"),
    ("vgg16", "b1-onecycle"),
]
"""Rows of the first table of the page on CIFAR-10: network and method."""


def test_the_page_on_cifar_has_the_numbers_of_the_records():
    rows = part("\n" + text_of("cifar.md"), text_of("cifar.md").partition("\n")[0], "network")
    assert len(rows) == len(CIFAR)
    for row, (model, method) in zip(rows, CIFAR, strict=True):
        found = [read(p) for p in STORE.glob(f"cifar10-jpeg/{model}/{method}/seed*/record.json")]
        accuracy, spikes = ([r.value(m) for r in found] for m in ("accuracy", "spikes_per_neuron"))
        assert row[2].partition(" (")[0] == (
            shown(accuracy) if row[4] == "3" else f"{accuracy[0]:.2f}"
        )
        assert row[3:] == ["–" if spikes[0] is None else f"{spikes[0]:.3f}", str(len(found))]


def test_the_page_on_cifar_has_the_numbers_of_the_airbench_records():
    rows = part(text_of("cifar.md"), "## MNIST and Fashion-MNIST", "data set")
    networks = [
        ("fashion-mnist/airbench-64", "activity_l1=3.5e-6~cutout=8~*"),
        ("fashion-mnist/airbench-64", "cutout=8~*"),
        ("", ""),  # a trial
        ("mnist/airbench-64", "epochs=32~*"),
        ("", ""),
        ("mnist+validation=1000/airbench-32", "*"),
    ]
    for row, (network, source) in zip(rows, networks, strict=True):
        if not network:
            continue
        assert network.startswith(row[0].lower().partition(",")[0])
        place = f"{network}/b1-airbench+source=ann-airbench-28~{source}"
        found = [read(path) for path in STORE.glob(f"{place}/seed*/record.json")]
        assert len(found) == 3
        accuracy, spikes, latency = (
            [record.value(metric) for record in found]
            for metric in ("accuracy", "spikes_per_neuron", "latency")
        )
        assert row[4:7] == [shown(accuracy), f"{mean(spikes):.3f}", f"{mean(latency):.0f}"]


TUNED = "tuning.batch_size=256+tuning.epochs={}+tuning.learning_rate={}+tuning.weight_decay=0"
CLOCK = "time_bits={}+time_rounding=nearest+window_quantile=0.99"
FOUR_BITS = "four-bits+{}window_quantile=0.999"
DEPLOYED = {
    "latency / 4, 8 epochs": ("latency_cut=4", f"latency_cut=4+{TUNED.format(8, '1e-4')}"),
    "16 time steps": (CLOCK.format(4), ""),
    "8 time steps": (CLOCK.format(3), ""),
    **{
        f"4-bit weights, 16 time steps, {epochs} epochs": (
            FOUR_BITS.format(""), FOUR_BITS.format(f"{TUNED.format(epochs, 0.01)}+")
        )
        for epochs in (8, 16)
    },
}  # fmt: skip
SHORT = "b1-onecycle+source=ann-onecycle~epochs=25~learning_rate=0.03"


def on_vgg16(method: str, chip: str, kind: str) -> str:
    """The accuracy of a chip of VGG16, as pages show it."""
    place = STORE / f"cifar10-jpeg/vgg16/{method}/seed0/hardware/{chip}/record.json"
    found = [r["value"] for r in read(place).rows if _is_accuracy(r, kind)] if chip else []
    return f"{mean(found):.2f}" if found else "–"


def test_the_page_on_cifar_has_the_chips_of_the_records():
    rows = part(text_of("cifar.md"), "## VGG16 on a chip", "chip")
    assert [row[0] for row in rows] == list(DEPLOYED)
    for name, *values in rows:
        mapped, tuned = DEPLOYED[name]
        kinds = (mapped, "ttfs"), (tuned, "ttfs"), (mapped, "relu"), (tuned, "relu")
        assert values == [on_vgg16("b1-onecycle", *chip) for chip in kinds]

    mapped, tuned = part(text_of("cifar.md"), "### 4-bit weights and 16 steps", "4-bit")
    for row, tuning in ((mapped, ""), (tuned, f"{TUNED.format(4, 0.01)}+")):
        chip = FOUR_BITS.format(tuning)
        assert row[1:] == [on_vgg16(SHORT, chip, kind) for kind in ("ttfs", "relu")]


PENALTIES = {"fc2": ("0", "6e-4", "2e-3", "6e-3"), "lenet5": ("0", "2e-4", "6e-4")}


@pytest.mark.parametrize("model", PENALTIES)
def test_the_page_on_sparsity_has_the_numbers_of_the_records(model: str):
    rows = part(text_of("studies.md"), f"### {model}", "L1")
    places = [f"mnist/{model}", f"{SHIFTED if model == 'lenet5' else 'fashion-mnist'}/{model}"]
    wanted = []
    for strength in PENALTIES[model]:
        method = f"b1-scratch+activity_l1={strength}".removesuffix("+activity_l1=0")
        wanted.append([strength, *(n for place in places for n in trained(f"{place}/{method}"))])
    assert rows == wanted


def test_the_page_on_surrogates_has_the_gains_of_the_record():
    record = read(STORE / "studies/surrogate-mnist/record.json")
    rows = part(text_of("studies.md"), "## Surrogate", "depth \\| α")
    assert len(rows) == 4
    for depth, *gains, critical in rows:
        at = {r["alpha"]: r["value"] for r in record.rows if r["metric"] == "surrogate_gain"
              and r["depth"] == int(depth)}  # fmt: skip
        assert gains == [f"{at[alpha]:.2f}" for alpha in sorted(at)]
        assert critical == f"{record.value('critical_alpha', depth=int(depth)):.2f}"


COMPARED = {
    "ReLU network": "ann",
    "B1, mapped": "b1-converted",
    "B1, penalty 6e-4": "b1-scratch+activity_l1=6e-4",
    "α1, mapped": "alpha1-converted",
    "rate, max": "rate",
    "rate, tuned": "rate+threshold=tuned",
    "LIF": "lif+steps={}",
    "LIF, penalty 3e-3": "lif+activity_l1=3e-3+steps={}",
    "LIF, penalty 1e-4": "lif+activity_l1=1e-4+steps={}",
}
COLUMNS = {
    "agreement": ".2f", "spikes_per_neuron": ".3f", "synaptic_operations": ",.0f"
}  # fmt: skip


def at_step(record: Record, metric: str, step: int) -> float | None:
    """A value after so many steps; that of the last step has no dimension."""
    found = record.value(metric, step=step) if step else None
    return record.value(metric) if found is None else found


@pytest.mark.parametrize("model", ["fc2", "lenet5"])
@pytest.mark.parametrize("dataset", ["MNIST", "Fashion-MNIST"])
def test_the_comparison_has_the_numbers_of_the_records(dataset: str, model: str):
    rows = part(text_of("compare.md"), f"### {dataset}, {model}")
    assert len(rows) > 15
    name = ""
    for label, steps, *row in rows:
        name = label or name
        trained, *read_after = re.findall(r"\d+", steps) or ["0"]
        method = COMPARED[name].format(trained).replace("+steps=10", "")
        records = of_seeds(f"{dataset.lower()}/{model}/{method}")
        step = int((read_after or [trained])[0])
        wanted = [shown([at_step(record, "accuracy", step) for record in records])]
        for metric, digits in COLUMNS.items():
            values = [at_step(record, metric, step) for record in records]
            wanted.append("–" if None in values else f"{mean(values):{digits}}")
        assert [cell.replace("100.00", "100") for cell in wanted] == row, (name, steps)


def test_the_comparison_has_the_commits_of_the_records(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(ROOT)
    records = collect(load_grid("configs/compare.yaml"), STORE).of("networks")
    for model in ("fc2", "lenet5"):
        own = [record for record in records if record.ids["model"] == model]
        said = text_of("compare.md").partition(f"\n## {model}\n")[2].partition("\n#")[0]
        found = {commit: int(n) for n, commit in re.findall(r"(\d+) of ([0-9a-f]{7})", said)}
        assert found == tables.versions_of(own)
        assert f"{len(own)} records" in said


CHIPS = {
    "the ideal network": ("ideal", "tuning"),
    "16 time steps a window": ("clocked+time_bits=4", "clocked+time_bits=4+tuning"),
    "8 time steps a window": ("clocked+time_bits=3", "clocked+time_bits=3+tuning"),
    "4 time steps a window": ("clocked+time_bits=2", "clocked+time_bits=2+tuning"),
    "4-bit weights": ("weight_bits=4", "tuning+weight_bits=4"),
    "3-bit weights": ("weight_bits=3", "tuning+weight_bits=3"),
    "2-bit weights": ("weight_bits=2", "tuning+weight_bits=2"),
    "2 % jitter": ("jitter=0.02+{}", "jitter=0.02+tuning+{}"),
    "5 % jitter": ("jitter=0.05+{}", "jitter=0.05+tuning+{}"),
    "10 % jitter": ("jitter=0.1+{}", "jitter=0.1+tuning+{}"),
    "latency / 5": ("latency_cut=5", "latency_cut=5+tuning"),
    "latency / 8": ("latency_cut=8", "latency_cut=8+tuning"),
    "4-bit weights, 16 time steps, 2 % jitter": ("combined", "combined+tuning"),
    "3-bit weights, 8 time steps, 2 % jitter, 2 % mismatch, 1 % dead": (
        "combined-harsh", "combined-harsh+tuning"
    ),
}  # fmt: skip
NETWORKS = ("mnist/fc2", "mnist/lenet5", "fashion-mnist/fc2", f"{SHIFTED}/lenet5")


def on_chip(network: str, chip: str, kind: str) -> list[float]:
    """Accuracy of each seed, a mean over draws."""
    chip = chip.format("window_quantile=0.99")
    return [
        mean(row["value"] for row in record.rows if _is_accuracy(row, kind))
        for record in of_seeds(f"{network}/b1-scratch", chip)
    ]


def _is_accuracy(row: dict[str, object], kind: str) -> bool:
    return row["metric"] == "accuracy" and row["network"] == kind and "class" not in row


def _chip_cell(network: str, chips: tuple[str, str], kind: str) -> str:
    if chips[0] == "ideal" and network.endswith("lenet5"):  # not put there: as it was trained
        accuracy = mean(r.value("accuracy") for r in of_seeds(f"{network}/b1-scratch"))
        return f"{accuracy:.2f}"
    mapped, tuned = (on_chip(network, chip, kind) for chip in chips)
    return f"{mean(mapped):.2f} → {shown(tuned)}"


@pytest.mark.parametrize(
    ("heading", "kind", "count"), [("## Accuracy", "ttfs", 14), ("## The control", "relu", 5)]
)
def test_the_page_on_hardware_has_the_accuracy_of_the_records(heading: str, kind: str, count: int):
    rows = part(text_of("hardware.md"), heading)
    assert len(rows) == count
    for row in rows:
        wanted = [_chip_cell(network, CHIPS[row[0]], kind) for network in NETWORKS]
        assert row[-4:] == wanted, row[0]


def test_the_readme_has_the_chips_of_the_page_on_hardware():
    page = {row[0]: row[-4:] for row in part(text_of("hardware.md"), "## Accuracy")}
    rows = part((ROOT / "README.md").read_text(), "## Imperfect hardware")
    assert len(rows) == 7
    for row in rows:
        label = row[0].replace("8 time steps", "8 time steps a window")
        wanted = [re.sub(r" ± \S+", "", cell) for cell in page[label]]
        if row[0] == "the ideal network":
            wanted = [cell.partition(" → ")[0] for cell in wanted]
        assert row[1:] == wanted
