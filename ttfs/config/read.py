"""Read one YAML file of `configs/`, check it against its JSON schema, and fill in the defaults.

A schema's `default` values are filled in here, once, so that no other code repeats them.
"""

import copy
import difflib
import json
import math
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from ttfs.errors import UserError

SCHEMAS = Path(__file__).parent / "schemas"
SHIPPED = Path(__file__).parents[1] / "shipped"
ID = re.compile(r"[a-z0-9-]+")
LARGEST_FILE = 1_000_000
"""Bytes of the largest file that is read as configuration."""
LONGEST_NAME = 240
"""Bytes of a file's name without its ending, which file systems hold."""
FOLDERS = {
    "dataset": "datasets",
    "model": "models",
    "method": "methods",
    "hardware": "hardware",
    "study": "studies",
    "published": "published",
}
"""The folder of `configs/` in which files of each noun lie."""


def places(noun: str) -> list[Path]:
    """Return the folders of a noun's files: in the working directory, then as shipped."""
    own = Path("configs", FOLDERS[noun])
    shipped = SHIPPED / own
    return [own] if own.is_dir() and own.samefile(shipped) else [own, shipped]


def known(noun: str) -> list[str]:
    """Return the ids of a noun that have a file, in order; hidden files are none."""
    paths = (path for place in places(noun) for path in place.glob("*.yaml"))
    return sorted({path.stem for path in paths if not path.name.startswith(".")})


def find(noun: str, name: str) -> Path | None:
    """Return the file of an id: of the working directory, or else the shipped one; None without."""
    paths = (place / f"{name}.yaml" for place in places(noun))
    return next((path for path in paths if path.is_file()), None)


def read_named(noun: str, name: str, where: str) -> dict[str, Any]:
    """Return the checked file of an id; without one raise UserError, which begins with `where`."""
    path = find(noun, name) if _is_file_name(name) else None
    if path is None:
        file = Path("configs", FOLDERS[noun], f"{name}.yaml")
        raise UserError(f"{where}: no {file}{suggest(name, known(noun))}")
    return read_yaml(path, noun)


def _is_file_name(name: str) -> bool:
    """Whether it may name a file of a folder, be it no id: `read_yaml` says what an id is."""
    return name.isprintable() and Path(name).name == name and len(name.encode()) < LONGEST_NAME


def grid_path(path: str | Path) -> Path:
    """Return the file of a grid: the path itself, or else the shipped grid of that name."""
    path = Path(path)
    if path.is_file() or path.is_absolute() or path.name in ("", ".."):
        return path
    own = Path("configs", f"{path.name}.yaml")
    shipped = SHIPPED / "configs" / path.with_suffix(".yaml").name
    named = path.suffix == "" and len(path.parts) == 1
    if named and own.exists():
        return own
    asked_for = named or path.parent == Path("configs")
    return shipped if asked_for and shipped.is_file() else path


def grid_paths() -> list[Path]:
    """Return the files of all grids by name: of the working directory, or else the shipped one."""
    own, shipped = (folder.glob("*.yaml") for folder in (Path("configs"), SHIPPED / "configs"))
    found = {path.name: path for path in (*shipped, *own)}
    return [found[name] for name in sorted(found)]


def read_yaml(path: str | Path, noun: str) -> dict[str, Any]:
    """Read one file, check it against the schema of its noun, fill in the defaults.

    Adds the key `id`, the file's stem. Raises UserError with file, key, value and fix.
    """
    path = Path(path)
    content = load_yaml(path)
    return {"id": path.stem, **complete(content, schema_for(noun, content, str(path)), str(path))}


