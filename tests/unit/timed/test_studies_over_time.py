"""Studies over time steps: gradients by the width of the surrogate, and errors of rates."""

import math

import pandas as pd
import pytest
import torch
from torch import nn

from ttfs.config import read_named
from ttfs.data import DataSet, load
from ttfs.models import build
from ttfs.results.figures.style import svg
from ttfs.seeds import seed
from ttfs.snn import convert
from ttfs.studies import rates as errors
from ttfs.studies import surrogate as widths
from ttfs.studies.figures import draw
from ttfs.studies.networks import shuffled
from ttfs.timed import TERMS, convert_to_rate, error_split, to_leaky
from ttfs.timed.conversion import pre_activations


@pytest.fixture(scope="module")
def digits() -> DataSet:
    return load(read_named("dataset", "digits", "a test"))


def stack(depth: int, seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Linear(60, 60, bias=False), nn.BatchNorm1d(60), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(60, 4))


def test_gradients_of_the_last_layer_follow_by_hand():
    """The last currents reach the loss through the surrogate alone: dL/dI = w · dL/dlogits · s."""
    network = to_leaky(stack(2, 0), torch.zeros(1, 60), steps=1, beta=0.9, alpha=3.0).double()
    x, y = torch.rand(7, 60).double(), torch.randint(0, 4, (7,))
    *_, last = widths.gradients(network, x, y)
    seen = []
    hook = list(network.layers.values())[-1].register_forward_pre_hook(
        lambda m, i: seen.append(i[0])
    )
    logits = network(x)
    hook.remove()
    off = (logits.softmax(1) - nn.functional.one_hot(y, 4)) / 7
    (head,) = [m for m in network.modules() if isinstance(m, nn.Linear) and m.out_features == 4]
    wanted = (off @ head.weight) / (1 + 3.0 * (seen[0] - 1).abs()) ** 2
    torch.testing.assert_close(last[0], wanted)


def test_the_gain_falls_with_alpha_and_is_one_at_the_critical_value():
    network = to_leaky(stack(8, 1), torch.zeros(1, 60), steps=6)
    x, y = torch.rand(32, 60), torch.randint(0, 4, (32,))

    def gain(alpha: float) -> float:
        widths.set_alpha_(network, alpha)
        return widths.gain(widths.gradients(network, x, y))

    gains = [gain(alpha) for alpha in (0.5, 1, 2, 5, 10, 50)]
    assert gains == sorted(gains, reverse=True)
    critical = widths.critical_alpha(network, x, y)
    assert 1 < critical < 5
    assert gain(critical) == pytest.approx(1.0, abs=1e-3)
    found = widths.gradients(network, x, y)
    ratio = found[0].norm() / found[-1].norm()
    assert gain(critical) == pytest.approx(ratio.item() ** (1 / 7), rel=1e-5)


def surrogate_block(**changes) -> dict:
    content = {
        "dataset": {"id": "digits"}, "width": 24, "depths": [2, 3], "time_steps": 3, "beta": 0.9,
        "alphas": [1, 4],
        "multiples": [1.0], "draws": 2, "steps": 5, "batch_size": 16, "learning_rate": 1e-2,
    }  # fmt: skip
    return content | changes


def test_gradients_that_all_but_vanish_are_measured(digits):
    """A narrow surrogate takes 15 layers to norms whose squares float32 does not hold."""
    block = surrogate_block(depths=[15], alphas=[1000.0], draws=1, multiples=[])
    table = widths.surrogate(block, digits, print)
    norms = table.loc[table["quantity"] == "gradient", "value"].tolist()
    [gain] = table.loc[table["quantity"] == "gain", "value"]
    assert 0 < norms[0] < 1e-23
    assert gain == pytest.approx((norms[0] / norms[-1]) ** (1 / 14), rel=1e-9)


