"""A cheap stamp of the files behind a data set, which changes when they are replaced.

It is made of names, sizes and times of change; no data are read. (`DataSet.digest` is of the
contents, for records.) It needs the standard library alone, because the workflow takes stamps at
each start.
"""

import hashlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ttfs.data.listing import Unpacked, describe
from ttfs.data.places import find, find_archive, find_bundled, places
from ttfs.errors import UserError

TORCHVISION_FILES = {
    "CIFAR10": r"cifar-10-(batches-py|python\.tar\.gz)",
    "CIFAR100": r"cifar-100-python(\.tar\.gz)?",
    "CLEVRClassification": r"clevr",
    "ImageNet": r"train|val|meta\.bin|ilsvrc2012_.*",
    "INaturalist": r"\d{4}_(train|valid).*",
    "Places365": r"(data|val)_(256|large).*|places365_.*|categories_places365\.txt",
    "SVHN": r"(train|test|extra)_32x32\.mat",
}
"""Patterns of the files of sets; those of a set that is not listed begin with its name."""


def data_stamp(config: Mapping[str, Any]) -> str | None:
    """Return 16 hex digits for the data that a file of `configs/datasets` names; None without data.

    They change when the files that `ttfs.data.load` would read get another name, size or time of
    change. An archive and the folder that was unpacked from it have the same stamp. A bundled set
    is stamped by its content, a generated one by its name. Raises UserError where files cannot be
    listed.
    """
    [(kind, value)] = config["source"].items()
    try:
        content = CONTENTS[kind](value)
    except OSError as error:
        raise UserError(
            f"{error.filename}: cannot be read ({error.strerror}); make it readable"
        ) from None
    if content is None:
        return None
    text = f"{kind}\n{content}".encode(errors="surrogateescape")
    return hashlib.sha256(text).hexdigest()[:16]


def _bundled(name: str) -> str | None:
    file = find_bundled(name)
    return None if file is None else hashlib.sha256(file.read_bytes()).hexdigest()


def _generated(name: str) -> str:
    return name


def _file(name: str) -> str | None:
    file = find(name)
    return None if file is None else describe(file)


def _folder(name: str) -> str | None:
    folder, archive = find(name), find_archive(name)
    if folder is None or not folder.is_dir():
        return None if archive is None else describe(archive)
    unpacked = Unpacked.read(folder)
    if unpacked and archive and not unpacked.came_from(archive):
        return describe(archive)  # `load` asks to delete the folder
    listing = describe(folder)
    return unpacked.archive if unpacked and unpacked.folder == listing else listing


def _torchvision(source: Mapping[str, Any]) -> str | None:
    """The set's files in the first place that has some, and in those that have more: the first need
    not have all parts.
    """
    name = source["name"]
    found = {
        place: [place / name] if (place / name).is_dir() else _named(name, place)
        for place in places()
    }
    found = {place: files for place, files in found.items() if files}
    if len(found) > 1:  # else no listing: there may be a million files
        seen: set[Path] = set()
        for place, files in list(found.items()):
            below = {path.relative_to(place) for file in files for path in (file, *file.rglob("*"))}
            if below <= seen:
                del found[place]
            seen |= below
    texts = (
        "\n".join(f"{path.name} {describe(path)}" for path in files) for files in found.values()
    )
    return "\n\n".join(texts) or None


def _named(name: str, place: Path) -> list[Path]:
    if not place.is_dir():
        return []
    if name in TORCHVISION_FILES:
        fits = re.compile(TORCHVISION_FILES[name]).fullmatch
        return sorted(path for path in place.iterdir() if fits(path.name.lower()))
    return sorted(path for path in place.iterdir() if _plain(path.name).startswith(_plain(name)))


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


CONTENTS: dict[str, Callable[[Any], str | None]] = {
    "bundled": _bundled,
    "generated": _generated,
    "npz": _file,
    "table": _file,
    "folder": _folder,
    "torchvision": _torchvision,
}