def schema_for(noun: str, content: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """Return the schema of a file: that of its noun, or, for a method, that of its kind."""
    if noun != "method":
        return schema_of(noun)
    from ttfs.methods import kinds, method_schema

    if "kind" not in content:
        raise UserError(f"{where}: missing key 'kind'; choose from: {', '.join(kinds())}")
    if content["kind"] not in kinds():
        raise UserError(
            f"{where}: key 'kind' is {content['kind']!r}{suggest(str(content['kind']), kinds())}"
        )
    return method_schema(content["kind"])


def load_yaml(path: Path) -> dict[str, Any]:
    """Return the `key: value` pairs of a YAML file whose name is an id, unchecked."""
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise UserError(f"{path}: larger than {LARGEST_FILE:,} bytes; this is no configuration")
        content = copy.deepcopy(_parsed(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        bare = path.suffix == "" and len(path.parts) == 1  # the name of a grid
        near = [file.stem for file in grid_paths()] if bare else _names(path.parent)
        raise UserError(f"{path}: no such file{suggest(path.name, near)}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path}: not valid YAML: {reason}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected 'key: value' lines, found {type(content).__name__}")
    if not ID.fullmatch(path.stem):
        raise UserError(f"{path}: the file's name is its id and may hold only a-z, 0-9 and '-'")
    return content


def _names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.glob("*.yaml"))


@cache
def _parsed(text: str) -> Any:
    """The content of a YAML text; files are read again and again, and seldom change."""
    return yaml.load(text, _Loader)


def complete(content: Mapping[str, Any], schema: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the content with the schema's defaults; raise UserError, which begins with `where`, if
    it does not fit.
    """
    fault = jsonschema.exceptions.best_match(_Validator(schema).iter_errors(content))
    if fault is not None:
        raise UserError(f"{where}: {_explain(fault)}")
    return with_defaults(content, schema)


class _Loader(yaml.SafeLoader):
    """YAML 1.2: 012 is 12, 1:30 is text, 1e-3 a number, `on` a word.

    Aliases, tags, keys that come twice and keys that are no text are refused.
    """

    yaml_implicit_resolvers: dict[str, list[Any]] = {}  # noqa: RUF012  PyYAML reads it so

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        refused = "aliases (*name)" if isinstance(event, yaml.AliasEvent) else ""
        refused = refused or ("tags (!!name)" if getattr(event, "tag", None) else "")
        if refused:
            raise yaml.MarkedYAMLError(
                problem=f"{refused} are not allowed", problem_mark=event.start_mark
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if key.tag != "tag:yaml.org,2002:str":
                raise yaml.MarkedYAMLError(
                    problem=f"key '{key.value}' is no text", problem_mark=key.start_mark
                )
            if key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"key '{key.value}' comes twice", problem_mark=key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _integer(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    if len(node.value) > 20:
        raise yaml.MarkedYAMLError(
            problem=f"the number {node.value[:20]}… is too long", problem_mark=node.start_mark
        )
    return int(node.value)


def _float(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> float:
    return float(node.value.lower().replace(".inf", "inf").replace(".nan", "nan"))


_FINITE = r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
_NUMBER = _FINITE + r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    ("float", _NUMBER, "-+.0123456789"),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _first
    )
_Loader.add_constructor("tag:yaml.org,2002:int", _integer)
_Loader.add_constructor("tag:yaml.org,2002:float", _float)


def _is_number(_: object, value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_integer(_: object, value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


# JSON Schema takes 4.0 for an integer, and YAML's .inf and .nan are numbers; neither is a number of
# epochs or a rate.
_Validator = jsonschema.validators.extend(
    jsonschema.Draft202012Validator,
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine(
        "number", _is_number
    ).redefine("integer", _is_integer),
)


@cache
def schema_of(noun: str) -> dict[str, Any]:
    """Return the JSON schema of a noun's files."""
    return _resolved(yaml.safe_load((SCHEMAS / f"{noun}.schema.yaml").read_text(encoding="utf-8")))


def _resolved(schema: Any) -> Any:
    """Replace each `$ref` to another file by its schema; keys beside the `$ref` take precedence."""
    if not isinstance(schema, dict):
        return schema
    schema = {key: _resolved(value) for key, value in schema.items()}
    file = schema.get("$ref", "#")
    if file.startswith("#"):
        return schema
    return part_of(file.removesuffix(".schema.yaml")) | {
        key: schema[key] for key in schema if key != "$ref"
    }


def part_of(noun: str) -> dict[str, Any]:
    """Return the same as a part of another schema: with a `$schema` of its own, jsonschema would
    check it by its plain rules, where 4.0 is an integer.
    """
    return {key: rule for key, rule in schema_of(noun).items() if key != "$schema"}


def with_defaults(content: Any, schema: Mapping[str, Any]) -> Any:
    """Return the content with the defaults of the schema for missing keys, also in blocks, without
    the nulls of keys that have no default, and numbers as floats where a key takes floats: 100 and
    100.0 are one value, and 0 and -0.0.
    """
    if isinstance(content, list):
        return [with_defaults(value, schema.get("items", {})) for value in content]
    if not isinstance(content, Mapping):
        return float(content) + 0.0 if _stands_for_float(content, schema) else content
    properties = schema.get("properties", {})
    rules = {key: properties.get(key, {}) for key in content}
    filled = {
        key: with_defaults(value, rules[key])
        for key, value in content.items()
        if value is not None or not _null_is_absence(rules[key])
    }
    needs = schema.get("dependentRequired", {})
    for key, rule in properties.items():
        wanted = all(other in filled for other in needs.get(key, ()))
        if key not in filled and "default" in rule and wanted:
            filled[key] = with_defaults(json.loads(json.dumps(rule["default"])), rule)
    return filled


def _null_is_absence(rule: Mapping[str, Any]) -> bool:
    """Whether null says no more than a key that is left out: null is allowed, and no default."""
    return "null" in rule.get("type", ()) and "default" not in rule


def _stands_for_float(value: Any, schema: Mapping[str, Any]) -> bool:
    """Whether it is a number of a key that takes floats; where it takes whole numbers, too, they
    mean something else.
    """
    types = schema.get("type", ())
    known = [types] if isinstance(types, str) else types
    return _is_number(None, value) and "number" in known and "integer" not in known


def _explain(error: jsonschema.ValidationError) -> str:
    """Say in one line which key is wrong, its value, and the values it may have."""
    where = ".".join(str(part) for part in error.absolute_path)
    prefix = f"{where}." if where else ""
    if error.validator == "additionalProperties":
        keys = sorted(error.schema.get("properties", {}))
        unknown = sorted(set(error.instance) - set(keys))[0]
        return f"unknown key '{prefix}{unknown}'{suggest(unknown, keys)}"
    if error.validator == "required":
        missing = sorted(set(error.validator_value) - set(error.instance))[0]
        return f"missing key '{prefix}{missing}'"
    if error.validator == "not" and error.validator_value == {}:
        return f"key '{where}' does not go with the other keys; delete it"
    if error.validator in ("enum", "const"):
        value = error.validator_value
        choices = [str(one) for one in (value if error.validator == "enum" else [value])]
        return f"key '{where}' is {error.instance!r}{suggest(str(error.instance), choices)}"
    if error.validator == "oneOf" and all(
        set(option) == {"required"} for option in error.validator_value
    ):
        keys = [
            f"'{prefix}{key}'" for option in error.validator_value for key in option["required"]
        ]
        return f"give exactly one of the keys {', '.join(keys[:-1])} and {keys[-1]}"
    if error.validator == "dependentRequired":
        pairs = ((key, other) for key, others in error.validator_value.items() for other in others)
        key, other = next(
            (k, o) for k, o in pairs if k in error.instance and o not in error.instance
        )
        return f"key '{prefix}{key}' needs key '{prefix}{other}'"
    message = " ".join(error.message.split())
    message = message if len(message) <= 200 else message[:200] + "…"
    return f"key '{where}': {message}" if where else message


def suggest(word: str, known: list[str]) -> str:
    """Return the end of a message: the known word nearest to one that is not known, or all of
    them.
    """
    close = difflib.get_close_matches(word, known, n=1)
    if close:
        return f"; did you mean '{close[0]}'?"
    return f"; choose from: {', '.join(known) or 'none is there'}"
