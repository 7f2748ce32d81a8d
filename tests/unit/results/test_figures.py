"""Figures of networks: what is drawn, by which looks, and the same bytes from the same records."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from kit.records import grid, made_up, results, write_curve
from matplotlib.layout_engine import ConstrainedLayoutEngine

from ttfs.config import NO_MODEL, STORE, Variant
from ttfs.results import figures, frame, record
from ttfs.results.figures.style import models, save
from ttfs.results.frame import cells, collect


def test_figures_are_written_and_the_same_each_time(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("one", "two"):
        figures.write(results(), tmp_path / folder)
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    made = ("accuracy-by-spikes", "class-accuracy", "confusion", "spikes-by-layer")
    endings = ("pdf", "png", "rst", "svg")
    assert names == [f"{name}.{ending}" for name in made for ending in endings]
    for name in names:
        one, two = ((tmp_path / folder / name).read_bytes() for folder in ("one", "two"))
        assert one == two
    caption = (tmp_path / "one" / "confusion.rst").read_text()
    assert caption.startswith("Share of the test items of each class")
    assert caption.endswith("Made by ``ttfs figures tiny.yaml``.\n")


def test_a_figure_without_anything_to_show_is_not_made(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    figures.write(results([made_up(error="boom")]), tmp_path / "figures")
    assert not (tmp_path / "figures").exists()


def test_layers_have_their_names_at_the_axis():
    (axes,) = figures.spikes_by_layer(frame.layers(results())).axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["layers.2", "layers.10"]


def test_models_differ_in_gray_print():
    looks = models(pd.Series(["fc2", "cnn", "vgg"]))
    for name in ("color", "linestyle", "fillstyle"):
        assert len({str(look[name]) for look in looks.values()}) == 3


def test_the_confusion_matrix_has_shares_by_class():
    (axes,) = figures.confusion(
        results().of("networks"), frame.summary(results(), cells(results()))
    ).axes
    (image,) = axes.images
    assert image.get_array().tolist() == [[0, 0], [1, 0]]  # all 7 items of class 1 got answer 0
    assert axes.get_title(loc="left") == "digits, fc2: b1-converted"


def test_seeds_whose_answers_leave_classes_out_have_matrices_of_one_size():
    def of(seed: int, *places: tuple[int, int]) -> record.Record:
        made = made_up(seed=seed)
        rows = [row for row in made.rows if row["metric"] != "confusion"]
        rows += [{"metric": "confusion", "value": 5, "class": label, "predicted": answer}
                 for label, answer in places]  # fmt: skip
        return replace(made, rows=tuple(rows))

    found = results([of(0, (0, 0), (2, 1)), of(1, (0, 1))])
    (axes,) = figures.confusion(found.of("networks"), frame.summary(found, cells(found))).axes
    (image,) = axes.images
    assert image.get_array().tolist() == [[0.5, 0.5, 0], [0, 0, 0], [0, 0.5, 0]]


def test_accuracy_figure_draws_each_seed_mean_and_reference():
    (axes,) = figures.accuracy_by_spikes(frame.cells(results()), {"digits": "ann"}).axes
    data = [
        sorted(zip(*line.get_data(), strict=True)) for line in axes.lines if len(line.get_xdata())
    ]
    assert [(0.4, 98.0), (0.5, 97.0)] in data
    assert [pytest.approx((0.45, 97.5))] in data
    heights = [{y for _, y in line} for line in data]
    assert {97.0} in heights  # mean of the ANN


def test_accuracy_figure_has_points_of_a_spiking_classifier_without_a_network():
    ids = {"dataset": "digits", "status": "ok"}
    rows = [
        {**ids, "model": "fc2", "method": "b1", "accuracy": 98.0, "spikes_per_neuron": 0.5},
        {**ids, "model": NO_MODEL, "method": "stdp", "accuracy": 90.0, "spikes_per_neuron": 0.4},
    ]
    figure = figures.accuracy_by_spikes(pd.DataFrame(rows), {})
    (axes,) = figure.axes
    assert [0.4] in [list(line.get_xdata()) for line in axes.lines]
    [legend] = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["fc2", "b1", "stdp"]


def test_the_legend_of_accuracies_names_the_lines_that_are_drawn():
    ids = {"dataset": "digits", "model": "fc2", "status": "ok", "accuracy": 98.0}
    table = pd.DataFrame(
        [{**ids, "method": "ann"}, {**ids, "method": "b1", "spikes_per_neuron": 0.5}]
    )
    for reference, named in (("ann", ["ann (mean)"]), ("b1", []), ("elsewhere", [])):
        figure = figures.accuracy_by_spikes(table, {"digits": reference})
        [legend], [axes] = figure.legends, figure.axes
        assert [text.get_text() for text in legend.get_texts()] == ["fc2", "b1", *named]
        assert [line.get_linestyle() for line in axes.lines].count("--") == len(named)


def test_the_layout_of_a_figure_is_found_once_for_all_formats(tmp_path: Path, monkeypatch):
    execute, found = ConstrainedLayoutEngine.execute, []

    def count(self, figure):
        found.append(figure)
        execute(self, figure)

    monkeypatch.setattr(ConstrainedLayoutEngine, "execute", count)
    figure = figures.accuracy_by_spikes(frame.cells(results()), {"digits": "ann"})
    save(figure, tmp_path, "drawn", "A caption")
    assert {path.suffix for path in tmp_path.iterdir()} == {".svg", ".pdf", ".png", ".rst"}
    assert found == [figure]


def test_labels_are_drawn_by_their_number_and_all_come_last():
    names = ("files+labels=100+epochs=9", "files", "files+encoding=one-hot", "files+labels=20")
    points = {name: Variant(name, {"id": "files"}) for name in (*names, "mnist", "mnist+epochs=9")}
    for name, count in zip(points, (100, None, None, 20, None, None), strict=True):
        points[name].config["labels"] = count
    of = figures.labels_of(replace(grid(), datasets=points))
    assert set(of) == set(names) - {"files+encoding=one-hot"}, "of the others there is one number"
    rows = [
        {"dataset": name, "model": "-", "method": "svm", "status": "ok", "accuracy": value}
        for name, values in zip(names, ((70, 72), (90,), (5,), (50,)), strict=True)
        for value in values
    ]
    (axes,) = figures.few_labels(pd.DataFrame(rows), of).axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["20", "100", "all"]
    [line] = [line for line in axes.lines if line.get_linestyle() == "-"]
    assert list(zip(*line.get_data(), strict=True)) == [(0, 50), (1, 71), (2, 90)]


def test_several_budgets_for_one_number_of_labels_stay_apart():
    found = {
        "files+labels=9": 9,
        "files+labels=9+epochs=5": 9,
        "files": None,
        "files+epochs=5": None,
    }
    points = {name: Variant(name, {"id": "files", "labels": n}) for name, n in found.items()}
    of = figures.labels_of(replace(grid(), datasets=points))
    assert {family for family, _ in of.values()} == {"files", "files+epochs=5"}
    rows = [
        {"dataset": name, "model": model, "method": "svm", "status": "ok", "accuracy": value}
        for name, value in zip(points, (60, 90, 61, 91), strict=True)
        for model in ("fc2", "fc8")
    ]
    drawn = figures.few_labels(pd.DataFrame(rows), of)
    lines = [line for axes in drawn.axes for line in axes.lines if len(line.get_xdata()) == 2]
    assert {tuple(line.get_ydata()) for line in lines} == {(60, 61), (90, 91)}
    assert len({line.get_color() for line in lines}) == 2
    assert [text.get_text() for text in drawn.legends[0].texts] == ["svm, fc2", "svm, fc8"]


def test_training_curves_are_means_with_a_band(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for seed in range(3):
        write_curve(STORE / made_up(seed=seed).name)
    figure = figures.training_curves(figures.curves_of(results()))
    (axes,) = figure.axes
    (mean,) = axes.lines
    assert list(mean.get_ydata()) == [11.0, 10.0, 9.0]
    assert (len(axes.collections), axes.get_yscale()) == (1, "log")


def test_curves_lie_beside_the_records_that_were_read(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    one, elsewhere = made_up(), Path("elsewhere")
    record.write(one, elsewhere / one.name)
    write_curve(STORE / one.name)
    assert figures.curves_of(collect(grid(), elsewhere)).empty
    write_curve(elsewhere / one.name)
    assert len(figures.curves_of(collect(grid(), elsewhere))) == 3
