"""Tables of key-value records: classes, splits that no group crosses, and vectors of charges."""

import csv
import lzma
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ttfs.data.correlative import encode_metadata, missing, neurons_by_information
from ttfs.data.generated_files import files
from ttfs.data.inputs import InMemory, Labeled
from ttfs.data.one_hot import one_hot
from ttfs.data.places import find, listed
from ttfs.errors import UserError
from ttfs.seeds import seed

Table = dict[str, list[str]]
"""{column: values [N]}; an empty text is a missing value."""

LONGEST = 2**30
"""Characters of a value in a .csv, at most."""
FORMS = (".csv", ".csv.xz", ".parquet")

Rows = tuple[list[str], Sequence[Sequence[str]]]
"""The names of the columns, and the values of each record."""


def is_table(config: Mapping[str, Any]) -> bool:
    """Return whether the source of a data set gives records, not arrays."""
    return "table" in config["source"] or config["source"].get("generated") == "files"


def table_parts(config: Mapping[str, Any], where: str) -> tuple[list[Labeled], int]:
    """Return train, validation and test of a data set of records, then all training records where
    some have no label, and the number of classes.

    Ranks and vocabularies are those of all training records, information is that of the labelled
    ones. Vectors hold charges on [0, 1], 0 for a silent neuron. Raises UserError, one line, for a
    table that does not fit.
    """
    table, origin = _read(config["source"], where)
    for key in (config["label"], config["group"], *config["keys"]):
        if key not in table:
            raise UserError(f"{origin}: no column {key!r}; it has: {', '.join(table)}")
    if config["label"] in config["keys"]:
        raise UserError(
            f"{where}: key {config['label']!r} is the label, which a classifier must not read; "
            "take it out of 'keys'"
        )
    if "" in table[config["group"]]:
        raise UserError(
            f"{origin}: record {table[config['group']].index('') + 1} has no {config['group']!r}, "
            "the group that keeps it in one split; fill it in, or delete the record"
        )
    names = _classes(table, config, where)
    table = _rows(table, [label in names for label in table[config["label"]]])
    places = {name: place for place, name in enumerate(names)}
    labels = torch.tensor([places[label] for label in table[config["label"]]])
    parts = split_by_group(table[config["group"]], config, where)
    train = parts == "train"
    labeled = train & _labeled(labels.numpy(), train, config, where)
    for name, mask in (("training", labeled), ("test", parts == "test")):
        _check_classes(labels[torch.from_numpy(mask)], names, name, where)
    values = torch.from_numpy(_encode(table, train, labeled, labels.numpy(), config, origin))
    everything = Labeled(InMemory(values), labels)
    masks = [labeled, parts == "validation", parts == "test"]
    masks += [train] if (labeled != train).any() else []
    return [everything.subset(torch.from_numpy(mask).nonzero().view(-1)) for mask in masks], len(
        names
    )


def read_table(path: Path) -> Table:
    """Read a table of records: .csv, .csv.xz or .parquet.

    Raises UserError, one line, for a file of another form, one that is damaged, holds no record or
    names a column twice.
    """
    ending = path.name.lower()
    if not ending.endswith(FORMS):
        raise UserError(f"{path}: no table; write one of {', '.join(FORMS)}")
    head, records = (read_parquet if ending.endswith(".parquet") else read_csv)(path)
    if not records:
        raise UserError(
            f"{path}: holds no record; give it names of columns, and one record or more"
        )
    twice = [name for name, count in Counter(head).items() if count > 1]
    if twice:
        raise UserError(f"{path}: column {twice[0]!r} comes twice; rename or delete one")
    for number, row in enumerate(records, 1):
        if len(row) != len(head):
            raise UserError(
                f"{path}: record {number} has {len(row)} values, the head has {len(head)} names; "
                "correct the record"
            )
    return dict(zip(head, map(list, zip(*records, strict=True)), strict=True))


