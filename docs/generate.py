"""Write what the docs take from the code: tables of keys, and JSON schemas for editors.

    python docs/generate.py      # from the root, after a change of a kind's options or of a schema

A table stands between `<!-- options: NAME -->` and `<!-- end -->` of a page, where NAME is a kind
of method or a noun (dataset, model, hardware, grid, study). A kind that no page has is added to the
end of docs/methods.md. Keys that a kind has just as `relu` has them are listed there alone.
"""

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ttfs.config import schema_of, text_of
from ttfs.files import atomic_write
from ttfs.methods import kind, kinds, method_schema

DOCS = Path(__file__).parent
NOUNS = ("dataset", "model", "hardware", "grid", "study")
BLOCK = re.compile(r"(<!-- options: ([a-z0-9-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
DIALECT = "https://json-schema.org/draft/2020-12/schema"
FIRST = "relu"


def generated() -> dict[Path, str]:
    """Return {path: text} of each page that has a table, and of each schema."""
    found = {path: path.read_text(encoding="utf-8") for path in sorted(DOCS.rglob("*.md"))}
    listed = {name for text in found.values() for _, name, _ in BLOCK.findall(text)}
    for name in kinds():
        if name not in listed:
            found[DOCS / "methods.md"] += _section(name)
    pages = {path: _filled(text) for path, text in found.items() if BLOCK.search(text)}
    return pages | {DOCS / "schemas" / name: text for name, text in _schemas()}


def table(name: str) -> str:
    """Return the keys of a kind or noun as a Markdown table, keys of blocks dotted."""
    found = lines(name)
    if name in kinds() and name != FIRST:
        found = _without_shared(found)
    head = ["| key | values | default | meaning |", "|---|---|---|---|"]
    return "\n".join([*head, *found.values()]) + "\n"


def lines(name: str) -> dict[str, str]:
    """Return {key: its line of the table} of a kind or noun."""
    found = {}
    for key, rule, required in _keys(_schema(name)):
        default = "required" if required else _code(rule["default"]) if "default" in rule else ""
        meaning = rule.get("description", "its keys follow").replace("|", "\\|").replace("<", "\\<")
        found[key] = f"| `{key}` | {values(rule)} | {default} | {meaning} |"
    return found


def _without_shared(found: Mapping[str, str]) -> dict[str, str]:
    """One line for all keys that `relu` has just so, and the lines of the others."""
    first = lines(FIRST)
    shared = [key for key, line in found.items() if first.get(key) == line]
    train = [key for key in first if key.startswith("train.")]
    if not set(train) <= set(shared):
        shared = [key for key in shared if key not in train]
    names = dict.fromkeys("train.*" if key in train else key for key in shared)
    said = f"| {', '.join(map(_code, names))} | | | Those of [`{FIRST}`](#{FIRST}) |"
    return {"": said} | {key: line for key, line in found.items() if key not in shared}


def values(rule: Mapping[str, Any]) -> str:
    """Return in words what a key may hold.

    >>> values({"type": "number", "exclusiveMinimum": 0, "maximum": 1})
    'number, above 0, at most 1'
    >>> values({"enum": ["cpu", "cuda"]}), values({"type": ["integer", "null"], "minimum": 1})
    ('`cpu`, `cuda`', 'integer, at least 1, or `null`')
    >>> values({"type": "integer", "minimum": 1, "maximum": 16})
    'integer, 1 to 16'
    """
    if "enum" in rule:
        return ", ".join(_code(value) for value in rule["enum"])
    if "const" in rule:
        return _code(rule["const"])
    named = rule.get("type", [])
    types = named if isinstance(named, list) else [named]
    words = {"object": "block", "array": "list", "string": "text"}
    text = [words.get(name, name) for name in types if name != "null"]
    if rule.get("pattern") == "^none$":
        text = [_code("none") if word == "text" else word for word in text]
    parts = [" or ".join(text) or "anything"]
    return ", ".join([*parts, *_bounds(rule)]) + (", or `null`" if "null" in types else "")


def _bounds(rule: Mapping[str, Any]) -> list[str]:
    if {"minimum", "maximum"} <= set(rule):
        return [f"{_number(rule['minimum'])} to {_number(rule['maximum'])}"]
    words = {
        "minimum": "at least",
        "exclusiveMinimum": "above",
        "maximum": "at most",
        "exclusiveMaximum": "below",
    }
    return [f"{word} {_number(rule[key])}" for key, word in words.items() if key in rule]


def _number(value: float) -> str:
    return text_of(float(value))


def _keys(
    schema: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Mapping[str, Any], bool]]:
    """Each key that a file may hold, dotted, with its rule and whether it must be there."""
    required = schema.get("required", ())
    for key, rule in schema.get("properties", {}).items():
        yield prefix + key, rule, key in required
        yield from _keys(rule, f"{prefix}{key}.")


def _code(value: Any) -> str:
    """A value as YAML holds it; the defaults of a block are those of its keys."""
    if isinstance(value, Mapping):
        return "its keys' defaults"
    return f"`{value if isinstance(value, str) and value else json.dumps(value)}`"


def _filled(text: str) -> str:
    def fill(match: re.Match[str]) -> str:
        return f"{match[1]}\n{table(match[2])}\n{match[3]}"

    return BLOCK.sub(fill, text)


def _schema(name: str) -> Mapping[str, Any]:
    return schema_of(name) if name in NOUNS else method_schema(name)


def _section(name: str) -> str:
    return f"\n## `{name}`\n\n{kind(name).title}.\n\n<!-- options: {name} -->\n<!-- end -->\n"


def _schemas() -> Iterator[tuple[str, str]]:
    for name in (*NOUNS, *kinds()):
        yield f"{name}.schema.json", _json(_schema(name))
    choices = [{"$ref": f"{name}.schema.json"} for name in kinds()]
    yield "method.schema.json", _json({"$schema": DIALECT, "title": "Method", "oneOf": choices})


def _json(schema: Mapping[str, Any]) -> str:
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def main() -> int:
    """Write each file that would change, and say so."""
    for path, text in generated().items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            atomic_write(path, text)
            print(path.relative_to(DOCS.parent))
    return 0


if __name__ == "__main__":
    sys.exit(main())
