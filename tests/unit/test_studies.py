"""Studies: B1 learns as its ReLU network does and α1 does not; what is measured is what the
formulas say.
"""

import copy
import math
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ttfs.config import read_named
from ttfs.data import DataSet, load
from ttfs.errors import UserError
from ttfs.models import build
from ttfs.results.figures.style import svg
from ttfs.snn import Alpha1Synapses, convert, stalled_neurons, to_alpha1_
from ttfs.studies import trajectory as trajectories
from ttfs.studies.figures import draw
from ttfs.studies.gradients import gain, gradients, gradients_by_layer, jacobian, weights_product
from ttfs.studies.networks import NETWORKS, Learner, four_networks
from ttfs.studies.trajectory import trajectory
from ttfs.studies.weights import in_relu_terms, matrices, scales

DEEP = "-".join(["64"] * 7)


@pytest.fixture(scope="module")
def digits() -> DataSet:
    return load(read_named("dataset", "digits", "a test"))


def model(layers: str, **changes: Any) -> dict[str, Any]:
    plain = {
        "padding": "valid",
        "batch_norm": "none",
        "dropout": 0.0,
        "initialization": "he-uniform",
    }
    return {"id": f"of-{layers.lower()}", "layers": layers, **plain, **changes}


def block(*models: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The trajectory block of a study."""
    settings = {
        "dataset": {"id": "digits"}, "models": models, "optimizers": {"adam": 3e-3, "sgd": 0.05},
        "momentum": 0.9,
        "dtypes": ["float64"], "epochs": 1, "batch_size": 64, "seed": 0, "every": 6,
        "window_growth": 10.0,
    }  # fmt: skip
    return settings | changes


def silent(_: str) -> None:
    """Where a test does not look at the progress."""


@pytest.fixture(scope="module")
def run(digits: DataSet) -> pd.DataFrame:
    """Two networks, one of them deep, with both optimizers: some dozens of steps in float64."""
    return trajectory(block(model("60"), model(DEEP)), digits, silent)


@pytest.fixture(scope="module")
def by_depth(digits: DataSet) -> pd.DataFrame:
    settings = {
        "dataset": {"id": "digits"}, "width": 64, "depths": [2, 8], "initialization": "he-uniform",
        "draws": 3,
        "images": 2, "steps": 10, "batch_size": 32, "learning_rate": 1e-3, "window_growth": 10.0,
    }  # fmt: skip
    return gradients(settings, digits, silent)


def of(table: pd.DataFrame, **wanted: Any) -> pd.DataFrame:
    for column, value in wanted.items():
        table = table[table[column] == value]
    assert len(table)
    return table


def runs(table: pd.DataFrame, network: str) -> list[pd.DataFrame]:
    """The rows of a network, run by run, that compare weights."""
    rows = of(table, network=network)
    rows = rows[rows["distance_max"].notna()]
    return [run for _, run in rows.groupby(["model", "optimizer"])]


def test_b1_follows_the_relu_network(run: pd.DataFrame):
    assert len(runs(run, "b1")) == 4
    for rows in runs(run, "b1"):
        assert rows["distance_max"].max() < 1e-9
        assert rows["update_cosine"].min() > 1 - 1e-9
    assert of(run, network="b1")["logit_difference"].max() < 1e-9
    for column in ("loss", "batch_accuracy", "validation_accuracy"):
        ours, theirs = (of(run, network=name)[column] for name in ("b1", "relu"))
        np.testing.assert_allclose(ours, theirs, rtol=1e-9)


def test_smart_alpha1_starts_as_the_relu_network_and_leaves_it(run: pd.DataFrame):
    for rows in runs(run, "alpha1-smart"):
        start, end = rows.iloc[0], rows.iloc[-1]
        assert (start["step"], end["step"]) == (0, 21)
        assert start["distance_max"] < 1e-12
        assert start["stalled_neurons"] == 0
        assert start["logit_difference"] < 1e-12
        assert start["update_cosine"] < 0.9
        assert end["distance_max"] > 1e-3
        assert end["distance_l2"] > 1e-3


def test_drawn_alpha1_starts_elsewhere_with_stalled_neurons(run: pd.DataFrame):
    for rows in runs(run, "alpha1"):
        assert rows.iloc[0]["distance_l2"] > 0.1
        assert rows.iloc[0]["logit_difference"] > 0.1
        assert rows.iloc[0]["stalled_neurons"] > 0.05
    assert all(rows["stalled_neurons"].max() == 0 for rows in runs(run, "b1"))


def test_deep_drawn_alpha1_does_not_learn_where_relu_and_b1_do(run: pd.DataFrame):
    ends = of(run, model=model(DEEP)["id"], optimizer="adam", step=21)
    accuracy = ends.set_index("network")["validation_accuracy"]
    assert accuracy["relu"] == accuracy["b1"] > 70
    assert accuracy["alpha1"] < 40


def test_each_step_has_a_row_and_each_sixth_compares(run: pd.DataFrame):
    rows = of(run, network="alpha1-smart", optimizer="sgd", model="of-60")
    assert list(rows["step"]) == list(range(22))
    assert list(rows[rows["distance_l2"].notna()]["step"]) == [0, 6, 12, 18, 21]
    assert rows["loss"].notna().sum() == 21
    assert list(rows[rows["validation_accuracy"].notna()]["step"]) == [21]


def test_a_network_whose_loss_is_not_finite_ends_alone(
    digits: DataSet, monkeypatch: pytest.MonkeyPatch
):
    def spoiled(*arguments: Any) -> dict[str, nn.Module]:
        networks = four_networks(*arguments)
        with torch.no_grad():
            list(networks["alpha1"].parameters())[-2].mul_(1e308)  # the weights of the output
        return networks

    monkeypatch.setattr(trajectories, "four_networks", spoiled)
    said: list[str] = []
    table = trajectory(
        block(model("20"), optimizers={"sgd": 0.05}, batch_size=256), digits, said.append
    )
    [ended] = of(table, network="alpha1").to_dict("records")
    assert (ended["step"], ended["status"]) == (0, "diverged")
    assert not math.isfinite(ended["loss"])
    assert all(len(of(table, network=name)) == 7 for name in NETWORKS[:3])
    assert set(table["status"]) == {"ok", "diverged"}
    assert "alpha1 diverged at step 0" in said[0]


def test_a_loss_that_is_not_finite_moves_no_weight():
    network = nn.Linear(2, 2)
    before = copy.deepcopy(network.state_dict())
    learner = Learner(network, torch.optim.Adam(network.parameters(), 0.1), 10.0)
    _, loss = learner.learn(torch.full((1, 2), math.inf), torch.tensor([0]))
    assert not math.isfinite(loss)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    learner.learn(torch.ones(1, 2), torch.tensor([0]))
    assert not torch.equal(network.weight, before["weight"])


def test_weights_that_cannot_be_compared_are_refused(digits: DataSet):
    for changes, said in (
        (
            {"batch_norm": "after"},
            "of-12.yaml: .* the mapping changes this network's; take one without batch norm",
        ),
        ({"dropout": 0.5}, "of-12.yaml: key 'dropout': .* set it to 0"),
    ):
        with pytest.raises(UserError, match=said):
            trajectory(block(model("12", **changes)), digits, silent)


def test_gradients_of_inputs_on_another_range_are_refused(digits: DataSet):
    other = replace(digits, input_range=(-0.8, 1.8))
    content = {"dataset": {"id": "digits"}, "depths": [2], "draws": 1}
    with pytest.raises(UserError, match=r"those of 'digits' are on \[-0\.8, 1\.8\]; take a data"):
        gradients(content, other, silent)


def test_scales_of_the_mapping_are_undone(seed: int):
    """A chain of convolution, pooling and dense layers, some of whose sums of weights are beyond
    what α1 takes.
    """
    ann = build(model("6C3-P2-10-8"), (1, 8, 8), 10).double()
    for layer in (ann.conv1, ann.linear2, ann.linear3):
        nn.init.normal_(layer.bias)
        layer.weight.data[0].abs_()  # a sum far above 1
        layer.weight.data[1].abs_().mul_(-20)  # one far below -10
    snn = convert(ann, torch.rand(8, 1, 8, 8, dtype=torch.float64), "alpha1")
    found = scales(snn, ann)
    assert [len(scale) for scale in found] == [1, 6, 10, 8, 1]
    assert all(scale.min() < 0.9 for scale in found[1:-1])
    for own, undone, wanted in zip(
        matrices(snn), in_relu_terms(snn, found), matrices(ann), strict=True
    ):
        assert not torch.allclose(own, wanted)
        torch.testing.assert_close(undone, wanted, rtol=1e-10, atol=1e-12)


def four(seed: int, depth: int = 3, width: int = 12) -> dict[str, nn.Module]:
    """The four networks for images [1, 4, 5], with biases; in the drawn one, neurons 0 of each
    layer are stalled.
    """
    ann = build(model("-".join([str(width)] * depth)), (1, 4, 5), 4).double()
    for layer in (m for m in ann.modules() if isinstance(m, nn.Linear)):
        nn.init.normal_(layer.bias)
    some = torch.rand(16, 1, 4, 5, dtype=torch.float64)
    b1, smart, drawn = (convert(ann, some, neuron, 99.0) for neuron in ("b1", "alpha1", "b1"))
    to_alpha1_(drawn, drawn=True)
    for synapses in (m for m in drawn.modules() if isinstance(m, Alpha1Synapses)):
        synapses.currents.data[0].abs_().mul_(-4)
        synapses.currents.data[1:].abs_()
    for layer in drawn.layers.values():
        layer.width = 1e6
    assert stalled_neurons(drawn) == pytest.approx(1 / width)
    return dict(zip(NETWORKS, (ann, b1, smart, drawn), strict=True))


def by_hand(network: nn.Module, image: Tensor) -> tuple[Tensor, Tensor]:
    """Logits, and the product of the hidden layers' masked weights, of the ReLU network that the
    matrices describe.
    """
    charges, product = image.flatten(), torch.eye(image.numel(), dtype=torch.float64)
    *hidden, output = matrices(network)
    for matrix in hidden:
        potential = matrix[:, :-1] @ charges + matrix[:, -1]
        product = torch.diag((potential > 0).double()) @ matrix[:, :-1] @ product
        charges = potential.relu()
    return output[:, :-1] @ charges + output[:, -1], product


def test_the_jacobian_is_the_product_of_masked_matrices(seed: int):
    image = torch.rand(1, 4, 5, dtype=torch.float64)
    for network in four(seed).values():
        logits, product = by_hand(network, image)
        torch.testing.assert_close(network(image[None])[0], logits)
        torch.testing.assert_close(jacobian(network, image), product)


def test_the_product_of_weights_knows_of_no_forced_spike(seed: int):
    networks = four(seed)
    product = torch.eye(20, dtype=torch.float64)
    for synapses in (m for m in networks["alpha1"].modules() if isinstance(m, Alpha1Synapses)):
        currents = synapses.currents.detach()
        product = torch.stack([row / (1 + row.sum()) for row in currents]) @ product
    torch.testing.assert_close(weights_product(networks["alpha1"]), product)
    relu = networks["relu"]
    expected = relu.linear3.weight @ relu.linear2.weight @ relu.linear1.weight
    for name in ("relu", "b1"):
        torch.testing.assert_close(weights_product(networks[name]), expected.detach())


def test_the_gain_is_the_root_mean_square_of_singular_values(seed: int):
    assert gain(3 * torch.eye(7)) == pytest.approx(3)
    matrix = torch.randn(5, 9)
    assert gain(matrix) == pytest.approx(torch.linalg.svdvals(matrix).square().mean().sqrt().item())


def test_gradients_by_layer_are_those_of_small_steps(seed: int):
    images, labels = torch.rand(6, 1, 4, 5, dtype=torch.float64), torch.arange(6) % 4
    networks = four(seed)
    for name, network in networks.items():
        before = matrices(network)
        found = list(gradients_by_layer(network, images, labels))
        assert len(found) == 3
        parameters = [p for p in network.parameters() if p.dim() == 2][:3]
        for place, (wanted, step, change) in enumerate(found):
            moved = copy.deepcopy(network)
            parameter = [p for p in moved.parameters() if p.dim() == 2][place]
            assert parameter.shape == parameters[place].shape
            size = 1e-6 / (step.norm().item() or 1.0)
            parameter.data += size * step
            difference = (matrices(moved)[place] - before[place])[:, :-1] / size
            torch.testing.assert_close(
                change, difference, rtol=1e-3, atol=1e-4 * change.abs().max().item()
            )
            loss, start = (F.cross_entropy(net(images), labels).item() for net in (moved, network))
            assert (loss - start) / size == pytest.approx(step.square().sum().item(), rel=1e-2)
            assert (loss - start) / size == pytest.approx((wanted * change).sum().item(), rel=1e-2)
            if name in ("relu", "b1"):
                assert torch.equal(wanted, step)
                assert torch.equal(wanted, change)


def test_gains_of_drawn_alpha1_explode_with_depth_and_those_of_b1_do_not(by_depth: pd.DataFrame):
    start = of(by_depth, moment="initialization")
    jacobians = of(start, quantity="jacobian_gain").groupby(["network", "depth"])["value"].median()
    for name in ("relu", "b1", "alpha1-smart"):
        assert 1 / 3 < jacobians[name, 8] / jacobians[name, 2] < 3
        np.testing.assert_allclose(
            of(start, quantity="jacobian_gain", network=name)["value"],
            of(start, quantity="jacobian_gain", network="relu")["value"],
        )
    assert jacobians["alpha1", 8] > 10 * jacobians["b1", 8]
    weights = of(start, quantity="weights_gain").groupby(["network", "depth"])["value"].median()
    assert weights["alpha1", 8] > 1e4 * weights["alpha1", 2]
    assert weights["b1", 8] < 20 * weights["b1", 2]  # he-uniform: √2 a layer, which the masks undo


def test_stalled_neurons_are_as_many_as_a_normal_distribution_leaves(by_depth: pd.DataFrame):
    """He: a sum of J has variance 2 whatever the width, so P(1 + Σ J <= 0) = P(Z <= -1/√2) =
    0.24.
    """
    rows = of(by_depth, quantity="stalled_neurons", moment="initialization", network="alpha1")
    expected = 0.5 * math.erfc(1 / math.sqrt(2) / math.sqrt(2))
    neurons = 64 * 3 * (2 + 8)
    assert (rows["value"] * rows["depth"]).sum() / rows["depth"].sum() == pytest.approx(
        expected, abs=4 * math.sqrt(expected * (1 - expected) / neurons)
    )


def test_updates_of_alpha1_point_elsewhere_than_the_gradient(by_depth: pd.DataFrame):
    rows = of(by_depth, quantity="update_cosine", moment="initialization").groupby("network")[
        "value"
    ]
    assert rows.min()["relu"] == pytest.approx(1)
    assert rows.min()["b1"] == pytest.approx(1)
    assert rows.max()["alpha1-smart"] < 0.9
    assert rows.min()["alpha1-smart"] > 0  # downhill all the same


def test_products_of_drawn_weights_grow_by_more_than_a_decade_a_layer():
    """An independent count for 340 neurons and weights of variance 1/340: from 3.5e2 (2 layers) to
    3e19 (16).
    """
    decades = {}
    for depth in (2, 16):
        gains = []
        for place in range(7):
            torch.manual_seed(place)
            ann = build(
                model("-".join(["340"] * depth), initialization="glorot-uniform"), (1, 17, 20), 10
            ).double()
            snn = convert(ann, torch.rand(1, 1, 17, 20, dtype=torch.float64))
            assert 0.8 < gain(weights_product(snn)) < 1.25
            to_alpha1_(snn, drawn=True)
            gains.append(math.log10(gain(weights_product(snn))))
        decades[depth] = np.mean(gains)
    assert (decades[16] - decades[2]) / 14 == pytest.approx(math.log10(3e19 / 3.5e2) / 14, abs=0.2)


def test_a_figure_is_made_of_its_table_alone(run: pd.DataFrame, by_depth: pd.DataFrame):
    text = by_depth.to_csv(index=False)
    figure = svg(draw("gradients", "A study", text))
    assert figure == svg(draw("gradients", "A study", text))
    words = {"A study", "ReLU", "B1", "α1, smart", "α1, drawn"}
    assert words | {"initialization", "Singular value, depth 8", "Depth: hidden layers"} <= texts(
        figure
    )
    text = of(run, model="of-60", optimizer="adam").to_csv(index=False)
    assert words | {"of-60, adam", "float64", "Step"} <= texts(
        svg(draw("trajectory", "A study", text))
    )


def texts(figure: bytes) -> set[str]:
    """What matplotlib writes into an SVG, as the comments beside its glyphs tell."""
    return set(re.findall("<!-- (.*?) -->", figure.decode()))