def test_the_surrogate_study_is_repeatable_and_sums_up_what_it_measured(digits):
    said: list[str] = []
    table = widths.surrogate(surrogate_block(), digits, said.append)
    assert len(said) == 2
    assert list(table.columns) == widths.COLUMNS
    pd.testing.assert_frame_equal(table, widths.surrogate(surrogate_block(), digits, said.append))
    layers = table[(table["quantity"] == "gradient") & (table["depth"] == 3)]
    assert sorted(layers["index"].unique()) == [1, 2, 3]
    rates = table.loc[table["quantity"] == "firing_rate", ["depth", "draw", "index", "value"]]
    assert (
        rates.groupby(["depth", "draw", "index"])["value"].nunique() == 1
    ).all()  # whatever α is
    rows = list(widths.summary(table))
    critical = [row["value"] for row in rows if row["metric"] == "critical_alpha"]
    own = table[table["quantity"] == "critical_alpha"].groupby("depth")["value"].median()
    assert critical == own.tolist()
    assert {row["metric"] for row in rows} == {
        "critical_alpha",
        "surrogate_gain",
        "validation_accuracy",
    }
    figure = svg(draw("surrogate", "A title", table.to_csv(index=False)))
    assert figure == svg(draw("surrogate", "A title", table.to_csv(index=False)))
    assert all(f"depth {depth}".encode() in figure for depth in table["depth"].unique())


def test_the_rows_of_the_surrogate_study_are_those_of_its_networks(digits):
    block = surrogate_block(depths=[3], draws=3, alphas=[2.0], beta=0.6, multiples=[0.5])
    table = widths.surrogate(block, digits, print)
    images, labels = next(iter(digits.train.batches(16)))
    start, trained = (table[table["moment"] == m] for m in ("initialization", "trained"))
    for number in range(3):
        network = widths._network(block, digits, 3, number).double()
        assert {layer.beta for layer in network.layers.values()} == {0.6}
        widths.set_alpha_(network, 2.0)
        found = widths.gradients(network, images.double(), labels)
        own = start[start["draw"] == number].set_index("quantity")["value"]
        assert own["gradient"].tolist() == [layer.norm().item() for layer in found]
        assert own["gradient_by_step"].tolist() == [step.norm().item() for step in found[1]]
        assert own["gain"] == widths.gain(found)
    critical = start.loc[start["quantity"] == "critical_alpha", "value"].tolist()
    assert trained["alpha"].tolist() == [0.5 * critical[0]]
    assert trained["quantity"].tolist() == ["validation_accuracy"]
    gains = start.loc[start["quantity"] == "gain", "value"].tolist()
    said = {row["metric"]: row["value"] for row in widths.summary(table)}
    assert said["critical_alpha"] == sorted(critical)[1]
    assert said["surrogate_gain"] == sorted(gains)[1]


def test_a_gradient_that_vanishes_or_never_was_has_no_gain():
    none, some = torch.zeros(2), torch.ones(2)
    assert widths.gain([none, some]) == widths.gain([some, none]) == 0.0
    assert widths.gain([4 * some, some, some]) == pytest.approx(2.0)


def rate_block(**changes) -> dict:
    model = {
        "id": "little", "layers": "4C3-P2-12", "padding": "same", "batch_norm": "before",
        "dropout": 0.0, "initialization": "he-uniform",
    }  # fmt: skip
    content = {
        "dataset": {"id": "digits"}, "models": [model], "thresholds": ["max", "tuned"],
        "bias_corrections": ["none"],
        "time_steps": [2, 32],
        "steps": 60, "batch_size": 32, "learning_rate": 1e-2, "calibration_items": 200,
        "items": 40, "seed": 0,
    }  # fmt: skip
    return content | changes


def test_the_study_of_rates_finds_less_error_with_more_steps_and_none_in_ttfs(digits):
    said: list[str] = []
    table = errors.rates(rate_block(), digits, said.append)
    assert len(said) == 2 + 2 * 2
    parts = table[table["term"] != "all"]
    assert set(parts["term"]) == set(TERMS)
    ttfs = parts[parts["threshold"] == "ttfs"]
    assert len(ttfs) == 2 * len(TERMS)
    assert ttfs["rms"].max() < 1e-6
    size = parts.groupby(["threshold", "steps"])["rms"].apply(lambda v: math.sqrt((v**2).mean()))
    for way in ("max", "tuned"):
        assert size[way, 32] < 0.5 * size[way, 2]
    assert size["tuned", 2] < size["max", 2]
    first = parts[(parts["depth"] == 1) & (parts["threshold"] != "ttfs")]
    deviation = first.loc[first["term"] == "deviation", "rms"]
    assert deviation.max() < 1e-6  # its currents are constant
    whole = table[table["term"] == "all"].set_index(["threshold", "steps"])["accuracy"]
    assert whole["ttfs", 0] == whole["ann", 0]
    light = errors.rates(
        rate_block(thresholds=["max"], bias_corrections=["light"], time_steps=[2]),
        digits,
        said.append,
    )
    own = light[light["threshold"] == "max+light"]
    last = own[own["depth"] == own["depth"].max()]
    plain = parts[(parts["threshold"] == "max") & (parts["steps"] == 2)]
    plain = plain[plain["depth"] == plain["depth"].max()]
    assert abs(last["mean"].sum()) < abs(plain["mean"].sum())  # the mean error is what it removes
    rows = list(errors.summary(table))
    assert sum(row["metric"] == "validation_accuracy" for row in rows) == 6
    exact = [
        row["value"] for row in rows if row["metric"] == "rate_error" and row["threshold"] == "ttfs"
    ]
    assert exact
    assert max(exact) < 1e-6
    figure = svg(draw("rates", "A title", table.to_csv(index=False)))
    assert figure == svg(draw("rates", "A title", table.to_csv(index=False)))


