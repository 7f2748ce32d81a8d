"""Axes of a grid: an entry with keys to vary becomes the product of its values, each with a
computed id.

    {method: b1-scratch, over: {train.activity_l1: [6.0e-4, 2.0e-3]}}

stands for `b1-scratch+activity_l1=6e-4` and `b1-scratch+activity_l1=2e-3`. An id holds each key in
which the point differs from its file, and nothing else: a point that equals its file has the file's
id, and the same point has the same id in each grid.
"""

import copy
import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ttfs.config.read import complete, read_named, schema_for, suggest, with_defaults
from ttfs.errors import UserError

POINT = r"[a-z0-9][a-zA-Z0-9._=+~-]*"
"""Pattern of the ids of points."""
LONGEST = 180
"""Characters of an id, which names a folder."""


@dataclass(frozen=True)
class Variant:
    """One point: its id, its completed configuration (with its file's `id`), its varied keys."""

    id: str
    config: dict[str, Any]
    varied: tuple[str, ...] = ()
    """Dotted keys that the entry varies, also where the value is that of the file."""


def variants(noun: str, entry: str | Mapping[str, Any], where: str) -> Iterator[Variant]:
    """Yield the points of one entry of a grid, in the order of its lists.

    `where` begins messages. Raises UserError for a key that the noun does not have or a value that
    does not fit it.
    """
    base_id = entry if isinstance(entry, str) else entry.get(noun, "ideal")
    base = read_named(noun, base_id, where)
    axes = {} if isinstance(entry, str) else dict(entry.get("over", {}))
    schema = schema_for(noun, base, where)
    keys = [_full_key(key, schema, f"{where}: {base_id}") for key in axes]
    _check_apart(dict(zip(axes, keys, strict=True)), f"{where}: {base_id}")
    choices = [values if isinstance(values, list) else [values] for values in axes.values()]
    for point in itertools.product(*choices):
        content = copy.deepcopy(base)
        del content["id"]
        for key, value in zip(keys, point, strict=True):
            _set(content, key, _meant(value, _rule(key, schema)))
        place = f"{where}: {base_id} with " + ", ".join(
            f"{k}: {v}" for k, v in zip(keys, point, strict=True)
        )
        config = {"id": base_id, **complete(content, schema, place if axes else where)}
        name = _id(base, config, schema)
        if not re.fullmatch(POINT, name) or len(name) > LONGEST:
            raise UserError(
                f"{place}: the id {name[:80]!r} is no name of a folder; put the values into a file"
            )
        yield Variant(name, config, tuple(keys))


def value_at(config: Mapping[str, Any], key: str) -> Any:
    """Return the value at a dotted key, None where there is none.

    >>> value_at({"train": {"epochs": 3}}, "train.epochs")
    3
    >>> value_at({"train": None}, "train.epochs") is None
    True
    """
    value: Any = config
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a configuration without blocks: {dotted key: value}.

    >>> flat({"kind": "relu", "train": {"epochs": 3}})
    {'kind': 'relu', 'train.epochs': 3}
    """
    found: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def text_of(value: Any) -> str:
    """Return a value as ids and tables write it: the shortest form that is read back as the same
    value.

    >>> [text_of(value) for value in (2.0e-3, 1.7e-4, 0.99, 10.0, 4, None, True, [1, 2], 5e-05)]
    ['2e-3', '1.7e-4', '0.99', '10', '4', 'none', 'true', '1-2', '5e-5']
    """
    if value is None or isinstance(value, bool):
        return {None: "none", True: "true", False: "false"}[value]
    if isinstance(value, list):
        return "-".join(text_of(part) for part in value)
    if not isinstance(value, float):
        return str(value).replace("+", "~")  # the id of a point, inside that of another
    if value.is_integer() and abs(value) < 1e6:
        return str(int(value))
    if 0.01 <= abs(value) < 1e6:
        return repr(value)
    digits = next(f"{value:.{n}e}" for n in range(18) if float(f"{value:.{n}e}") == value)
    mantissa, exponent = digits.split("e")
    return f"{mantissa}e{int(exponent)}"


def leaves(schema: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield the dotted keys of a schema, blocks before their keys."""
    for key, rule in schema.get("properties", {}).items():
        yield prefix + key
        yield from leaves(rule, f"{prefix}{key}.")


def _full_key(key: str, schema: Mapping[str, Any], where: str) -> str:
    """Return the dotted key that a key, or its last part where that is unique, stands for."""
    keys = [known for known in leaves(schema) if known not in ("title", "note", "citation", "kind")]
    if key in keys:
        return key
    ends = [known for known in keys if known.endswith(f".{key}")]
    if len(ends) == 1:
        return ends[0]
    choice = f"; choose from: {', '.join(ends)}" if ends else suggest(key, keys)
    raise UserError(f"{where}: no key '{key}' to vary{choice}")


def _check_apart(keys: Mapping[str, str], where: str) -> None:
    """Raise UserError where two axes, {key as it is written: in full}, set one key, alone or in a
    block.
    """
    for (first, one), (second, other) in itertools.combinations(keys.items(), 2):
        if f"{other}.".startswith(f"{one}.") or f"{one}.".startswith(f"{other}."):
            raise UserError(
                f"{where}: over: '{first}' and '{second}' set the same values; give one of them, "
                "or two entries"
            )


def _meant(value: Any, rule: Mapping[str, Any]) -> Any:
    """The value that an axis means: the word none is null, where it is no value of the key."""
    null = "null" in rule.get("type", ()) and not _takes_none(rule)
    return None if value == "none" and null else value


def _takes_none(rule: Mapping[str, Any]) -> bool:
    """Whether the word none is a value of a key, as of augmentations, whose null is that of the
    data set, or of the training.
    """
    return rule.get("pattern") == "^none$"


def _rule(key: str, schema: Mapping[str, Any]) -> Mapping[str, Any]:
    for part in key.split("."):
        schema = schema.get("properties", {}).get(part, {})
    return schema


def _set(content: dict[str, Any], key: str, value: Any) -> None:
    *path, last = key.split(".")
    for part in path:
        if not isinstance(content.get(part), dict):
            content[part] = {}
        content = content[part]
    content[last] = value


def _id(base: Mapping[str, Any], point: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    words = sorted(_differences(base, point, schema, "", list(leaves(schema))))
    return "+".join([*([] if base["id"] == "ideal" and words else [base["id"]]), *words])


def _differences(
    base: Mapping[str, Any],
    point: Mapping[str, Any],
    schema: Mapping[str, Any],
    prefix: str,
    known: list[str],
) -> Iterator[str]:
    """Yield `key=value` for each value of the point that is not the base's, under its shortest
    unique name.
    """
    for key in sorted({*base, *point}):
        old, new = base.get(key), point.get(key)
        if old == new:
            continue
        rule = schema.get("properties", {}).get(key, {})
        if isinstance(new, Mapping):
            inner = old if isinstance(old, Mapping) else with_defaults({}, rule)
            found = list(_differences(inner, new, rule, f"{prefix}{key}.", known))
            if not isinstance(old, Mapping):  # a block that the base does not have is named
                found = [f"{key}.{word}" for word in found] or [key]
            yield from found
        else:
            shared = sum(name == key or name.endswith(f".{key}") for name in known) > 1
            word = "default" if new is None and _takes_none(rule) else text_of(new)
            yield f"{prefix if shared else ''}{key}={word}"
