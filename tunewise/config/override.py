"""`--set a.b=c`: values from the command line take the place of those in the recipe."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tunewise.config.yaml_file import Located, parse_value
from tunewise.config.yaml_nodes import KeyPath
from tunewise.errors import RecipeError


def apply_overrides(data: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """A copy of `data` with each `a.b=value` set, the last one winning.

    Sections that are not there are made; a number in the path counts the items of a list from 0. Whether the keys
    exist is for validation to say.

    Raises:
        RecipeError: an override has another form, or counts beyond the end of a list.
    """
    return override(Located(data, "recipe"), overrides).data


def override(located: Located, overrides: Sequence[str]) -> Located:
    """The same as `apply_overrides`, with each override remembered as the place of what it set."""
    data = copy.deepcopy(located.data)
    places = dict(located.overrides)
    for text in overrides:
        path, value = parse_override(text)
        places[_set(data, path, value, text)] = text
    return replace(located, data=data, overrides=places)


def parse_override(override: str) -> tuple[tuple[str, ...], Any]:
    """`train.epochs=5` as the path ('train', 'epochs') and the value 5."""
    dotted, equals, text = override.partition("=")
    path = tuple(part.strip() for part in dotted.split("."))
    if not equals or not all(path):
        raise RecipeError(
            f"expected key=value; came `{override}`", where="--set", fix="write it as in --set train.epochs=5"
        )
    return path, parse_value(text, f"--set {override}")


def _set(data: dict[str, Any], path: tuple[str, ...], value: Any, override: str) -> KeyPath:
    """Sets the value and returns its path, with numbers for the items of lists."""
    here: Any = data
    walked: list[str | int] = []
    for part in path[:-1]:
        walked.append(_step(here, part, override))
        inner = here[walked[-1]] if isinstance(here, list) else here.get(walked[-1])
        if not isinstance(inner, dict | list):
            # `method: lora` becomes `method: {lora: {rank: 8}}`
            inner = here[walked[-1]] = {}
        here = inner
    walked.append(_step(here, path[-1], override))
    here[walked[-1]] = value
    return tuple(walked)


def _step(here: dict[str, Any] | list[Any], part: str, override: str) -> str | int:
    if isinstance(here, dict):
        return part
    if part.isascii() and part.isdigit() and int(part) < len(here):
        return int(part)
    raise RecipeError(
        f"expected the number of an item of a list of {len(here)}, from 0; came `{part}`",
        where=f"--set {override}",
        fix="count from 0, or set the whole list: --set methods='[head, lora]'",
    )
