"""What is measured over time steps: rows of each power of two, counted by hand."""

from types import SimpleNamespace

import pytest
from kit.learning import make_data
from torch import nn

import ttfs
from ttfs.methods._over_time import measure_over_steps, powers_of_two
from ttfs.metrics import fan_out
from ttfs.timed import convert_to_rate


@pytest.mark.parametrize(
    ("largest", "steps"), [(1, [1]), (2, [1, 2]), (8, [1, 2, 4, 8]), (10, [1, 2, 4, 8, 10])]
)
def test_powers_of_two_end_in_the_number(largest, steps):
    assert powers_of_two(largest) == steps


@pytest.mark.usefixtures("seed")
@pytest.mark.parametrize("threshold", ["max", "tuned"])
@pytest.mark.parametrize("at_once", [4096, 8], ids=["at once", "in parts"])
def test_each_row_is_counted_from_the_spikes_of_that_many_steps(
    tmp_path, monkeypatch, threshold, at_once
):
    monkeypatch.setattr("ttfs.methods._over_time.AT_ONCE", at_once)
    data = make_data(tmp_path, monkeypatch)
    ann = nn.Sequential(nn.Flatten(), nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 3)).eval()
    items, labels = next(iter(data.test.batches(100)))
    rate = convert_to_rate(ann, items, threshold, (1, 2, 4))
    synapses = fan_out(ttfs.convert(ann, items))
    passes = [[1], [2], [4]] if len(rate.settings) > 1 else [[1, 2, 4]]
    job = SimpleNamespace(data=data, device="cpu")
    rows = measure_over_steps(rate, passes, ann, synapses, {"parameters": 5}, job)
    by_step = {
        (row["metric"], row.get("step")): row["value"]
        for row in rows
        if len(row) < 4 and "layer" not in row and "class" not in row
    }
    (layer,) = rate.layers
    for steps in (1, 2, 4):
        logits = rate(items, steps)
        spikes = rate.observe(items, steps).spikes[layer].double().sum((0, 1))
        wanted = {
            "accuracy": 100 * (logits.argmax(1) == labels).double().mean().item(),
            "agreement": 100 * (logits.argmax(1) == ann(items).argmax(1)).double().mean().item(),
            "logit_difference": ((logits - ann(items)).abs().max() / ann(items).abs().max()).item(),
            "spikes_per_neuron": spikes.sum().item() / (12 * len(items)),
            # three synapses a spike; of the input twelve for each pixel that is not zero, once
            "synaptic_operations": (3 * spikes.sum() + 12 * (items > 0).sum()).item() / len(items),
        }
        # an addition a spike; a value of a pixel is multiplied, too
        pixels = 12 * (items > 0).sum().item()
        energy = 0.9 * 3 * spikes.sum().item() + (3.7 + 0.9) * pixels
        wanted["energy"] = energy / 1000 / len(items)
        for name, value in wanted.items():
            assert by_step[name, steps] == pytest.approx(value), (name, steps)
            if steps == 4:
                assert by_step[name, None] == by_step[name, 4]
    assert by_step["time_steps", None] == 4
    assert by_step["parameters", None] == 5
    assert ("parameters", 4) not in by_step
    assert {len(row) for row in rows if "step" in row} == {3}  # of the network as a whole
    assert {len(row) for row in rows if "step" in row} == {3}  # of the network as a whole
