"""The kinds of source a data set can have: each a function that gives (train, test), test None where there is none."""

import zipfile
import zlib
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ttfs.data.arrays import check_labels, from_arrays
from ttfs.data.images import Labelled, OnDisk, Shape
from ttfs.data.places import find, find_folder, listed, reason
from ttfs.data.torchvision_sets import open_sets
from ttfs.errors import UserError

Parts = tuple[Labelled, Labelled | None]
IMAGE_FILES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}


def read(config: Mapping[str, Any], where: str) -> Parts:
    """Read the source that the configuration of a data set names."""
    [(kind, value)] = config["source"].items()
    return SOURCES[kind](value, tuple(config["shape"]), config["classes"], where)


def _bundled(name: str, shape: Shape, classes: int, where: str) -> Parts:
    """The UCI digits out of the scikit-learn wheel, 1,797 images, values 0 … 16."""
    package = find_spec("sklearn")  # importing it to call load_digits takes as long as importing torch
    if package is None or not package.submodule_search_locations:
        raise UserError(f"{where}: key 'source.bundled': {name!r} comes with scikit-learn; install that")
    table = np.loadtxt(
        Path(package.submodule_search_locations[0], "datasets", "data", "digits.csv.gz"), dtype=np.uint8, delimiter=","
    )
    images = table[:, :-1].reshape(-1, 8, 8) / np.float32(16)
    return from_arrays(images, table[:, -1], shape, classes, where), None


def _npz(name: str, shape: Shape, classes: int, where: str) -> Parts:
    """Arrays x_train, y_train, x_test, y_test, or x, y."""
    path = find(name)
    if path is None:
        raise UserError(f"{where}: key 'source.npz': no file {name!r}; put it into {listed()}")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
            arrays = dict(content)
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, OSError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: cannot be read as arrays: {reason(error)}; write it again with numpy.savez") from None

    def part(x: str, y: str) -> Labelled:
        return from_arrays(arrays[x], arrays[y], shape, classes, f"{path}: {x}, {y}")

    if arrays.keys() >= {"x_train", "y_train", "x_test", "y_test"}:
        return part("x_train", "y_train"), part("x_test", "y_test")
    if arrays.keys() >= {"x", "y"}:
        return part("x", "y"), None
    raise UserError(f"{path}: holds {sorted(arrays)}; name the arrays x_train, y_train, x_test, y_test, or x, y")


def _folder(name: str, shape: Shape, classes: int, where: str) -> Parts:
    """Image files train/<class>/* and test/<class>/*, or <class>/*. Classes are numbered in order of name."""
    folder = find_folder(name, where)
    halves = [half for half in ("train", "test") if (folder / half).is_dir()]
    if len(halves) == 1:
        raise UserError(f"{folder}: has {halves[0]}/ alone; give it both train/ and test/, or <class>/ folders alone")
    names = {half: _classes(folder / half, classes, where) for half in halves or ["."]}
    if halves and names["train"] != names["test"]:
        different = sorted(set(names["train"]) ^ set(names["test"]))
        raise UserError(f"{folder}: classes {different} are not in both train/ and test/; make the two agree")
    parts = [_files(folder, folder / half, names[half], shape, where) for half in names]
    return parts[0], parts[1] if halves else None


def _classes(folder: Path, classes: int, where: str) -> list[str]:
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if len(names) != classes:
        raise UserError(f"{where}: 'classes: {classes}', but {folder} has {len(names)} class folders; mend one of them")
    return names


def _files(root: Path, folder: Path, names: list[str], shape: Shape, where: str) -> Labelled:
    files, labels = [], []
    for label, name in enumerate(names):
        found = sorted(path for path in (folder / name).rglob("*") if path.suffix.lower() in IMAGE_FILES)
        if not found:
            raise UserError(f"{folder / name}: holds no image ({', '.join(sorted(IMAGE_FILES))}); add some")
        files += found
        labels += [label] * len(found)
    return _on_disk(root, files, labels, shape, len(names), where)


def _on_disk(root: Path, files: list[Path], labels: Any, shape: Shape, classes: int, where: str) -> Labelled:
    if shape[0] not in (1, 3):
        raise UserError(f"{where}: key 'shape': image files give 1 channel (gray) or 3 (RGB), not {shape[0]}")
    names = np.array([path.relative_to(root).as_posix() for path in files], dtype=np.dtypes.StringDType())
    return Labelled(OnDisk(root, names, shape), check_labels(labels, len(files), classes, where))


def _torchvision(source: Mapping[str, Any], shape: Shape, classes: int, where: str) -> Parts:
    """A class of torchvision.datasets: its arrays where it holds them in memory, its files otherwise."""
    parts = []
    for root, dataset in open_sets(source, where):
        if hasattr(dataset, "data"):
            labels = dataset.targets if hasattr(dataset, "targets") else dataset.labels
            parts.append(from_arrays(dataset.data, labels, shape, classes, where))
        elif hasattr(dataset, "loader"):
            dataset.loader = Path  # an item is now (path, label), and nothing is decoded
            files, labels = zip(*(dataset[place] for place in range(len(dataset))), strict=True)
            parts.append(_on_disk(root, list(files), labels, shape, classes, where))
        else:
            raise UserError(
                f"{where}: torchvision.datasets.{source['name']} gives neither arrays nor image files; "
                "lay its images out as train/<class>/*, test/<class>/* and use 'source: {folder: ...}'"
            )
    return parts[0], parts[1] if len(parts) == 2 else None


SOURCES: dict[str, Callable[[Any, Shape, int, str], Parts]] = {
    "bundled": _bundled,
    "npz": _npz,
    "folder": _folder,
    "torchvision": _torchvision,
}
