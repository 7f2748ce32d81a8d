"""gradients: how do they change with depth, in a ReLU network and in TTFS networks of the same
draw?
"""

import math
from collections.abc import Callable, Iterator, Mapping
from functools import reduce
from itertools import chain, islice, repeat
from typing import Any

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ttfs.data import DataSet
from ttfs.errors import UserError
from ttfs.snn import SpikingNetwork, slopes, stalled_neurons
from ttfs.studies.networks import Axes, Learner, accuracy_on, cosine, four_networks, shuffled
from ttfs.studies.weights import layers, scales

COLUMNS = ["depth", "draw", "network", "moment", "quantity", "index", "value"]
QUANTILES = 32
"""Singular values are given as their quantiles 0, 1/32, ..., 1."""

Row = dict[str, Any]


def gradients(config: Mapping[str, Any], data: DataSet, say: Callable[[str], None]) -> pd.DataFrame:
    """Return the table of a study, in the columns that docs/studies.md explains.

    For each depth, the number of hidden layers, the four networks of each draw are measured at
    initialization. Those of the first draw then learn from the same batches and are measured again.
    All in float64, since products over many layers of drawn α1 neurons leave the range of float32.

    Args:
        config: the `gradients` block of a study.
        data: its data set; the test split is never read.
        say: called with a line for each depth that is done.
    """
    if data.input_range != (0.0, 1.0):
        low, high = data.input_range
        raise UserError(
            "a study of gradients compares derivatives by inputs on [0, 1], and those of "
            f"'{config['dataset']['id']}' are on [{low:g}, {high:g}]; take a data set without "
            "'normalize' and 'range'"
        )
    tables = []
    for depth in config["depths"]:
        rows = [
            {"depth": depth, **row}
            for draw in range(config["draws"])
            for row in _draw(config, data, depth, draw)
        ]
        tables.append(table := pd.DataFrame(rows, columns=COLUMNS))
        gains = table[
            (table["quantity"] == "jacobian_gain") & (table["moment"] == "initialization")
        ]
        medians = gains.groupby("network", sort=False)["value"].median()
        say(
            f"{depth} hidden layers: gain "
            f"{', '.join(f'{name} {value:.2g}' for name, value in medians.items())}"
        )
    return pd.concat(tables, ignore_index=True)


def summary(table: pd.DataFrame) -> Iterator[Row]:
    """Yield the rows of the study's record: the median gain of the Jacobian by depth, network and
    moment.
    """
    gains = table[table["quantity"] == "jacobian_gain"]
    for key, values in gains.groupby(["depth", "network", "moment"], sort=False)["value"]:
        median = float(values.median())
        if math.isfinite(median):
            place = dict(zip(("depth", "network", "moment"), key, strict=True))
            yield {
                "metric": "jacobian_gain",
                "value": median,
                **place | {"depth": int(place["depth"])},
            }


def jacobian(network: nn.Module, image: Tensor) -> Tensor:
    """Return d charges of the last hidden layer / d charges of the input [neurons, pixels], at an
    image [C, H, W].

    The image is repeated, once for each neuron, so that one backward pass gives a row in each copy.
    """
    copies = (
        image.expand(layers(network)[-1].weight.shape[1], *image.shape).clone().requires_grad_()
    )
    if isinstance(network, SpikingNetwork):
        _, charges = network.charges(copies)
        inputs, *_, outputs = charges.values()
    else:
        inputs, outputs = copies, network[:-1](copies)  # type: ignore[index]
    (rows,) = torch.autograd.grad(outputs.diagonal().sum(), inputs)
    return rows.flatten(1)


@torch.no_grad()
def weights_product(network: nn.Module) -> Tensor:
    """Return the product of the hidden layers' weights [neurons, pixels], as if every neuron were
    active.

    For α1 these are J / B even where the slope B = 1 + Σ J is not positive: the derivatives of the
    formula for spike times, in which no spike is forced.
    """
    return reduce(lambda product, weight: weight @ product, map(_unforced, layers(network)[:-1]))


def _unforced(layer: Any) -> Tensor:
    if not parametrize.is_parametrized(layer):
        return layer.weight
    currents = learnt(layer)
    return currents / slopes(currents)[:, None]


def gain(matrix: Tensor) -> float:
    """Return |M|_F / sqrt(rows), the root mean square of as many singular values."""
    return matrix.norm().item() / math.sqrt(len(matrix))


