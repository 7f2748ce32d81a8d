"""rates: where does a rate-coded network lose what its ReLU network says, layer by layer?"""

from collections.abc import Callable, Iterator, Mapping
from itertools import chain, islice, product, repeat
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from ttfs.data import DataSet
from ttfs.metrics import accuracy
from ttfs.models import build, prepare
from ttfs.seeds import seed
from ttfs.snn import SpikingNetwork, convert
from ttfs.studies.networks import Axes, Learner, shuffled
from ttfs.timed import TERMS, RateNetwork, convert_to_rate, error_split
from ttfs.timed.conversion import pre_activations

COLUMNS = ["model", "threshold", "steps", "layer", "depth", "term", "rms", "mean", "accuracy"]
TTFS, ANN = "ttfs", "ann"
"""Stand in the place of a threshold in the rows of the TTFS network and of the ReLU network."""

Row = dict[str, Any]


def rates(config: Mapping[str, Any], data: DataSet, say: Callable[[str], None]) -> pd.DataFrame:
    """Return the table of a study, in the columns that docs/studies.md explains.

    Each model is trained as a ReLU network, and converted with each threshold for each number of
    steps. Accuracies, and the four terms of a layer's error as shares of the root mean square of
    its activations, are over the first items of the validation split; the TTFS network has these
    rows too.

    Args:
        config: the `rates` block of a study, with its models' files for their names.
        data: its data set; the test split is never read.
        say: called with a line for each network that is measured.
    """
    rows: list[Row] = []
    for model in config["models"]:
        for row in _model(config, data, model):
            rows.append({"model": model["id"], **row})
            if row["term"] == "all":
                steps = f", {row['steps']} steps" if row["steps"] else ""
                say(f"{model['id']}, {row['threshold']}{steps}: {row['accuracy']:.2f} %")
    return pd.DataFrame(rows, columns=COLUMNS)


def summary(table: pd.DataFrame) -> Iterator[Row]:
    """Yield the rows of the record: accuracies, and each term, root mean square over the layers."""
    keys = ["model", "threshold", "steps"]
    whole = table[table["term"] == "all"]
    for row in whole.to_dict("records"):
        place = {key: row[key] for key in keys}
        yield {"metric": "validation_accuracy", "value": row["accuracy"], **place}
    parts = table[table["term"] != "all"]
    for key, values in parts.groupby([*keys, "term"], sort=False)["rms"]:
        place = dict(zip((*keys, "term"), key, strict=True)) | {"steps": int(key[2])}
        yield {"metric": "rate_error", "value": float(values.pow(2).mean() ** 0.5), **place}


def _model(config: Mapping[str, Any], data: DataSet, model: Mapping[str, Any]) -> Iterator[Row]:
    axes: Axes = (config["dataset"]["id"], model["id"], config["seed"])
    ann = _trained(config, data, model, axes)
    items = data.train.one_batch(config["calibration_items"])[0]
    images, labels = data.validation.one_batch(config["items"])
    snn = convert(ann, items, input_range=data.input_range)
    wanted = pre_activations(snn, images)
    size = {name: z.relu().square().mean().sqrt().item() for name, z in wanted.items()}
    yield _whole(ANN, 0, accuracy(logits(ann, images), labels))
    yield _whole(TTFS, 0, accuracy(logits(snn, images), labels))
    yield from _terms(TTFS, 0, ttfs_split(snn, images, wanted), size)
    ways = (config["thresholds"], config["bias_corrections"], config["time_steps"])
    for threshold, correction, steps in product(*ways):
        rate = convert_to_rate(
            ann, items, threshold, steps, bias_correction=correction, input_range=data.input_range
        )
        way = threshold if correction == "none" else f"{threshold}+{correction}"
        yield _whole(way, steps, accuracy(logits(rate, images), labels))
        yield from _terms(way, steps, _split(rate, snn, images, steps), size)


@torch.no_grad()
def logits(network: nn.Module, images: Tensor) -> Tensor:
    """Return the logits [N, classes] of images [N, ...]."""
    return network.eval()(images)


def _split(
    rate: RateNetwork, snn: SpikingNetwork, images: Tensor, steps: int
) -> dict[str, dict[str, Tensor]]:
    """The terms of `error_split`, over images in parts, so that all steps fit in memory."""
    size = max(1, 4096 // steps)
    parts = [error_split(rate, snn, part, steps) for part in images.split(size)]
    return {
        name: {term: torch.cat([part[name][term] for part in parts]) for term in TERMS}
        for name in snn.layers
    }


@torch.no_grad()
def ttfs_split(
    snn: SpikingNetwork, images: Tensor, wanted: Mapping[str, Tensor]
) -> dict[str, dict[str, Tensor]]:
    """Return the same four terms [N, ...] of a TTFS network, by layer.

    The potential takes the place of the mean current, the window that of the threshold, and the
    charge that of the rate; nothing is quantized, and inputs come once, so what is left is under
    `deviation`.
    """
    found = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(module: Any, arguments: tuple[Tensor], charges: Tensor) -> None:
            potential = arguments[0]
            clipped = potential.clamp(0.0, module.width)
            terms = (
                wanted[name].relu() - potential.relu(),
                potential.relu() - clipped,
                torch.zeros_like(charges),
                clipped - charges,
            )
            found[name] = dict(zip(TERMS, terms, strict=True))

        return hook

    hooks = [layer.register_forward_hook(keep(name)) for name, layer in snn.layers.items()]
    snn(images)
    for hook in hooks:
        hook.remove()
    return found


def _trained(
    config: Mapping[str, Any], data: DataSet, model: Mapping[str, Any], axes: Axes
) -> nn.Module:
    torch.manual_seed(seed(*axes, "init"))
    ann = build(model, data.shape, data.classes).train()
    prepare(ann, lambda count: data.train.one_batch(count)[0])
    optimizer = torch.optim.Adam(ann.parameters(), config["learning_rate"])
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config["steps"])
    learner = Learner(ann, optimizer, growth=1.0)
    epochs = repeat(shuffled(data, config["batch_size"], axes))
    for batch in islice(chain.from_iterable(epochs), config["steps"]):
        learner.learn(*batch)
        schedule.step()
    return ann.eval()


def _whole(threshold: str, steps: int, accuracy: float) -> Row:
    return {"threshold": threshold, "steps": steps, "term": "all", "accuracy": accuracy}


def _terms(
    threshold: str,
    steps: int,
    found: Mapping[str, Mapping[str, Tensor]],
    size: Mapping[str, float],
) -> Iterator[Row]:
    for depth, (name, terms) in enumerate(found.items(), start=1):
        for term, value in terms.items():
            yield {
                "threshold": threshold,
                "steps": steps,
                "layer": name,
                "depth": depth,
                "term": term,
                "rms": value.square().mean().sqrt().item() / (size[name] or 1.0),
                "mean": value.mean().item() / (size[name] or 1.0),
            }