def read_csv(path: Path) -> Rows:
    """Read UTF-8, comma separated, the names of the columns first; .xz is unpacked."""
    opened = lzma.open if path.suffix.lower() == ".xz" else open
    csv.field_size_limit(LONGEST)
    line = 0
    try:
        with opened(path, "rt", encoding="utf-8-sig", newline="") as file:
            reader, rows = csv.reader(file, strict=True), []
            for row in reader:
                line = reader.line_num
                rows += [row] if row else []
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is no text in UTF-8 ({error.reason}); save it as UTF-8") from None
    except csv.Error as error:
        raise UserError(
            f"{path}: cannot be read as a table after line {line}: {error}; close or double the "
            "quotation mark"
        ) from None
    except (OSError, lzma.LZMAError, EOFError) as error:
        raise _unreadable(path, error) from None
    return (rows[0], rows[1:]) if rows else ([], [])


def read_parquet(path: Path) -> Rows:
    """Read a Parquet file: a null is a missing value, a list a set, a space in a member "_"."""
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    try:
        table = ParquetFile(path).read()
    except (OSError, ArrowException) as error:
        raise _unreadable(path, error) from None
    columns = []
    for name, column in zip(table.column_names, table.columns, strict=True):
        try:
            columns.append(list(map(_text, column.to_pylist())))
        except (ArrowException, ValueError, OverflowError) as error:
            reason = " ".join(str(error).split())
            raise UserError(
                f"{path}: column {name!r} cannot be read: {reason}; correct or delete it"
            ) from None
    return table.column_names, list(zip(*columns, strict=True))


def _text(value: Any) -> str:
    """Return a value as a .csv would have it; the members of a list as words. Bytes are text in
    UTF-8, as writers without the type of texts leave it.
    """
    if isinstance(value, list):
        return " ".join(filter(None, (_word(member) for member in value if not missing(member))))
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return "" if missing(value) else str(value)


def _word(member: Any) -> str:
    """Return a member of a set as one word: spaces would make it several."""
    return "_".join(_text(member).split())


def _unreadable(path: Path, error: Exception) -> UserError:
    reason = " ".join(str(error).split())
    return UserError(f"{path}: cannot be read as a table: {reason}; get it again")


def split_by_group(groups: Sequence[str], config: Mapping[str, Any], where: str) -> np.ndarray:
    """Return the part of each record, "train", "validation" or "test" [N]; a group is in one part.

    Groups come in the order of a hash of data set, part and group. They go to the part until it has
    as many records as its key asks for, a count or a share of all records that are left.
    """
    sizes = Counter(groups)
    part_of: dict[str, str] = {}
    for part in ("test", "validation"):
        left = {group: size for group, size in sizes.items() if group not in part_of}
        total, wanted = sum(left.values()), config.get(part)
        count = 0 if wanted is None else round(wanted * total) if wanted < 1 else wanted
        if not 0 < count < total:
            rest = "" if total == len(groups) else " that the test split leaves"
            raise UserError(
                f"{where}: key '{part}': cannot take {wanted} out of {total} records{rest}; "
                "give another share below 1, or a count below theirs"
            )
        for group in sorted(left, key=lambda group: seed(config["id"], part, group)):
            if count <= 0:
                break
            part_of[group], count = part, count - left[group]
    return np.array([part_of.get(group, "train") for group in groups])


def _labeled(
    labels: np.ndarray, train: np.ndarray, config: Mapping[str, Any], where: str
) -> np.ndarray:
    """Return which records [N] have a label: `labels` of the training split, or all.

    Each class gives its share, and fewer labels are a part of more.
    """
    count = config.get("labels")
    if count is None:
        return train
    if count > train.sum():
        raise UserError(
            f"{where}: 'labels: {count}', but {train.sum()} records are in the training split; "
            "lower it, or give null for all"
        )
    places = np.random.default_rng(seed(config["id"], "labels")).permutation(train.nonzero()[0])
    share = np.empty(len(places))
    for label in np.unique(labels[places]):
        own = labels[places] == label
        share[own] = (np.arange(own.sum()) + 0.5) / own.sum()
    chosen = np.zeros(len(labels), dtype=bool)
    chosen[places[np.argsort(share, kind="stable")[:count]]] = True
    return chosen