def test_the_rows_of_the_rate_study_are_those_of_the_split(digits):
    block = rate_block(thresholds=["max"], bias_corrections=["light"], time_steps=[8], items=700)
    [model] = block["models"]
    table = errors.rates(block, digits, print)
    ann = errors._trained(block, digits, model, ("digits", "little", 0))
    items = next(iter(digits.train.batches(200)))[0]
    images, labels = next(iter(digits.validation.batches(700)))
    rate = convert_to_rate(ann, items, "max", 8, bias_correction="light")
    whole = table[table["term"] == "all"].set_index("threshold")["accuracy"]
    for name, network in (("ann", ann), ("max+light", rate)):
        right = network(images).argmax(1) == labels
        assert whole[name] == pytest.approx(100 * right.double().mean().item())
    snn, shares = convert(ann, items), []
    activations = snn.charges(images)[1]
    for name, terms in error_split(rate, snn, images, 8).items():
        size = activations[name].square().mean().sqrt()
        for term, error in terms.items():
            own = table[(table["layer"] == name) & (table["term"] == term)]
            [row] = own[own["threshold"] == "max+light"].to_dict("records")
            assert row["mean"] == pytest.approx((error.mean() / size).item(), abs=1e-6)
            assert row["rms"] == pytest.approx((error.square().mean().sqrt() / size).item())
            shares.append((term, row["rms"]))
    for row in errors.summary(table):
        if row["metric"] == "rate_error" and row["threshold"] == "max+light":
            own = [share for term, share in shares if term == row["term"]]
            assert row["value"] == pytest.approx(math.sqrt(sum(x * x for x in own) / len(own)))


def test_the_networks_of_the_rate_study_learn_at_a_rate_that_falls_by_a_cosine(digits):
    block = rate_block(steps=4)
    [model] = block["models"]
    found = errors._trained(block, digits, model, ("digits", "little", 0))
    torch.manual_seed(seed("digits", "little", 0, "init"))
    ann = build(model, digits.shape, digits.classes).train()
    batches = iter(shuffled(digits, 32, ("digits", "little", 0)))
    optimizer = torch.optim.Adam(ann.parameters())
    for step in range(4):
        optimizer.param_groups[0]["lr"] = 1e-2 * (1 + math.cos(math.pi * step / 4)) / 2
        images, labels = next(batches)
        optimizer.zero_grad()
        nn.functional.cross_entropy(ann(images), labels).backward()
        optimizer.step()
    for name, value in ann.state_dict().items():
        torch.testing.assert_close(found.state_dict()[name], value)


def test_the_split_of_a_ttfs_network_says_where_its_window_clips():
    ann = nn.Sequential(nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 2)).eval()
    nn.utils.vector_to_parameters(torch.tensor([1.0, 0.0, 1.0, 1.0, 0.0, 0.0]), ann.parameters())
    images = torch.tensor([[0.25], [1.0]])
    snn = convert(ann, images[:1], headroom=0.0)  # a window as wide as 0.25
    [terms] = errors.ttfs_split(snn, images, pre_activations(snn, images)).values()
    assert terms["clipping"].flatten().tolist() == [0.0, 0.75]
    assert all(terms[term].abs().max() == 0 for term in TERMS if term != "clipping")