def gradients_by_layer(
    network: nn.Module, images: Tensor, labels: Tensor
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield, for each hidden layer, dL/dW, dL/dJ and the change of W that a small step dL/dJ makes.

    For α1, dL/dJ_ik = (dL/dW_ik - Σ_j W_ij dL/dW_ij) / B_i (Stanojevic et al. 2024), and a step g
    in J changes W_ik by (g_ik - W_ik Σ_j g_ij) / B_i. Where W itself is learned, as in B1, all
    three are the same.
    """
    hidden = layers(network)[:-1]
    with (
        parametrize.cached()
    ):  # so that the weights that are asked for are those of the forward pass
        loss = F.cross_entropy(network(images), labels)
        by_weight = torch.autograd.grad(loss, [layer.weight for layer in hidden], retain_graph=True)
    by_parameter = torch.autograd.grad(loss, [learnt(layer) for layer in hidden])
    for layer, wanted, step in zip(hidden, by_weight, by_parameter, strict=True):
        change = step
        if parametrize.is_parametrized(layer):
            change = (step - layer.weight * step.sum(1, keepdim=True)) / slopes(learnt(layer))[
                :, None
            ]
        yield wanted, step, change.detach()


def learnt(layer: Any) -> Tensor:
    """Return the parameter behind a layer's weights: the currents J of α1 synapses, else the
    weights.
    """
    return (
        layer.parametrizations.weight.original
        if parametrize.is_parametrized(layer)
        else layer.weight
    )


def _model(config: Mapping[str, Any], depth: int) -> dict[str, Any]:
    return {
        "id": f"{config['width']}x{depth}",
        "layers": "-".join([str(config["width"])] * depth),
        "initialization": config["initialization"],
        "batch_norm": "none",
        "dropout": 0.0,
    }


def _draw(config: Mapping[str, Any], data: DataSet, depth: int, draw: int) -> Iterator[Row]:
    """Rows of the four networks of one draw: at initialization, and for the first draw after
    training too.
    """
    axes: Axes = (config["dataset"]["id"], f"{config['width']}x{depth}", draw)
    networks = four_networks(
        _model(config, depth), data, axes, torch.float64, config["window_growth"]
    )
    scale = {
        name: scales(networks[name], networks["relu"])[-2]
        for name in ("relu", "b1", "alpha1-smart")
    }
    scale["alpha1"] = torch.ones_like(scale["relu"])
    for name, network in networks.items():
        place = {"draw": draw, "network": name}
        for row in _measure(network, scale[name], data, config, draw == 0):
            yield {**place, "moment": "initialization", **row}
        if draw == 0:
            for row in _train(network, scale[name], data, config, axes):
                yield {**place, "moment": "trained", **row}


def _measure(
    network: nn.Module, scale: Tensor, data: DataSet, config: Mapping[str, Any], closely: bool
) -> Iterator[Row]:
    """Rows of one network whose last charges are scaled; `closely` adds its spectrum and rows by
    layer.
    """
    images, _ = data.validation.one_batch(config["images"])
    jacobians = [jacobian(network, image) / scale[:, None] for image in images.double()]
    for index, matrix in enumerate(jacobians):
        yield _row("jacobian_gain", index, gain(matrix))
    yield _row("weights_gain", 0, gain(weights_product(network) / scale[:, None]))
    if isinstance(network, SpikingNetwork):
        yield _row("stalled_neurons", 0, stalled_neurons(network))
    if not closely:
        return
    values = torch.linalg.svdvals(jacobians[0])
    shares = torch.linspace(0, 1, QUANTILES + 1, dtype=values.dtype)
    for share, value in zip(shares.tolist(), values.quantile(shares).tolist(), strict=True):
        yield _row("singular_value", share, value)
    images, labels = data.train.one_batch(config["batch_size"])
    for index, (wanted, step, change) in enumerate(
        gradients_by_layer(network, images.double(), labels), start=1
    ):
        yield _row("weight_gradient", index, wanted.norm().item())
        yield _row("parameter_gradient", index, step.norm().item())
        yield _row("update_cosine", index, cosine(change, wanted))


def _train(
    network: nn.Module, scale: Tensor, data: DataSet, config: Mapping[str, Any], axes: Axes
) -> Iterator[Row]:
    """Rows after the steps of training; or one with the step at which the loss was no longer
    finite.
    """
    learner = Learner(
        network,
        torch.optim.Adam(network.parameters(), config["learning_rate"]),
        config["window_growth"],
    )
    epochs = repeat(shuffled(data, config["batch_size"], axes))
    for step, batch in enumerate(islice(chain.from_iterable(epochs), config["steps"])):
        _, loss = learner.learn(*batch)
        if not math.isfinite(loss):
            yield _row("diverged", 0, step)
            return
    yield _row("validation_accuracy", 0, accuracy_on(data.validation, network))
    yield from _measure(network, scale, data, config, closely=True)


def _row(quantity: str, index: float, value: float) -> Row:
    return {"quantity": quantity, "index": index, "value": value}
