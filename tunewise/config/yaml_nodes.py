"""From YAML nodes to plain data, by the core schema of YAML 1.2, with the line of every key.

YAML 1.1, which PyYAML follows by itself, reads `1e-5` as text and `no` as false; here `1e-5` is a number, and `no`,
`on` and `2024-01-01` are the text that the user wrote. Keys are always text. `${NAME}` in a value is replaced from the
environment; `$${NAME}` stands for the text `${NAME}`.
"""

from __future__ import annotations

import os
import re
from typing import Any

import yaml

from tunewise.errors import RecipeError

KeyPath = tuple[str | int, ...]

MAX_ALIASES = 100
MAX_NODES = 100_000
MAX_DEPTH = 20  # costs of mistakes, the deepest part of a recipe, lie 4 deep

_TAG = "tag:yaml.org,2002:"
# Not from the middle of a row of $: tried from each of them, 200,000 took two minutes.
_VARIABLE = re.compile(r"(?<!\$)\$(\$*)\{([^{}]*)\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_CORE_SCHEMA = (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", "-+0123456789."),
    ("float", r"[-+]?(?:\.inf|\.Inf|\.INF)|\.nan|\.NaN|\.NAN", "-+."),
    ("null", r"~|null|Null|NULL|", "~nN\0"),
)
CORE_RESOLVERS: dict[str, list[tuple[str, re.Pattern[str]]]] = {}
for _kind, _pattern, _firsts in _CORE_SCHEMA:
    for _first in _firsts:
        # PyYAML keeps the empty scalar under the empty string
        CORE_RESOLVERS.setdefault(_first.strip("\0"), []).append((_TAG + _kind, re.compile(rf"(?:{_pattern})\Z")))


class CoreLoader(yaml.SafeLoader):
    """The safe loader with the scalars of YAML 1.2."""

    yaml_implicit_resolvers = CORE_RESOLVERS


def escape_variables(text: str) -> str:
    """The text that reads back as `text`, whatever the environment holds."""
    return _VARIABLE.sub(lambda match: "$" + match.group(), text)


class NodeReader:
    """Turns YAML nodes into plain data, noting lines and refusing what a recipe has no use for."""

    def __init__(self, source: str):
        self.source = source
        self.lines: dict[KeyPath, int] = {}
        self._seen: set[int] = set()
        self._open: set[int] = set()
        self._aliases = self._nodes = 0

    def build(self, node: yaml.Node, path: KeyPath) -> Any:
        """The plain data of a node that stands at `path`.

        Raises:
            RecipeError: a duplicate key, an unset variable, an unknown tag, or more than a recipe could need.
        """
        self._count(node)
        if len(path) > MAX_DEPTH:
            raise self._error(node, f"expected at most {MAX_DEPTH} levels of nesting; came more", "write it flat")
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node)
        self._check_tag(node, "map" if isinstance(node, yaml.MappingNode) else "seq")
        self._open.add(id(node))
        made = self._mapping(node, path) if isinstance(node, yaml.MappingNode) else self._sequence(node, path)
        self._open.discard(id(node))
        return made

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise self._error(key_node, "expected text as a key; came a list or mapping", "put the key in quotes")
            self._count(key_node)
            key = self._text(key_node)
            here = (*path, key)
            if key in made:
                raise self._error(
                    key_node,
                    f"the key `{key}` is given twice, first in line {self.lines[here]}",
                    "keep one of the two",
                )
            self.lines[here] = key_node.start_mark.line + 1
            made[key] = self.build(value_node, here)
        return made

    def _sequence(self, node: yaml.SequenceNode, path: KeyPath) -> list[Any]:
        made: list[Any] = []
        for number, item in enumerate(node.value):
            self.lines[*path, number] = item.start_mark.line + 1
            made.append(self.build(item, (*path, number)))
        return made

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        text = node.value
        try:
            match node.tag.removeprefix(_TAG):
                case "str":
                    return self._with_variables(node)
                case "null":
                    return None
                case "bool":
                    return {"true": True, "false": False}[text.lower()]
                case "int":
                    return int(text, 0) if text[:2] in ("0x", "0o") else int(text)
                case "float":
                    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        except (ValueError, KeyError) as error:
            # a tag that does not fit the text, or more digits than Python converts (4300)
            raise self._error(node, f"`{text[:40]}` cannot be read as a value", "put it in quotes") from error
        raise self._unknown_tag(node)

    def _with_variables(self, node: yaml.ScalarNode) -> str:
        def replace(match: re.Match[str]) -> str:
            escaped, name = match.groups()
            if escaped:
                return match.group()[1:]
            if not _NAME.fullmatch(name):
                raise self._error(
                    node,
                    f"`${{{name}}}` does not name an environment variable",
                    f"for the text itself, write $${{{name}}}",
                )
            if name not in os.environ:
                raise self._error(
                    node,
                    f"the environment variable {name} is not set",
                    f"set it (export {name}=...); for the text itself, write $${{{name}}}",
                )
            return os.environ[name]

        return _VARIABLE.sub(replace, self._text(node))

    def _text(self, node: yaml.ScalarNode) -> str:
        try:
            # joins the two halves that JSON writes for characters such as emoji; a half alone is no character
            return node.value.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError as error:
            raise self._error(node, "the text holds half a character (a lone surrogate)", "correct the text") from error

    def _count(self, node: yaml.Node) -> None:
        if id(node) in self._open:
            raise self._error(node, "an alias (*) stands inside what it stands for", "write the values out")
        self._aliases += id(node) in self._seen
        self._seen.add(id(node))
        self._nodes += 1
        if self._aliases > MAX_ALIASES or self._nodes > MAX_NODES:
            raise self._error(
                node,
                f"expected at most {MAX_ALIASES} uses of aliases (*) and {MAX_NODES:,} values; came more",
                "write the values out, once each",
            )

    def _check_tag(self, node: yaml.Node, expected: str) -> None:
        if node.tag != _TAG + expected:
            raise self._unknown_tag(node)

    def _unknown_tag(self, node: yaml.Node) -> RecipeError:
        tag = node.tag.replace(_TAG, "!!")
        return self._error(node, f"the YAML tag {tag} has no meaning in a recipe", "remove it and keep the value")

    def _error(self, node: yaml.Node, what: str, fix: str) -> RecipeError:
        place = self.source if self.source.startswith("--set") else f"{self.source}:{node.start_mark.line + 1}"
        return RecipeError(what, where=place, fix=fix)
