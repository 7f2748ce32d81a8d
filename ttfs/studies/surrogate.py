"""surrogate: what becomes of gradients in leaky networks, by the width of the surrogate?"""

import math
from collections.abc import Callable, Iterator, Mapping
from itertools import chain, islice, repeat
from typing import Any

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from ttfs.data import DataSet
from ttfs.models import build
from ttfs.seeds import seed
from ttfs.studies.networks import Axes, Learner, accuracy_on, shuffled
from ttfs.timed import LeakyNetwork, to_leaky

COLUMNS = ["depth", "draw", "alpha", "moment", "quantity", "index", "value"]
WIDEST, NARROWEST = 1e-2, 1e3
"""Values of alpha between which the critical one is looked for."""
BISECTIONS = 20

Row = dict[str, Any]


def surrogate(config: Mapping[str, Any], data: DataSet, say: Callable[[str], None]) -> pd.DataFrame:
    """Return the table of a study, in the columns that docs/studies.md explains.

    For each depth and draw, gradients are measured at each alpha, and the critical alpha is found,
    at which the gain per layer is 1. The network of the first draw then learns at each multiple of
    it.

    Args:
        config: the `surrogate` block of a study.
        data: its data set; the test split is never read.
        say: called with a line for each depth that is done.
    """
    rows: list[Row] = []
    for depth in config["depths"]:
        found = [
            {"depth": depth, "draw": draw, **row}
            for draw in range(config["draws"])
            for row in _draw(config, data, depth, draw)
        ]
        rows += found
        critical = [row["value"] for row in found if row["quantity"] == "critical_alpha"]
        say(f"{depth} layers: critical alpha {', '.join(f'{value:.2f}' for value in critical)}")
    return pd.DataFrame(rows, columns=COLUMNS)


def summary(table: pd.DataFrame) -> Iterator[Row]:
    """Yield the rows of the record: medians over draws of gain and critical alpha; accuracies."""
    names = {"gain": "surrogate_gain", "critical_alpha": "critical_alpha"}
    for quantity, metric in names.items():
        own = table[table["quantity"] == quantity]
        keys = ["depth", "alpha"] if quantity == "gain" else ["depth"]
        for key, values in own.groupby(keys, sort=False)["value"]:
            place = dict(zip(keys, key, strict=True))
            place["depth"] = int(place["depth"])
            yield {"metric": metric, "value": float(values.median()), **place}
    trained = table[table["quantity"] == "validation_accuracy"]
    for row in trained.to_dict("records"):
        place = {"depth": int(row["depth"]), "alpha": row["alpha"]}
        yield {"metric": "validation_accuracy", "value": row["value"], **place}


def gradients(network: LeakyNetwork, images: Tensor, labels: Tensor) -> list[Tensor]:
    """Return dL/dI [T, N, neurons] of each layer, L the cross-entropy and I the currents."""
    seen: list[Tensor] = []
    hooks = [
        layer.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
        for layer in network.layers.values()
    ]
    loss = F.cross_entropy(network(images), labels)
    for hook in hooks:
        hook.remove()
    steps = network.clock.steps
    return [g.unflatten(0, (steps, -1)) for g in torch.autograd.grad(loss, seen)]


def gain(found: list[Tensor]) -> float:
    """Return the growth of a gradient's norm from a layer to the one before it, geometric mean."""
    first, last = found[0].norm().item(), found[-1].norm().item()
    if not first or not last:
        return 0.0
    return math.exp((math.log(first) - math.log(last)) / (len(found) - 1))


def set_alpha_(network: LeakyNetwork, alpha: float) -> None:
    """Give all neurons another surrogate, in place."""
    for layer in network.layers.values():
        layer.alpha = alpha  # type: ignore[assignment]


def critical_alpha(network: LeakyNetwork, images: Tensor, labels: Tensor) -> float:
    """Return the alpha of gain 1 per layer, by bisection: the gain falls with alpha."""
    low, high = math.log(WIDEST), math.log(NARROWEST)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        set_alpha_(network, math.exp(middle))
        explodes = gain(gradients(network, images, labels)) > 1
        low, high = (middle, high) if explodes else (low, middle)
    return math.exp((low + high) / 2)


def _network(config: Mapping[str, Any], data: DataSet, depth: int, draw: int) -> LeakyNetwork:
    model = {
        "id": f"{config['width']}x{depth}",
        "layers": "-".join([str(config["width"])] * depth),
        "initialization": "he-uniform",
        "batch_norm": "before",
        "dropout": 0.0,
    }
    torch.manual_seed(seed(*_axes(config, depth, draw), "init"))
    ann = build(model, data.shape, data.classes)
    example = torch.full((1, *data.shape), data.input_range[0])
    steps, beta = config["time_steps"], config["beta"]
    return to_leaky(ann, example, steps, beta, input_range=data.input_range)


def _axes(config: Mapping[str, Any], depth: int, draw: int) -> Axes:
    return config["dataset"]["id"], f"{config['width']}x{depth}", draw


def _draw(config: Mapping[str, Any], data: DataSet, depth: int, draw: int) -> Iterator[Row]:
    network = _network(config, data, depth, draw).double()  # squares of 1e-20 leave float32
    images, labels = data.train.one_batch(config["batch_size"])
    images = images.double()
    for alpha in config["alphas"]:
        set_alpha_(network, alpha)
        place = {"alpha": alpha, "moment": "initialization"}
        for row in _measure(network, images, labels):
            yield place | row
    critical = critical_alpha(network, images, labels)
    yield _row("critical_alpha", 0, critical) | {"alpha": critical, "moment": "initialization"}
    if draw:
        return
    for multiple in config["multiples"]:
        alpha = multiple * critical
        trained = _network(config, data, depth, draw)
        set_alpha_(trained, alpha)
        place = {"alpha": alpha, "moment": "trained"}
        for row in _train(trained, data, config, depth, multiple):
            yield place | row


def _measure(network: LeakyNetwork, images: Tensor, labels: Tensor) -> Iterator[Row]:
    """Rows of one network at one alpha: gradients by layer and by step, firing rates, the gain."""
    found = gradients(network, images, labels)
    for index, gradient in enumerate(found, start=1):
        yield _row("gradient", index, gradient.norm().item())
    middle = found[len(found) // 2]
    for index, gradient in enumerate(middle, start=1):
        yield _row("gradient_by_step", index, gradient.norm().item())
    for index, spikes in enumerate(network.observe(images).spikes.values(), start=1):
        yield _row("firing_rate", index, spikes.double().mean().item())
    if len(found) > 1:
        yield _row("gain", 0, gain(found))


def _train(
    network: LeakyNetwork, data: DataSet, config: Mapping[str, Any], depth: int, multiple: float
) -> Iterator[Row]:
    optimizer = torch.optim.Adam(network.parameters(), config["learning_rate"])
    learner = Learner(network, optimizer, growth=1.0)
    epochs = repeat(shuffled(data, config["batch_size"], _axes(config, depth, 0)))
    for step, batch in enumerate(islice(chain.from_iterable(epochs), config["steps"])):
        _, loss = learner.learn(*batch)
        if not math.isfinite(loss):
            yield _row("diverged", multiple, step)
            return
    yield _row("validation_accuracy", multiple, accuracy_on(data.validation, network))


def _row(quantity: str, index: float, value: float) -> Row:
    return {"quantity": quantity, "index": index, "value": value}
