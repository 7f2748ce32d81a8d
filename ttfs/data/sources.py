"""The kinds of source a data set can have, each a function."""

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ttfs.data.arrays import check_labels, from_arrays
from ttfs.data.arrival import find_folder, reason
from ttfs.data.image_files import ImageFiles
from ttfs.data.inputs import Format, Labeled
from ttfs.data.places import find, find_bundled, listed
from ttfs.data.torchvision_sets import open_sets
from ttfs.data.yin_yang import SIZES, yin_yang
from ttfs.errors import UserError

IMAGE_FILES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}


class Parts(NamedTuple):
    """The parts of a source; None where it lacks one."""

    train: Labeled
    validation: Labeled | None = None
    test: Labeled | None = None


def read(source: Mapping[str, Any], wanted: Format, where: str) -> Parts:
    """Read the source `{kind: value}` of a data set."""
    [(kind, value)] = source.items()
    if kind != "npz" and wanted.range != (0.0, 1.0):
        raise UserError(
            f"{where}: key 'range': inputs of source {kind!r} lie in [0, 1]; delete the key"
        )
    return SOURCES[kind](value, wanted, where)


def _bundled(name: str, wanted: Format, where: str) -> Parts:
    """The UCI digits out of the scikit-learn wheel, 1,797 images, values 0 … 16."""
    file = find_bundled(name)
    if file is None:
        raise UserError(
            f"{where}: key 'source.bundled': {name!r} comes with scikit-learn; install that"
        )
    table = np.loadtxt(file, dtype=np.uint8, delimiter=",")
    images = table[:, :-1].reshape(-1, 8, 8) / np.float32(16)
    return Parts(from_arrays(images, table[:, -1], wanted, where))


def _generated(name: str, wanted: Format, where: str) -> Parts:
    """Yin-Yang, the one generated set: three parts of points in the unit square."""
    return Parts(*(from_arrays(*yin_yang(part), wanted, f"{where}: {name}") for part in SIZES))


def _npz(name: str, wanted: Format, where: str) -> Parts:
    """Arrays x_train, y_train, x_test, y_test, or x, y."""
    path = find(name)
    if path is None:
        raise UserError(f"{where}: key 'source.npz': no file {name!r}; put it into {listed()}")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
            arrays = dict(content)
    except Exception as error:  # damaged files raise whatever reads them; huge ones, MemoryError
        raise UserError(
            f"{path}: cannot be read as arrays: {reason(error)}; write it again with numpy.savez"
        ) from None

    def part(x: str, y: str) -> Labeled:
        return from_arrays(arrays[x], arrays[y], wanted, f"{path}: {x}, {y}")

    if arrays.keys() >= {"x_train", "y_train", "x_test", "y_test"}:
        return Parts(part("x_train", "y_train"), test=part("x_test", "y_test"))
    if arrays.keys() >= {"x", "y"}:
        return Parts(part("x", "y"))
    raise UserError(
        f"{path}: holds {sorted(arrays)}; name the arrays x_train, y_train, x_test, y_test, or x, y"
    )


def _folder(name: str, wanted: Format, where: str) -> Parts:
    """Image files train/<class>/* and test/<class>/*, or <class>/*, classes in order of name."""
    folder = find_folder(name, where)
    try:
        return _halves(folder, wanted, where)
    except OSError as error:
        raise UserError(
            f"{error.filename}: cannot be listed ({error.strerror}); make it readable"
        ) from None


def _halves(folder: Path, wanted: Format, where: str) -> Parts:
    halves = [half for half in ("train", "test") if (folder / half).is_dir()]
    if len(halves) == 1:
        raise UserError(
            f"{folder}: has {halves[0]}/ alone; give it both train/ and test/, or <class>/ folders "
            "alone"
        )
    names = {half: _classes(folder / half, wanted.classes, where) for half in halves or ["."]}
    if halves and names["train"] != names["test"]:
        different = sorted(set(names["train"]) ^ set(names["test"]))
        raise UserError(
            f"{folder}: classes {different} are not in both train/ and test/; make the two agree"
        )
    parts = [_files(folder, folder / half, names[half], wanted, where) for half in names]
    return Parts(parts[0], test=parts[1] if halves else None)


