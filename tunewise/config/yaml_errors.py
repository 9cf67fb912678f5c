"""Says in plain English what PyYAML says about a file that is not YAML."""

from __future__ import annotations

import re

import yaml

from tunewise.errors import RecipeError

# part of what PyYAML says, what is wrong, what to do; the first that is found counts
_PLAIN = (
    (
        "another document",
        "expected one document; a second one begins here",
        "remove the line --- and what follows it",
    ),
    (
        "mapping values are not allowed",
        "a `:` stands where no key can be",
        "check the indentation of this line and the one above; put text that holds `: ` in quotes",
    ),
    ("could not find expected ':'", "a key has no `:` after it", "write `key: value`, with a space after the colon"),
    (
        "expected <block end>",
        "this line is indented otherwise than the lines it belongs to",
        "give all keys of one section the same number of spaces",
    ),
    (
        "sequence entries are not allowed",
        "a list item (-) stands where no list can be",
        "put `- ` on a line of its own",
    ),
    ("unknown escape", "a \\ escape names no character", "use single quotes: there a \\ is a \\"),
    ("expected escape sequence", "a \\ escape names no character", "use single quotes: there a \\ is a \\"),
    ("quoted scalar", "a quote is opened and not closed", "close the quote"),
    ("expected ',' or", "a bracket is not closed, or a comma is missing", "close the bracket"),
    ("expected the node content", "a bracket is closed that was not opened", "put the text in quotes"),
    (
        "undefined alias",
        "an alias (*) stands for nothing that was named (&) before",
        "put text that begins with * in quotes",
    ),
    ("duplicate anchor", "two anchors (&) have one name", "rename one of them"),
    (
        "cannot start any token",
        "text begins with a character that has a meaning in YAML",
        "put the text in quotes",
    ),
    ("expected alphabetic", "text begins with a character that has a meaning in YAML", "put the text in quotes"),
)


def explain_yaml_error(error: yaml.YAMLError, text: str, source: str) -> RecipeError:
    """The error with the line it is in, what is wrong there, and what to do."""
    if isinstance(error, yaml.reader.ReaderError):
        line = text.count("\n", 0, error.position) + 1
        return RecipeError(
            f"expected text; came the control character U+{ord(text[error.position]):04X}",
            where=_place(source, line),
            fix="remove it; in double quotes, write it as an escape such as \\x07",
        )
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    lines = text.split("\n")
    number = min(mark.line, len(lines) - 1) if mark else 0
    shown = next((line for line in reversed(lines[: number + 1]) if line.strip()), "").strip()
    place = _place(source, number + 1)
    if re.match(r" *\t", lines[number]):
        return RecipeError("the line is indented with a tab", where=place, fix="YAML indents with spaces: use two")
    said = f"{getattr(error, 'context', None) or ''} {getattr(error, 'problem', None) or ''}".strip()
    for part, what, fix in _PLAIN:
        if part in said:
            return RecipeError(f"not valid YAML: {what}", where=f"{place}: {shown[:80]}", fix=fix)
    return RecipeError(f"not valid YAML: {said}", where=f"{place}: {shown[:80]}", fix="correct this line")


def _place(source: str, line: int) -> str:
    return source if source.startswith("--set") else f"{source}:{line}"