def _read(source: Mapping[str, Any], where: str) -> tuple[Table, str]:
    if "generated" in source:
        return files(), f"{where}: generated files"
    path = find(source["table"])
    if path is None:
        raise UserError(
            f"{where}: key 'source.table': no file {source['table']!r}; put it into {listed()}"
        )
    return read_table(path), str(path)


def _classes(table: Table, config: Mapping[str, Any], where: str) -> list[str]:
    """Return the names of the classes: those listed, or the k with the most records.

    A class needs three groups, one for each part; among classes of equal size the name decides.
    """
    groups: dict[str, set[str]] = defaultdict(set)
    sizes: Counter[str] = Counter()
    wanted = config["classes"]
    for label, group in zip(table[config["label"]], table[config["group"]], strict=True):
        if label:
            groups[label].add(group)
            sizes[label] += 1
    fit = sorted((name for name in sizes if len(groups[name]) >= 3), key=lambda n: (-sizes[n], n))
    if isinstance(wanted, int):
        if wanted <= len(fit):
            return fit[:wanted]
        small = ", ".join(sorted(set(sizes) - set(fit))) or "none"
        fix = f"lower it to {len(fit)}" if len(fit) > 1 else "correct 'label' or 'group'"
        raise UserError(
            f"{where}: 'classes: {wanted}', but three groups or more, one for each part, have "
            f"{len(fit)} of the classes in column {config['label']!r} (fewer: {small}); {fix}"
        )
    for name in wanted:
        if name not in sizes:
            raise UserError(
                f"{where}: key 'classes': no record of class {name!r}; correct the name"
            )
        if name not in fit:
            raise UserError(
                f"{where}: key 'classes': class {name!r} has {len(groups[name])} of the three "
                "groups that it needs, one for each part; leave it out"
            )
    return list(wanted)


def _check_classes(labels: torch.Tensor, names: Sequence[str], split: str, where: str) -> None:
    counts = labels.bincount(minlength=len(names)).tolist()
    for name, count in zip(names, counts, strict=True):
        if not count:
            raise UserError(
                f"{where}: no record of class {name!r} is in the {split} split, or none with a "
                "label; leave it out of 'classes', or change 'test', 'validation' or 'labels'"
            )


def _rows(table: Table, kept: Sequence[bool]) -> Table:
    return {
        name: [value for value, keep in zip(column, kept, strict=True) if keep]
        for name, column in table.items()
    }


def _encode(
    table: Table,
    train: np.ndarray,
    labeled: np.ndarray,
    labels: np.ndarray,
    config: Mapping[str, Any],
    origin: str,
) -> np.ndarray:
    """Return charges, float32 [N, F]."""
    encoding = config["encoding"]
    keys = dict(sorted(config["keys"].items()))  # records sort keys, and so would their readers
    reference = _rows(table, train.tolist())
    try:
        if encoding == "one-hot":
            return one_hot(table, keys, reference)
        options = encoding["correlative"]
        neurons = options["neurons_per_key"]
        if options["weights"] == "mutual-information":
            known = _rows(table, labeled.tolist())
            neurons = neurons_by_information(known, keys, labels[labeled], neurons * len(keys))
        times = encode_metadata(
            table, keys, reference=reference, neurons_per_key=neurons,
            neurons_per_member=options["neurons_per_member"], breakpoints=options["breakpoints"],
            seed=options["seed"],
        )  # fmt: skip
    except UserError as error:
        raise UserError(f"{origin}: {error}") from None
    return np.where(np.isinf(times), np.float32(0), np.float32(1) - times)
