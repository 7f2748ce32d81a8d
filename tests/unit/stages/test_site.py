"""site: the published grids as pages, without what lies beside the records of a run."""

from pathlib import Path

from kit.stages import GRID

from ttfs.__main__ import main

SITE = Path("results/site")


def test_a_published_grid_without_a_title_has_its_pages(little: Path):
    assert "title" not in (little / GRID).read_text(encoding="utf-8")
    assert main(["archive", GRID, "--mixed"]) == 0
    assert main(["site"]) == 0
    gathered = (SITE / "index.html").read_text(encoding="utf-8")
    assert '<a href="little/index.html">little</a>: little' in gathered
    page = (SITE / "little" / "index.html").read_text(encoding="utf-8")
    assert "<h1>little</h1>" in page
    assert "../../published/cells/made/little/ann/seed0/record.json" in page
    drawn = {path.stem for path in (SITE / "little" / "figures").glob("*.svg")}
    assert "accuracy-by-spikes" in drawn
    assert "training-curves" not in drawn  # curves are not published


def test_a_published_grid_whose_file_is_gone_costs_no_other_its_page(little: Path, capsys):
    assert main(["archive", GRID, "--mixed"]) == 0
    Path("results/published/gone/tables").mkdir(parents=True)
    assert main(["site"]) == 0
    said = capsys.readouterr().err
    assert "warning: configs/gone.yaml: no such file; results/published/gone is left out" in said
    assert (SITE / "little" / "index.html").exists()
