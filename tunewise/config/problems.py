"""Turns what pydantic found wrong into problems in plain English, at the keys that the user wrote."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from tunewise.config.base import Config
from tunewise.config.explain import default_in_words
from tunewise.config.nearest_key import nearest_key
from tunewise.config.words import branches, field_in_words, is_config, value_in_words
from tunewise.config.yaml_nodes import KeyPath
from tunewise.errors import TunewiseError

MOST = 200
"""Problems that are looked for: each unknown key is compared with all there are, and 17,000 of them took 17 s."""


class InvalidOptions(ValueError):
    """Raised by a validator that checks a value against another Config, `config`, which found `error`."""

    def __init__(self, config: type[Config], error: ValidationError):
        super().__init__(str(error))
        self.config, self.error = config, error


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: at which key, as the user wrote it; what; and what to do."""

    path: KeyPath
    what: str
    hint: str = ""


def find_problems(model: type[Config], error: ValidationError, data: Any) -> list[Problem]:
    """One problem per key, in the order in which pydantic found them; of MOST that it found."""
    found: dict[KeyPath, Problem] = {}
    for problem in islice(_problems(model, error, data, root=model), MOST):
        found.setdefault(problem.path, problem)
    # Of a value that may have several forms, pydantic reports each; the form that was meant is the one in which the
    # trouble lies deeper: not `seeds` (no whole number) but `seeds.1` (item of a list).
    inner = {path[:length] for path in found for length in range(1, len(path))}
    return [problem for path, problem in found.items() if path not in inner]


def _problems(
    model: type[Config], error: ValidationError, data: Any, root: type[Config], around: KeyPath = ()
) -> Iterator[Problem]:
    for detail in error.errors(include_url=False):
        meant, written = _follow(data, detail["loc"], detail["type"])
        cause = detail.get("ctx", {}).get("error")
        if isinstance(cause, InvalidOptions):
            path, options = _short_form(written, _value_at(data, written))
            yield from _problems(cause.config, cause.error, options, root, (*around, *path))
        else:
            yield Problem((*around, *written), *_say(model, root, meant, detail))


def _say(model: type[Config], root: type[Config], path: KeyPath, detail: Mapping[str, Any]) -> tuple[str, str]:
    """What is wrong and what to do, for one of pydantic's error details."""
    kind, came = detail["type"], value_in_words(detail["input"])
    if kind == "value_error":
        reason = detail["ctx"]["error"].args[0]
        if isinstance(reason, TunewiseError):
            return reason.what, reason.fix or ""
        # "give either a or b, not both" says already what to do
        return str(reason), "" if str(reason).startswith("give ") else _correct(_field_at(model, path))
    if kind in ("extra_forbidden", "invalid_key"):
        sections = [each for each in branches(_field_at(model, path[:-1]).annotation) if is_config(each)]
        return "there is no such key", nearest_key(str(path[-1]), sections[0], root)
    if detail["loc"][-1:] == ("[key]",):
        return f"expected text as a key; came {came}", "put the key in quotes"
    field = _field_at(model, path)
    if kind == "missing":
        return f"expected {field_in_words(field)}; it is not there", _first_sentence(field.description)
    return f"expected {field_in_words(field)}; came {came}", _hint(field, detail["input"])


def _hint(field: FieldInfo, came: Any) -> str:
    kinds = branches(field.annotation)
    choices = [str(choice) for each in kinds if get_origin(each) is Literal for choice in get_args(each)]
    if isinstance(came, str):
        if near := difflib.get_close_matches(came, choices, n=1, cutoff=0.5):
            return f"did you mean {near[0]}?"
        if list in map(get_origin, kinds):
            item = came if came[:1].isalnum() else f'"{came}"'  # YAML would read *.bias as a reference
            return f"for a list of one, write [{item}]"
    elif isinstance(came, bool | int | float) and str in kinds:
        return "put it in quotes to make it text"
    elif came is None:
        return "give a value, or remove the key"
    return _correct(field)


def _correct(field: FieldInfo) -> str:
    default = default_in_words(field)
    if default == "required" or is_config(field.annotation):
        return "correct the value"
    return "correct the value, or leave the key out" + (f": the default is {default}" if default else "")


def _follow(data: Any, loc: tuple[str | int, ...], kind: str) -> tuple[KeyPath, KeyPath]:
    """The path of a problem in the Config and in what the user wrote.

    They differ where a short form leaves out `options`. Pydantic's own path also names the branch of a union that it
    tried ('data', 'text', 'str'): such a step leads nowhere in the data.
    """
    meant: list[str | int] = []
    written: list[str | int] = []
    here = data
    for position, step in enumerate(loc):
        last = position == len(loc) - 1
        if _has(here, step):
            meant.append(step)
            written.append(step)
            here = here[step]
        elif step == "options" and isinstance(here, Mapping) and len(here) == 1:
            meant.append(step)
            written, here = list(_short_form(tuple(written), here)[0]), next(iter(here.values()))
        elif last and kind in ("missing", "invalid_key"):
            meant.append(step)
            written.append(step)
    return tuple(meant), tuple(written)


def _has(here: Any, step: str | int) -> bool:
    if isinstance(here, Mapping):
        return step in here
    return isinstance(here, list | tuple) and isinstance(step, int) and step < len(here)


def _value_at(data: Any, path: KeyPath) -> Any:
    for step in path:
        data = data[step]
    return data


def _short_form(path: KeyPath, value: Any) -> tuple[KeyPath, Any]:
    """Where the options of a named choice are: `{name: lora, options: {...}}`, or in short `{lora: {...}}`, `lora`."""
    if not isinstance(value, Mapping):
        return path, {}
    key = "options" if "name" in value else next(iter(value))
    return (*path, key), value.get(key)


def _field_at(model: type[Config], path: KeyPath) -> FieldInfo:
    """The field, list item or mapping value at a path; one that takes anything where the path leads nowhere."""
    field = FieldInfo.from_annotation(model)
    for step in path:
        children = (_child(branch, step) for branch in branches(field.annotation))
        field = next((child for child in children if child), FieldInfo.from_annotation(Any))
    return field


def _child(annotation: Any, step: str | int) -> FieldInfo | None:
    if is_config(annotation):
        return annotation.model_fields.get(step)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is list and isinstance(step, int):
        return FieldInfo.from_annotation(arguments[0])
    return FieldInfo.from_annotation(arguments[1]) if origin is dict and isinstance(step, str) else None


def _first_sentence(text: str | None) -> str:
    return " ".join((text or "").split()).partition(". ")[0]
