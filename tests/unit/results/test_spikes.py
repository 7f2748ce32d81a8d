"""The figures of spikes: right times, right layers, right windows."""

from pathlib import Path

import numpy as np
import pytest
from kit.records import with_values
from kit.stages import cell

from ttfs.config import load_grid
from ttfs.results.figures.spikes import Spikes, raster, spike_times
from ttfs.results.frame import collect
from ttfs.results.record import RECORD, read, write
from ttfs.stages.load import load
from ttfs.stages.spikes import spikes

TIMES = {"input": np.array([[0.25, np.inf]]), "relu1": np.array([[1.5, 2.0, np.inf]])}
NETWORK = Spikes(
    "a network", "class 3, answer 3", TIMES, {"input": (0.0, 1.0), "relu1": (1.0, 3.0)}
)


def test_a_raster_has_a_dash_for_each_spike_and_a_box_for_each_window():
    (axes,) = raster([NETWORK]).axes
    assert [line.get_xdata().tolist() for line in axes.lines] == [[0.25], [1.5, 2.0]]
    boxes = [(box.get_x(), box.get_x() + box.get_width()) for box in axes.patches]
    assert boxes == [(0.0, 1.0), (1.0, 3.0)]
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["input\n1 of 2 spike", "relu1\n2 of 3 spike"]


def test_histograms_count_all_spikes_of_a_layer():
    (axes,) = spike_times([NETWORK]).axes
    shares = [patch.get_data().values.sum() for patch in axes.patches]
    assert shares == [pytest.approx(50.0), pytest.approx(200 / 3)]


def test_without_networks_there_is_no_figure():
    assert not raster([]).axes
    assert not spike_times([]).axes


@pytest.mark.parametrize("method", ["alpha1-converted", "b1-converted", "b1-finetuned"])
def test_the_spikes_are_those_of_the_most_accurate_network(little: Path, method: str):
    for name in ("alpha1-converted", "ann", "b1-converted", "b1-finetuned"):
        record = read(cell(name) / RECORD)
        accuracy = {"ann": 99.0, method: 98.0}.get(name, 97.0)
        write(with_values(record, accuracy=accuracy), cell(name))
    (found,) = spikes(collect(load_grid("configs/little.yaml")))
    assert found.title == f"made, little: {method}"
    run = load(f"results/cells/made/little/{method}/seed0")
    assert found.windows == run.network.windows
    inputs, _ = next(iter(run.data.test.batches(256)))
    for name, times in run.network.spike_times(inputs).items():
        assert np.array_equal(found.times[name], times.detach().flatten(1).numpy())
    for path in list(Path().rglob("made.npz")):
        path.unlink()
    assert spikes(collect(load_grid("configs/little.yaml"))) == []
