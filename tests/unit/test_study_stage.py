"""A study in its grid: what the verb writes, which configuration is refused, and when it is stale."""

from pathlib import Path

import pandas as pd
import pytest
import torch

from ttfs import digest
from ttfs.__main__ import main
from ttfs.config import CONFIGS, kind_of, load_grid
from ttfs.errors import UserError

STUDY = """
title: Ours
trajectory:
  dataset: digits
  models: [little]
  optimizers: {adam: 1.0e-3}
  batch_size: 512
"""
GRID = "datasets: [digits]\nmodels: [fc2]\nmethods: [ann]\nseeds: [0]\nstudies: [ours]\n"


@pytest.fixture
def house(configs: Path) -> Path:
    """The working directory, with the grid tiny and its study of a little network."""
    (configs / "tiny.yaml").write_text(GRID)
    (configs / "studies" / "ours.yaml").write_text(STUDY)
    (configs / "models" / "little.yaml").write_text("title: Little\nlayers: 8\n")
    return configs.parent


def test_the_verb_writes_the_same_table_and_figure_each_time(house: Path, capsys: pytest.CaptureFixture):
    folder = Path("results/tiny/studies")
    written = []
    for _ in range(2):
        assert main(["study", "configs/tiny.yaml", "ours"]) == 0
        assert sorted(path.name for path in folder.iterdir()) == ["ours.csv", "ours.svg"]
        written.append([path.read_bytes() for path in sorted(folder.iterdir())])
        torch.rand(5)
    assert written[0] == written[1]
    assert "[tiny/ours] little, adam, float32: validation accuracy relu" in capsys.readouterr().err
    table = pd.read_csv(folder / "ours.csv")
    assert set(table["dtype"]) == {"float64", "float32"}
    assert len(table) == 2 * 4 * 4  # dtypes, networks, three steps and the end
    assert table.loc[table["network"] == "b1", "distance_max"].max() < 1e-6


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("tiny", "[ours]", "[hours]", "tiny.yaml: key 'studies': no configs/studies/hours.yaml; did you mean 'ours'?"),
        ("studies/ours", "dataset: digits", "dataset: digit", "ours.yaml: key 'trajectory.dataset': no .*digit.yaml"),
        ("studies/ours", "[little]", "[fc2, litle]", "ours.yaml: key 'trajectory.models': no .*litle.yaml; did you"),
        ("studies/ours", "adam", "adan", "ours.yaml: unknown key 'trajectory.optimizers.adan'; did you mean 'adam'?"),
        ("studies/ours", "trajectory", "gradient", "ours.yaml: unknown key 'gradient'; did you mean 'gradients'?"),
        ("studies/ours", "title: Ours", "title: Ours\ngradients: {}", "give exactly one of the keys 'trajectory' and"),
        ("models/little", "layers: 8", "layers: 8Q", "configs/models/little.yaml: "),
    ],
)  # fmt: skip
def test_a_study_that_is_wrong_stops_the_grid(house: Path, file: str, old: str, new: str, said: str):
    path = Path("configs", f"{file}.yaml")
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(UserError, match=said.replace("?", "[?]")):
        load_grid("configs/tiny.yaml")


def test_a_study_that_the_grid_does_not_name_is_refused(house: Path, capsys: pytest.CaptureFixture):
    assert main(["study", "configs/tiny.yaml", "gradients-digits"]) == 2
    assert capsys.readouterr().err == "error: grid tiny has no study 'gradients-digits'; its own are: ours\n"


@pytest.mark.parametrize(
    ("file", "old", "new", "moves"),
    [
        ("studies/ours", "1.0e-3", "2.0e-3", True),
        ("studies/ours", "title: Ours", "title: Theirs", False),
        ("models/little", "layers: 8", "layers: 9", True),
        ("models/little", "title: Little", "title: Small", False),
        ("datasets/digits", "validation: 0.1", "validation: 0.2", True),
        ("datasets/digits", "epochs: 40", "epochs: 3", False),
        ("tiny", "seeds: [0]", "seeds: [0]\nthreads: 2", True),
        ("tiny", "seeds: [0]", "seeds: [0, 1]", False),
    ],
)
def test_a_study_is_stale_when_what_its_numbers_depend_on_changes(
    house: Path, file: str, old: str, new: str, moves: bool
):
    before = load_grid("configs/tiny.yaml").study_slice("ours")
    path = Path("configs", f"{file}.yaml")
    path.write_text(path.read_text().replace(old, new))
    after = load_grid("configs/tiny.yaml").study_slice("ours")
    assert (digest.stage_digest("study", after) != digest.stage_digest("study", before)) == moves


def test_a_study_depends_on_the_code_of_studies_and_on_no_trainer():
    found = digest._closure("ttfs.stages.study")
    assert {"ttfs.studies._trajectory", "ttfs.studies._gradients", "ttfs.snn.alpha1", "ttfs.data._split"} <= found
    assert not any(name.startswith("ttfs.training") for name in found)


@pytest.mark.parametrize("path", sorted((CONFIGS / "studies").glob("*.yaml")), ids=lambda path: path.stem)
def test_each_study_that_is_shipped_can_be_read(path: Path, tmp_path: Path):
    (tmp_path / "tiny.yaml").write_text(GRID.replace("ours", path.stem))
    grid = load_grid(tmp_path / "tiny.yaml")
    assert kind_of(grid.studies[path.stem]) == path.stem.split("-")[0]
    assert set(grid.study_slice(path.stem)) == {kind_of(grid.studies[path.stem]), "threads"}
