"""Data sets of torchvision: found, or downloaded whole."""

import difflib
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ttfs.data.arrival import alone, reason, staged
from ttfs.data.places import DATA, listed, places
from ttfs.errors import UserError

Opened = list[tuple[Path, Any]]


def open_sets(source: Mapping[str, Any], where: str) -> Opened:
    """Return (folder, data set) for the arguments `train` and, where given, `test`.

    Downloads them if no place has them. Raises UserError for a class or arguments that torchvision
    does not know, and for data that cannot be had.
    """
    from torchvision import datasets

    name = source["name"]
    kind = getattr(datasets, name, None)
    if not (isinstance(kind, type) and issubclass(kind, datasets.VisionDataset)):
        raise UserError(
            f"{where}: key 'source.torchvision.name': torchvision.datasets has no data set {name!r}"
            f"{_near(name, datasets.__all__)}"
        )
    parts = [partial(kind, **source[part]) for part in ("train", "test") if part in source]
    for part in parts:
        _check_arguments(part, name, where)
    found, reasons = _look(parts)
    if found:
        return found
    with alone(name):
        found, reasons = _look(parts)  # another job may have brought it while this one waited
        if found:
            return found
        tried = "; ".join(f"{place}: {why}" for place, why in reasons.items())
        print(f"downloading {name} into {DATA} ({tried})", file=sys.stderr)
        try:
            with staged(name) as staging:
                _open_in(staging, parts, download=True)
            return _open_in(DATA, parts)
        except Exception as error:
            raise UserError(
                f"{where}: {name} is not at hand and cannot be downloaded; put the data, laid out "
                f"as torchvision.datasets.{name} reads it, into {listed()} ({tried}; download: "
                f"{reason(error)})"
            ) from None


def _near(name: str, known: Sequence[str]) -> str:
    by_lower = {word.lower(): word for word in known}
    close = difflib.get_close_matches(name.lower(), by_lower, n=1)
    return f"; did you mean '{by_lower[close[0]]}'?" if close else "; its documentation lists them"


def _look(parts: Sequence[partial]) -> tuple[Opened, dict[Path, str]]:
    """Open the parts in the first place that has them all, or give the reason for each place."""
    reasons = {}
    for place in places():
        try:
            return _open_in(place, parts), {}
        except Exception as error:  # damaged files raise whatever reads them
            reasons[place] = reason(error).split(". ")[0]
    return [], reasons


def _open_in(root: Path, parts: Sequence[partial], **download: bool) -> Opened:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about old pickles inside the data
        return [(root, part(root, **download)) for part in parts]


OURS = {"root", "download", "transform", "transforms", "target_transform", "loader"}
"""Arguments of torchvision's sets that are given to them here."""


def _check_arguments(part: partial, name: str, where: str) -> None:
    """Try the arguments on an empty folder, where a TypeError or ValueError is about them alone."""
    if own := OURS & part.keywords.keys():
        raise UserError(
            f"{where}: key 'source.torchvision': {min(own)!r} is none of a file: data are looked "
            "for, fetched and read alike for all sets; delete it"
        )
    with tempfile.TemporaryDirectory() as empty:
        try:
            part(empty)
        except (TypeError, ValueError) as error:
            raise UserError(
                f"{where}: key 'source.torchvision': {name} does not take {part.keywords}: "
                f"{reason(error)}"
            ) from None
        except Exception:
            return
