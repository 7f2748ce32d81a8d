"""Read a grid file and each file that it names, and check that they go together."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ttfs.config import torchvision_names
from ttfs.config.grid import Block, Grid, kind_of
from ttfs.config.read import grid_path, known, read_named, read_yaml, suggest
from ttfs.config.variants import Variant, variants
from ttfs.errors import UserError

RESERVED = ("cells", "mlflow-artifacts", "published", "site")
"""Names of folders of `results/` that no grid can have."""


def load_grid(path: str | Path) -> Grid:
    """Read a grid file, each file that it names, and the published values; raise UserError at the
    first fault.

    The name of the grid is the file's stem.
    """
    path = grid_path(path)
    settings = read_yaml(path, "grid")
    if settings["id"] in RESERVED:
        raise UserError(
            f"{path}: results/{settings['id']}/ is not for a grid; give the grid another name"
        )
    points = {
        noun: _points(noun, settings[key], f"{path}: key '{key}'")
        for noun, key in (
            ("dataset", "datasets"), ("model", "models"), ("method", "methods"),
            ("hardware", "hardware"),
        )
    }  # fmt: skip
    own = _own(settings, points, path)
    grid = Grid(
        settings["id"],
        settings,
        points["dataset"],
        points["model"],
        points["method"],
        points["hardware"],
        {name: _read_study(name, path) for name in settings["studies"]},
        [read_named("published", name, str(path)) for name in known("published")],
        own,
        str(path),
    )
    _check(grid, path)
    return grid


def _own(
    settings: Mapping[str, Any], points: dict[str, dict[str, Variant]], path: Path
) -> dict[str, tuple[Block, ...]]:
    """The entries of each data set, with models and methods of the entry, or else of the grid.

    Adds those of entries to `points`.
    """
    listed = {"models": tuple(points["model"]), "methods": tuple(points["method"])}
    own: dict[str, tuple[Block, ...]] = {}
    for entry in settings["datasets"]:
        names = dict(listed)
        for key in listed:
            if isinstance(entry, dict) and key in entry:
                found = _points(key.removesuffix("s"), entry[key], f"{path}: key 'datasets.{key}'")
                _add(points[key.removesuffix("s")], found.values(), str(path))
                names[key] = tuple(found)
        for point in variants("dataset", entry, f"{path}: key 'datasets'"):
            own[point.id] = (*own.get(point.id, ()), Block(**names))
    return own


def _points(noun: str, entries: Iterable[Any], where: str) -> dict[str, Variant]:
    """The points of a list of entries by id; a point that two entries give comes once."""
    found: dict[str, Variant] = {}
    for entry in entries:
        _add(found, variants(noun, entry, where), where)
    return found


def _add(found: dict[str, Variant], points: Iterable[Variant], where: str) -> None:
    """Add points; raise UserError where two that differ have one id."""
    for point in points:
        before = found.get(point.id, point)
        if before.config != point.config:
            raise UserError(
                f"{where}: two different points have the id {point.id!r}; put the values of one of "
                "them into a file of its own"
            )
        varied = tuple(dict.fromkeys((*before.varied, *point.varied)))
        found[point.id] = replace(point, varied=varied)


def _check(grid: Grid, path: Path) -> None:
    for name, method in grid.methods.items():
        grid.kind(name).check(method.config, _place("method", method, path))
        _check_source(name, grid, path)
    for model in grid.models.values():
        _check_model(model.config, _place("model", model, path))
    for dataset in grid.datasets.values():
        _check_dataset(dataset.config, _place("dataset", dataset, path))
    deployable = [name for name in grid.methods if grid.kind(name).deployable]
    for name in grid.settings["deployed"]:
        if name not in deployable:
            raise UserError(
                f"{path}: key 'deployed': {name!r} is no method here whose networks go onto "
                f"hardware{suggest(name, deployable)}"
            )
    for name, chip in grid.hardware.items():
        if chip.config["latency_cut"] is not None and chip.config["window_quantile"] is not None:
            raise UserError(
                f"{path}: key 'hardware': {name!r} has latency_cut and window_quantile; the cut "
                "chooses the quantile, so leave one of them null"
            )
    if grid.hardware and not deployable:
        raise UserError(
            f"{path}: key 'hardware': no method here has networks that go onto hardware; add "
            "b1-converted, say"
        )
    reference = grid.settings["reference"]
    if reference and reference not in grid.methods:
        raise UserError(
            f"{path}: key 'reference': {reference!r} is no method "
            f"here{suggest(reference, list(grid.methods))}"
        )


def _place(noun: str, point: Variant, path: Path) -> str:
    """Where the values of a data set, model or method stand: its file, or the grid that varies
    them.
    """
    own = point.id == point.config["id"]
    return f"configs/{noun}s/{point.id}.yaml" if own else f"{path}: key '{noun}s': {point.id!r}"


def _check_source(name: str, grid: Grid, path: Path) -> None:
    """Raise UserError where a method starts from one that is not there, or whose networks it cannot
    start from.
    """
    config, kind = grid.methods[name].config, grid.kind(name)
    source = config.get("source")
    if source is None:
        return
    place = _place("method", grid.methods[name], path)
    if source not in grid.methods:
        raise UserError(
            f"{path}: key 'methods': {name!r} starts from {source!r}, which the grid does not "
            f"list; add {source!r}"
        )
    for dataset in grid.datasets:
        for block in grid.blocks(dataset):
            if name in block.methods and source not in block.methods:
                raise UserError(
                    f"{path}: key 'datasets.methods': on {dataset}, {name!r} starts from "
                    f"{source!r}, which is not listed there; add {source!r}"
                )
    seen = [name]
    while source is not None and source in grid.methods:
        if source in seen:
            raise UserError(
                f"{place}: key 'source': {' <- '.join([*seen, source])} is a circle; start one "
                "from scratch"
            )
        seen.append(source)
        source = grid.methods[source].config.get("source")
    found = grid.methods[seen[1]].config["kind"]
    if found not in kind.starts_from(config):
        wanted = kind.starts_from(config)
        fitting = [m for m, v in grid.methods.items() if v.config["kind"] in wanted and m != name]
        raise UserError(
            f"{place}: key 'source': {seen[1]!r} makes networks of kind {found}, and this method "
            f"starts from {' or '.join(wanted)}{suggest(seen[1], fitting)}"
        )


def _check_model(config: Mapping[str, Any], place: str) -> None:
    if "layers" in config:
        from ttfs.models import padding_of, parse

        try:
            for layer in parse(config["layers"], config["id"]):
                if layer.kind == "conv":
                    padding_of(layer, config)
        except UserError as error:
            raise UserError(f"{place}: {error}") from None
    if "torchvision" in config:
        where = f"{place}: key 'torchvision': no network"
        _check_name(config["torchvision"], torchvision_names.networks(), where)


def _check_dataset(config: Mapping[str, Any], place: str) -> None:
    if "torchvision" in config["source"]:
        where = f"{place}: key 'source.torchvision.name': torchvision.datasets has no data set"
        name = config["source"]["torchvision"]["name"]
        _check_name(name, torchvision_names.data_sets(), where)


def _check_name(name: str, names: frozenset[str], where: str) -> None:
    """Raise UserError for a name that torchvision lacks; all pass where it is not installed."""
    if names and name not in names:
        raise UserError(f"{where} {name!r}{suggest(name, sorted(names))}")


def _read_study(name: str, grid: Path) -> dict[str, Any]:
    """A checked study, with the checked files of its data set and models in place of their ids."""
    study = read_named("study", name, f"{grid}: key 'studies'")
    kind, file = kind_of(study), f"configs/studies/{name}.yaml"
    block = study[kind]
    block["dataset"] = read_named("dataset", block["dataset"], f"{file}: key '{kind}.dataset'")
    if "models" in block:
        where = f"{file}: key '{kind}.models'"
        block["models"] = [read_named("model", model, where) for model in block["models"]]
        for model in block["models"]:
            _check_model(model, f"configs/models/{model['id']}.yaml")
    return study
