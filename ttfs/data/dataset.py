"""From the configuration of a data set to its three splits."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ttfs.data.augment import Augment
from ttfs.data.images import Labelled, OnDisk, Shape
from ttfs.data.sources import read
from ttfs.data.splits import Normalize, Split, hold_out
from ttfs.errors import UserError
from ttfs.seeds import seed

IN_MEMORY = 2**30


@dataclass(frozen=True)
class DataSet:
    """A data set in three splits. The test split is the canonical one, or one made from the data set's id alone.

    shape: (C, H, W) of an image. input_range: what values an input can take: (0, 1), or the ends that the
    normalization maps them to. digest: first 16 hex digits of SHA-256 over images and labels of all three splits:
    their bytes where they live in memory, the names and sizes of the files where they are read from disk.
    """

    train: Split
    validation: Split
    test: Split
    shape: Shape
    classes: int
    input_range: tuple[float, float]
    digest: str


def load(config: Mapping[str, Any], where: str = "") -> DataSet:
    """Load the data set that a checked file of `configs/datasets` describes; `where` names it in messages.

    Images that fit into 1 GiB as uint8 live in memory; larger sets of files are read from disk batch by batch.
    Raises UserError for data that are missing, damaged, or not what the configuration says.
    """
    where = where or f"data set {config['id']!r}"
    shape: Shape = tuple(config["shape"])
    augment = Augment(**(config.get("augment") or {}))
    if max(augment.shift, augment.crop) >= min(shape[1:]):
        raise UserError(
            f"{where}: key 'augment', or that of the grid or method: moves of {augment.shift} and {augment.crop} "
            f"pixels leave nothing of {shape}"
        )
    normalize = _normalize(config, where)
    train, test = read(config, where)
    if test is None:
        train, test = _take_out(train, "test", config, where)
    elif "test" in config:
        raise UserError(f"{where}: key 'test': this source has a test set of its own; delete the key")
    train, validation = _take_out(train, "validation", config, where)
    if (len(train.labels) + len(validation.labels) + len(test.labels)) * torch.Size(shape).numel() <= IN_MEMORY:
        train, validation, test = _in_memory(train), _in_memory(validation), _in_memory(test)
    return DataSet(
        train=Split(*train, augment, normalize),
        validation=Split(*validation, augment, normalize),
        test=Split(*test, augment, normalize),
        shape=shape,
        classes=config["classes"],
        input_range=normalize.input_range if normalize else (0.0, 1.0),
        digest=_digest(train, validation, test),
    )


def _normalize(config: Mapping[str, Any], where: str) -> Normalize | None:
    if "normalize" not in config:
        return None
    channels = config["shape"][0]
    for key, values in config["normalize"].items():
        if len(values) != channels:
            raise UserError(
                f"{where}: key 'normalize.{key}': {len(values)} values for {channels} channels; give one a channel"
            )
    return Normalize(*(torch.tensor(config["normalize"][key], dtype=torch.float32) for key in ("mean", "std")))


def _take_out(data: Labelled, part: str, config: Mapping[str, Any], where: str) -> tuple[Labelled, Labelled]:
    """Split data into (the rest, the part), the same for every seed of a run."""
    if part not in config:
        raise UserError(
            f"{where}: missing key '{part}': this source has no {part} set; say how many images to take, or what share"
        )
    size, total = config[part], len(data.labels)
    count = round(size * total) if size < 1 else size
    if count != int(count) or not 0 < count < total:
        raise UserError(
            f"{where}: key '{part}': cannot take {size} out of {total} images; give a share below 1, or a count"
        )
    rest, taken = hold_out(data.labels, int(count), seed(config["id"], part))
    return data.subset(rest), data.subset(taken)


def _in_memory(part: Labelled) -> Labelled:
    return Labelled(part.images.in_memory(), part.labels) if isinstance(part.images, OnDisk) else part


def _digest(*parts: Labelled) -> str:
    digest = hashlib.sha256()
    for images, labels in parts:
        for content in images.fingerprint():
            digest.update(content)
        digest.update(labels.numpy().data)
    return digest.hexdigest()[:16]
