"""Says in plain English what a field takes and what a value is."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic.fields import FieldInfo

from tunewise.config.base import Config

_PLAIN = {str: "text", int: "a whole number", float: "a number", bool: "true or false", Any: "any value"}


def field_in_words(field: FieldInfo) -> str:
    """What a field takes, with its limits: `a whole number, at least 1`."""
    return ", ".join([in_words(field.annotation), *_limits(field.metadata)])


def in_words(annotation: Any) -> str:
    """What a type annotation takes; None is not mentioned, as leaving the key out says the same."""
    origin = get_origin(annotation)
    if annotation in _PLAIN:
        return _PLAIN[annotation]
    if origin is Literal:
        choices = [str(choice) for choice in get_args(annotation)]
        return choices[0] if len(choices) == 1 else f"one of {', '.join(choices)}"
    if origin in (Union, types.UnionType):
        return " or ".join(in_words(branch) for branch in branches(annotation))
    if origin in (list, tuple):
        return f"a list (each item {in_words(get_args(annotation)[0])})"
    if origin is Annotated:
        return field_in_words(FieldInfo.from_annotation(annotation))
    if origin is dict:
        inner = get_args(annotation)[1]
        return "keys with values" if inner is Any else f"keys (each with {in_words(inner)})"
    if is_config(annotation):
        return _first_sentence(annotation) or "a section of keys"
    return getattr(annotation, "__name__", str(annotation))


def value_in_words(value: Any) -> str:
    """What came, short enough for a message."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        shown = f"{value:g}" if isinstance(value, int) and abs(value) >= 10**15 else str(value)
        return f"the number {shown}"
    if isinstance(value, str):
        return f"the text '{value if len(value) <= 60 else value[:57] + '...'}'"
    if isinstance(value, Mapping):
        keys = ", ".join(str(key) for key in list(value)[:3])
        return f"a section with the keys {keys}" + (", ..." if len(value) > 3 else "") if value else "an empty section"
    if isinstance(value, Sequence):
        return f"a list of {len(value)}"
    return f"a Python {type(value).__name__}"


def branches(annotation: Any) -> tuple[Any, ...]:
    """The members of a union without None, or the annotation alone."""
    if get_origin(annotation) in (Union, types.UnionType):
        return tuple(each for each in get_args(annotation) if each is not type(None))
    return (annotation,)


def is_config(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Config)


def _limits(metadata: Sequence[Any]) -> list[str]:
    words = []
    for limit in metadata:
        match limit:
            case annotated_types.Ge(ge):
                words.append(f"at least {ge}")
            case annotated_types.Gt(gt):
                words.append(f"above {gt}")
            case annotated_types.Le(le):
                words.append(f"at most {le}")
            case annotated_types.Lt(lt):
                words.append(f"below {lt}")
            case annotated_types.MinLen(length):
                words.append(f"of length {length} at least")
            case annotated_types.MaxLen(length):
                words.append(f"of length {length} at most")
    return words


def _first_sentence(config: type[Config]) -> str:
    sentence = " ".join((config.__doc__ or "").split()).partition(". ")[0].rstrip(".")
    return sentence[:1].lower() + sentence[1:]
