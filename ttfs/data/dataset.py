"""From the configuration of a data set to its three splits."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from ttfs.data.augment import Augment, augmentation
from ttfs.data.image_files import ImageFiles, Kept
from ttfs.data.inputs import Format, Labeled, Shape
from ttfs.data.sources import read
from ttfs.data.splits import Normalize, Split, hold_out
from ttfs.data.tables import is_table, table_parts
from ttfs.errors import UserError
from ttfs.seeds import seed

IN_MEMORY = 2**30
"""Bytes up to which image files are decoded once and kept, as uint8."""
DECODED_FIRST = 2**16
"""Files up to which they are decoded before the first batch; of more, each when it is needed."""


@dataclass(frozen=True)
class DataSet:
    """A data set in three splits. The test split is the canonical one, or made from the id alone.

    shape: of one input, (C, H, W) of an image, (C, L) of a sequence, (F,) of a vector.
    input_range: lowest and highest value that an input can take, after normalization.
    digest: first 16 hex digits of SHA-256 over inputs and labels of all three splits: their bytes
        where they are in memory at first, else the names and sizes of the files.
    unlabeled: all training inputs where only those of `train` have a label, else None. Its labels
        are for nobody.
    """

    train: Split
    validation: Split
    test: Split
    shape: Shape
    classes: int
    input_range: tuple[float, float]
    digest: str
    unlabeled: Split | None = None


def load(config: Mapping[str, Any], where: str = "") -> DataSet:
    """Load the data set that a checked file of `configs/datasets` describes.

    Image files that fit into 1 GiB as uint8 are decoded once, before the first batch or, where they
    are many, when each is first needed; larger sets are read from disk batch by batch. Raises
    UserError, naming the file or `where`, for data that are missing or damaged, or that do not fit
    the configuration.
    """
    where = where or f"data set {config['id']!r}"
    if is_table(config):
        return _records(config, where)
    wanted = Format(tuple(config["shape"]), config["classes"], _range(config, where))
    augment = replace(_augment(config, where), black=wanted.range[0])
    normalize = _normalize(config, wanted, where)
    parts = _three(config, wanted, where)
    parts = _in_memory(parts, wanted)
    train, validation, test = (Split(*part, augment, normalize, wanted.classes) for part in parts)
    return DataSet(
        train=train,
        validation=validation,
        test=test,
        shape=wanted.shape,
        classes=wanted.classes,
        input_range=normalize.range(*wanted.range) if normalize else wanted.range,
        digest=_digest(parts),
    )


def _records(config: Mapping[str, Any], where: str) -> DataSet:
    """Load key-value records, which the encoding makes vectors of."""
    parts, classes = table_parts(config, where)
    shape = tuple(next(parts[0].inputs.batches([torch.tensor([0])], torch.device("cpu"))).shape[1:])
    augment = _augment({**config, "shape": list(shape)}, where)
    train, validation, test, *more = (Split(*part, augment, None, classes) for part in parts)
    digest = _digest(parts)
    return DataSet(train, validation, test, shape, classes, (0.0, 1.0), digest, *more)


def _three(config: Mapping[str, Any], wanted: Format, where: str) -> list[Labeled]:
    """Read train, validation and test; take the parts that the source lacks out of train."""
    train, validation, test = read(config["source"], wanted, where)
    if test is None:
        train, test = _take_out(train, "test", config, where)
    elif "test" in config:
        raise UserError(f"{where}: key 'test': this source has a test set already; delete the key")
    if validation is None:
        train, validation = _take_out(train, "validation", config, where)
    elif "validation" in config:
        raise UserError(
            f"{where}: key 'validation': this source has a validation set already; delete the key"
        )
    parts = {"training": train, "validation": validation, "test": test}
    for name, part in parts.items():
        if len(part.labels) == 0:
            raise UserError(f"{where}: the {name} set of this source is empty; add inputs to it")
    return list(parts.values())


def _range(config: Mapping[str, Any], where: str) -> tuple[float, float]:
    """The ends of key `range` as float32 holds them, because inputs are float32."""
    ends = torch.tensor(config.get("range", (0.0, 1.0)), dtype=torch.float64).float()
    low, high = ends.tolist()
    if not (low < high and ends.isfinite().all()):
        raise UserError(
            f"{where}: key 'range': {config['range']} is no range of float32; "
            "give [lowest, highest]"
        )
    return low, high


def _augment(config: Mapping[str, Any], where: str) -> Augment:
    where += ": key 'augment', or that of the grid, method or hardware"
    return augmentation(config.get("augment"), config["shape"], where)


def _normalize(config: Mapping[str, Any], wanted: Format, where: str) -> Normalize | None:
    if "normalize" not in config:
        return None
    channels = config["shape"][0]
    for key, values in config["normalize"].items():
        if len(values) != channels:
            raise UserError(
                f"{where}: key 'normalize.{key}': {len(values)} values for {channels} channels; "
                "give one a channel"
            )
    mean, std = (
        torch.tensor(config["normalize"][key], dtype=torch.float32) for key in ("mean", "std")
    )
    normalize = Normalize(mean, std)
    if not all(map(math.isfinite, normalize.range(*wanted.range))):
        raise UserError(
            f"{where}: key 'normalize': (value - mean) / std is no finite number of float32; "
            "correct 'mean' or 'std'"
        )
    return normalize


def _take_out(
    data: Labeled, part: str, config: Mapping[str, Any], where: str
) -> tuple[Labeled, Labeled]:
    """Split data into (the rest, the part), the same for every seed of a run."""
    if part not in config:
        raise UserError(
            f"{where}: missing key '{part}': this source has no {part} set; give the number of "
            "inputs to take out of train, or their share"
        )
    size, total = config[part], len(data.labels)
    count = round(size * total) if size < 1 else size
    if count != int(count) or not 0 < count < total:
        raise UserError(
            f"{where}: key '{part}': cannot take {size} out of {total} inputs; "
            "give a share below 1, or a count"
        )
    rest, taken = hold_out(data.labels, int(count), seed(config["id"], part))
    return data.subset(rest), data.subset(taken)


def _in_memory(parts: list[Labeled], wanted: Format) -> list[Labeled]:
    """Have image files that fit into memory decoded once."""
    count = sum(len(part.labels) for part in parts)
    if count * math.prod(wanted.shape) > IN_MEMORY:
        return parts
    once = ImageFiles.in_memory if count <= DECODED_FIRST else Kept
    return [
        Labeled(once(inputs), labels) if isinstance(inputs, ImageFiles) else Labeled(inputs, labels)
        for inputs, labels in parts
    ]


def _digest(parts: list[Labeled]) -> str:
    digest = hashlib.sha256()
    for inputs, labels in parts:
        for content in inputs.fingerprint():
            digest.update(content)
        digest.update(labels.numpy().data)
    return digest.hexdigest()[:16]
