"""Reads a YAML file into plain data that remembers the line of every key, or says what is wrong with the file."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tunewise.config.yaml_errors import explain_yaml_error
from tunewise.config.yaml_nodes import CoreLoader, KeyPath, NodeReader
from tunewise.errors import RecipeError

MAX_BYTES = 200_000  # PyYAML reads about 100 kB/s; a recipe has a few hundred bytes


@dataclass(frozen=True)
class Located:
    """Plain data, and where each key of it was written.

    `lines` has the line of every key and list item, from 1; `overrides` the text of each `--set` by the path it set.
    """

    data: dict[str, Any]
    source: str
    lines: Mapping[KeyPath, int] = field(default_factory=dict)
    overrides: Mapping[KeyPath, str] = field(default_factory=dict)

    def line(self, path: KeyPath) -> int:
        """The line of the key, or of the nearest one around it; 0 where there is none."""
        around = (path[:length] for length in range(len(path), 0, -1))
        return next((self.lines[each] for each in around if each in self.lines), 0)

    def place(self, path: KeyPath) -> str:
        """`file:line` of the key, or the last `--set` that set it or a part of it."""
        for changed, text in reversed(self.overrides.items()):
            shared = min(len(changed), len(path))
            if shared and changed[:shared] == path[:shared]:
                return f"--set {text}"
        line = self.line(path)
        return f"{self.source}:{line}" if line else self.source


def read_yaml(path: Path | str) -> Located:
    """The mapping in a YAML file, with the line of every key.

    Raises:
        RecipeError: the file cannot be read, or is not one YAML document with a mapping at the top.
    """
    source = str(path)
    text = _read_text(Path(path))
    node = _compose(text, source)
    if node is None:
        raise RecipeError(
            "the recipe is empty",
            where=source,
            fix="give at least model, data.train and data.label; see docs/recipe.md",
        )
    if not isinstance(node, yaml.MappingNode):
        kind = "a list" if isinstance(node, yaml.SequenceNode) else "plain text"
        raise RecipeError(
            f"expected a recipe of keys and values, as in `model: ...`; came {kind}",
            where=f"{source}:{node.start_mark.line + 1}",
            fix="give a recipe file; `tunewise init data.csv` writes one for a data file",
        )
    reader = NodeReader(source)
    return Located(reader.build(node, ()), source, reader.lines)


def parse_value(text: str, source: str) -> Any:
    """The value of a `--set`: a list, mapping or quoted text in YAML's flow form, else one scalar.

    Raises:
        RecipeError: the flow form is not valid YAML.
    """
    text = text.strip()
    if text[:1] in ("[", "{", '"', "'"):
        return NodeReader(source).build(_compose(text, source), ())
    # not through the parser: there `|`, `#` and `*` alone would be syntax, and here they are delimiters
    tag = CoreLoader("").resolve(yaml.ScalarNode, text, (True, False))
    mark = yaml.Mark(source, 0, 0, 0, None, None)
    return NodeReader(source).build(yaml.ScalarNode(tag, text, mark), ())


def _read_text(path: Path) -> str:
    if path.is_dir():
        inside = sorted(each.name for each in path.iterdir() if each.suffix in (".yaml", ".yml"))
        fix = f"name the file: {path / inside[0]}" if inside else "name the recipe file"
        raise RecipeError("expected a recipe file; came a folder", where=str(path), fix=fix)
    if not path.exists():
        raise _not_there(path)
    if not path.is_file():
        raise RecipeError("expected a recipe file; came a device or pipe", where=str(path), fix="save it as a file")
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise RecipeError(
            f"the recipe cannot be read: {error.strerror}", where=str(path), fix="check the file and its permissions"
        ) from error
    if len(raw) > MAX_BYTES:
        raise RecipeError(
            f"expected a recipe of at most {MAX_BYTES:,} bytes; came a larger file",
            where=str(path),
            fix="name the recipe, not a data file",
        )
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise RecipeError(
            f"expected text in UTF-8; came the byte 0x{raw[error.start]:02x}",
            where=f"{path}:{line}",
            fix="save the recipe as UTF-8",
        ) from error


def _not_there(path: Path) -> RecipeError:
    folder = path.parent
    if not folder.is_dir():
        return RecipeError("the recipe is not there", where=str(path), fix=f"there is no folder {folder}")
    try:
        names = sorted(each.name for each in folder.iterdir())
    except OSError:
        names = []
    near = difflib.get_close_matches(path.name, names, n=1, cutoff=0.6)
    recipes = [name for name in names if name.endswith((".yaml", ".yml"))]
    if near:
        fix = f"did you mean {folder / near[0]}?"
    elif recipes:
        fix = f"the folder holds {', '.join(recipes[:5])}"
    else:
        fix = "check the path; `tunewise init data.csv` writes a recipe"
    return RecipeError("the recipe is not there", where=str(path), fix=fix)


def _compose(text: str, source: str) -> yaml.Node | None:
    try:
        loader = CoreLoader(text)
        return loader.get_single_node()
    except yaml.YAMLError as error:
        raise explain_yaml_error(error, text, source) from error
    except RecursionError as error:
        raise RecipeError("the lists and mappings are nested too deeply", where=source, fix="write it flat") from error
    except (ValueError, OverflowError) as error:  # PyYAML on "\UFFFFFFFF"
        raise RecipeError(
            "a \\ escape names no character", where=source, fix="look at the text in double quotes"
        ) from error
