"""Pages of docs/ that say how something is done, followed to the letter."""

import re
from collections.abc import Mapping

from kit.sandbox import ROOT, Sandbox

BLOCK = re.compile(r"(?<=\n)```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
"""The language of a block, and its text."""
FILE = re.compile(r"`([\w/.-]+)`[^`]*:")
TABLE = re.compile(r"^`([\w/.-]+)`[^`\n]*\n\n((?:\|.*\n)+)", re.MULTILINE)


def follow(page: str, sandbox: Sandbox, words: Mapping[str, str] | None = None) -> str:
    """Do all that a page says, from top to bottom, and return the last that was printed.

    A block below a line that begins with a path and ends in a colon is that file. Another block
    `python` is a program, `sh` are commands, and `text` is a part of what the commands before it
    print. `words` of the page, such as a place that a reader has to fill in, are replaced.
    """
    text, said = text_of(page), ""
    for word, meant in (words or {}).items():
        assert word in text
        text = text.replace(word, meant)
    for found in BLOCK.finditer(text):
        language, block = found.groups()
        file = FILE.fullmatch(text[: found.start()].rstrip("\n").rpartition("\n")[2])
        if file:
            sandbox.write(file[1], block)
        elif language == "python":
            said = sandbox.python(block)
        elif language == "sh":
            said = sandbox.shell(block)
        elif language == "text":
            assert block in said
    return said


def text_of(page: str) -> str:
    """Return the text of a page."""
    return (ROOT / "docs" / page).read_text(encoding="utf-8")


def block(page: str, word: str) -> str:
    """Return the one block of a page that has a word."""
    [found] = [found[2] for found in BLOCK.finditer(text_of(page)) if word in found[2]]
    return found


def table(page: str) -> tuple[str, list[list[str]]]:
    """Return the table that a page shows of a file: the path, and its cells, row by row."""
    [(path, text)] = TABLE.findall(text_of(page))
    return path, cells(text)


def cells(text: str) -> list[list[str]]:
    """Return the cells of a Markdown table, row by row, the head first."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in rows if set("".join(row)) - set(":-")]
