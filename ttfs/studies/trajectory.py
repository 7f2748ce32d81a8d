"""trajectory: networks that start as one function learn from the same batches; do they stay one?"""

import math
from collections.abc import Callable, Iterator, Mapping
from itertools import chain, product, repeat, zip_longest
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from ttfs.data import DataSet
from ttfs.errors import UserError
from ttfs.metrics import accuracy
from ttfs.snn import SpikingNetwork, relative_difference, stalled_neurons
from ttfs.studies.networks import Axes, Learner, accuracy_on, cosine, four_networks, shuffled
from ttfs.studies.weights import in_relu_terms, matrices, scales

COLUMNS = [
    "model", "optimizer", "dtype", "network", "step", "status", "loss", "batch_accuracy",
    "logit_difference", "distance_max", "distance_l2", "update_cosine", "stalled_neurons",
    "validation_accuracy",
]  # fmt: skip

Row = dict[str, Any]


def trajectory(
    config: Mapping[str, Any], data: DataSet, say: Callable[[str], None]
) -> pd.DataFrame:
    """Return the table of a study, in the columns that docs/studies.md explains.

    For each model, optimizer and dtype the four networks of one initial draw learn in lock-step.
    Weights are compared as those of the ReLU network that each network amounts to; the scales of
    the mapping to α1 are undone.

    Args:
        config: the `trajectory` block of a study, with its models' files in the place of their
            names.
        data: its data set; the test split is never read.
        say: called with a line for each run that is done.

    Raises:
        UserError: for a model whose weights the mapping changes, or that it cannot map.
    """
    rows: list[Row] = []
    for model, optimizer, dtype in product(
        config["models"], config["optimizers"], config["dtypes"]
    ):
        run = {"model": model["id"], "optimizer": optimizer, "dtype": dtype}
        found = list(_run(config, data, model, optimizer, getattr(torch, dtype)))
        rows += (run | row for row in found)
        ends = (
            f"{row['network']} {row['validation_accuracy']:.2f} %"
            for row in found
            if "validation_accuracy" in row
        )
        lost = (
            f"{row['network']} diverged at step {row['step']}"
            for row in found
            if row["status"] != "ok"
        )
        say(f"{', '.join(run.values())}: validation accuracy {', '.join([*ends, *lost])}")
    return pd.DataFrame(rows, columns=COLUMNS)


def summary(table: pd.DataFrame) -> Iterator[Row]:
    """Yield the rows of the study's record: where each network ends, or at which step its loss was
    not finite.
    """
    keys = ["model", "optimizer", "dtype", "network"]
    for key, run in table.groupby(keys, sort=False):
        place = dict(zip(("model", "optimizer", "dtype", "network"), key, strict=True))
        ends = run["validation_accuracy"].dropna()
        if len(ends):
            yield {"metric": "validation_accuracy", "value": float(ends.iloc[-1]), **place}
        lost = run[run["status"] == "diverged"]
        if len(lost):
            yield {"metric": "diverged_at", "value": int(lost["step"].iloc[0]), **place}


def _run(
    config: Mapping[str, Any],
    data: DataSet,
    model: Mapping[str, Any],
    optimizer: str,
    dtype: torch.dtype,
) -> Iterator[Row]:
    """Rows of one run: the weights after this many steps, and the update that comes next."""
    axes: Axes = (config["dataset"]["id"], model["id"], config["seed"])
    networks = four_networks(model, data, axes, dtype, config["window_growth"])
    _check(networks, model["id"])
    undo = {
        name: scales(network, networks["relu"])
        for name, network in networks.items()
        if name != "alpha1"
    }
    undo["alpha1"] = undo["relu"]  # drawn, so no ReLU network's neurons are scaled in it
    going = {
        name: Learner(network, _optimiser(network, optimizer, config), config["window_growth"])
        for name, network in networks.items()
    }

    def weights() -> dict[str, list[Tensor]]:
        return {name: in_relu_terms(networks[name], undo[name]) for name in going}

    epoch = shuffled(data, config["batch_size"], axes)
    for step, batch in enumerate(chain.from_iterable(repeat(epoch, config["epochs"]))):
        compared = step % config["every"] == 0
        before = weights() if compared else {}
        places = _compare(networks, before)
        learnt = {name: learner.learn(*batch) for name, learner in going.items()}
        after = weights() if compared else {}
        updates = {name: _difference(after[name], before[name]) for name in after}
        for name, (logits, loss) in learnt.items():
            row: Row = {"network": name, "step": step, "status": "ok", "loss": loss}
            if not math.isfinite(loss):
                del going[name]
                yield row | {"status": "diverged"}
                continue
            row["batch_accuracy"] = accuracy(logits, batch[1])
            row["logit_difference"] = relative_difference(logits, learnt["relu"][0])
            if compared:
                row |= places[name] | {"update_cosine": cosine(updates[name], updates["relu"])}
            yield row
        if "relu" not in going:
            return  # nothing is left to compare with
    for name, place in _compare(networks, weights()).items():
        row = {"network": name, "step": config["epochs"] * len(epoch), "status": "ok", **place}
        yield row | {"validation_accuracy": accuracy_on(data.validation, networks[name])}


def _check(networks: Mapping[str, nn.Module], model: str) -> None:
    """Raise UserError where weights cannot be compared one by one, or networks would drop
    neurons.
    """
    file = f"configs/models/{model}.yaml"
    pairs = zip_longest(matrices(networks["b1"]), matrices(networks["relu"]))
    if not all(
        own is not None and wanted is not None and torch.equal(own, wanted) for own, wanted in pairs
    ):
        raise UserError(
            f"{file}: a trajectory compares weights one by one, and the mapping changes this "
            "network's; take one without batch norm, and a data set without 'normalize'"
        )
    if any(
        isinstance(module, nn.Dropout) and module.p > 0 for module in networks["relu"].modules()
    ):
        raise UserError(
            f"{file}: key 'dropout': each network would drop other neurons, and a trajectory "
            "compares them step by step; set it to 0"
        )


def _optimiser(network: nn.Module, name: str, config: Mapping[str, Any]) -> torch.optim.Optimizer:
    rate = config["optimizers"][name]
    if name == "adam":
        return torch.optim.Adam(network.parameters(), rate)
    return torch.optim.SGD(network.parameters(), rate, config["momentum"])


def _compare(
    networks: Mapping[str, nn.Module], weights: Mapping[str, list[Tensor]]
) -> dict[str, Row]:
    """Distance of each from the ReLU network: largest of a layer by its largest, and length of all
    by its length.
    """
    found: dict[str, Row] = {}
    for name, own in weights.items():
        wanted = weights["relu"]
        found[name] = {
            "distance_max": max(
                relative_difference(*pair) for pair in zip(own, wanted, strict=True)
            ),
            "distance_l2": _difference(own, wanted).norm().item()
            / torch.cat([w.flatten() for w in wanted]).norm().item(),
        }
        if isinstance(network := networks[name], SpikingNetwork):
            found[name]["stalled_neurons"] = stalled_neurons(network)
    return found


def _difference(own: list[Tensor], wanted: list[Tensor]) -> Tensor:
    return torch.cat([(a - b).flatten() for a, b in zip(own, wanted, strict=True)])