def _classes(folder: Path, classes: int, where: str) -> list[str]:
    entries = (entry for entry in folder.iterdir() if entry.is_dir())
    names = sorted(entry.name for entry in entries if not entry.name.startswith("."))
    if len(names) != classes:
        raise UserError(
            f"{where}: 'classes: {classes}', but {folder} has {len(names)} class folders; "
            "correct one of them"
        )
    return names


def _files(root: Path, folder: Path, names: list[str], wanted: Format, where: str) -> Labeled:
    files: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(names):
        found = [path for path in _walk(folder / name) if _is_image(path)]
        if not found:
            known = ", ".join(sorted(IMAGE_FILES))
            raise UserError(f"{folder / name}: holds no image ({known}); add some")
        found.sort(key=lambda path: path.split("/"))
        within = len(str(root)) + 1
        files += [path[within:] for path in found]
        labels += [label] * len(found)
    return _image_files(root, files, labels, wanted, where)


def _walk(folder: Path) -> Iterator[str]:
    """The paths of all files below a folder; an OSError where one of its folders cannot be listed.

    They are texts: a `Path` for each of a million files takes longer than the listing.
    """

    def fail(error: OSError) -> None:
        raise error

    seen: set[tuple[int, int]] = set()
    for place, folders, names in os.walk(folder, onerror=fail, followlinks=True):
        status = os.stat(place)  # noqa: PTH116
        if (status.st_dev, status.st_ino) in seen:  # a link to a folder above
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (f"{place}/{name}" for name in names if not name.startswith("."))


def _is_image(path: str) -> bool:
    stem, _, suffix = path.rpartition("/")[2].rpartition(".")
    return stem != "" and f".{suffix.lower()}" in IMAGE_FILES


def _image_files(root: Path, files: list[str], labels: Any, wanted: Format, where: str) -> Labeled:
    if len(wanted.shape) != 3 or wanted.shape[0] not in (1, 3):
        raise UserError(
            f"{where}: key 'shape': image files give [1, H, W] (gray) or [3, H, W] (RGB), not "
            f"{list(wanted.shape)}"
        )
    try:
        names = np.array(files, dtype=np.dtypes.StringDType())
    except UnicodeEncodeError as error:
        raise UserError(
            f"{root}: the name of the file {error.object!a} is not UTF-8; rename it"
        ) from None
    inputs = ImageFiles(root, names, wanted.shape)
    return Labeled(inputs, check_labels(labels, len(files), wanted.classes, where))


def _torchvision(source: Mapping[str, Any], wanted: Format, where: str) -> Parts:
    """A class of torchvision.datasets: its arrays where it holds them in memory, else its files."""
    parts = []
    for root, dataset in open_sets(source, where):
        labeled = [key for key in ("targets", "labels") if hasattr(dataset, key)]
        if labeled and _is_numeric(getattr(dataset, "data", None)):
            labels = getattr(dataset, labeled[0])
            parts.append(from_arrays(dataset.data, labels, wanted, where))
        elif hasattr(dataset, "loader"):
            dataset.loader = Path  # an item is now (path, label), and nothing is decoded
            files, labels = zip(*(dataset[place] for place in range(len(dataset))), strict=True)
            names = [path.relative_to(root).as_posix() for path in files]
            parts.append(_image_files(root, names, labels, wanted, where))
        else:
            raise UserError(
                f"{where}: torchvision.datasets.{source['name']} gives neither arrays nor image "
                "files; lay its images out as train/<class>/*, test/<class>/* and use "
                "'source: {folder: ...}'"
            )
    return Parts(parts[0], test=parts[1] if len(parts) == 2 else None)


def _is_numeric(data: Any) -> bool:
    """Whether a set holds its items; LFWPeople holds a list of paths."""
    return data is not None and np.asarray(data).dtype.kind in "buif"


SOURCES: dict[str, Callable[[Any, Format, str], Parts]] = {
    "bundled": _bundled,
    "generated": _generated,
    "npz": _npz,
    "folder": _folder,
    "torchvision": _torchvision,
}
