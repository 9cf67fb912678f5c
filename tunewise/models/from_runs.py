"""The folder of a run, or the model that it handed over, as the base model of another run: which files that means.

A whole model is taken as it is. An adapter is taken together with its base model, once `engine.merging` has written the
two as one into a folder beside it.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from tunewise.errors import ModelError
from tunewise.types import IMAGE_GENERATION

WHOLE = ("transformers", "diffusers")
"""Kinds of model folders that hold a whole model, which can be trained as it is."""
META, MODEL, MERGED, MANIFEST = "tunewise.json", "model", "merged", "manifest.json"


def handed_over(path: Path) -> Path | None:
    """The model folder of tunewise that a path means, a run or the folder itself; None where it means none."""
    return next((place for place in (path / MODEL, path) if (place / META).is_file()), None)


def to_merge(path: Path) -> Path | None:
    """The model folder that has to be merged with its base before it can be trained further; None where none has."""
    place = handed_over(path)
    if place is None or _kind(place) in WHOLE or is_merged(place):
        return None
    return place


def merged_folder(place: Path) -> Path:
    """Where a model folder and its base are written as one: beside it."""
    return place.parent / MERGED if place.name == MODEL else place.with_name(f"{place.name}-{MERGED}")


def manifest_digest(place: Path) -> str:
    """Of what a model folder holds, so that one that was merged before is known again."""
    file = place / MANIFEST
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else ""


def is_merged(place: Path) -> bool:
    """Whether the folder beside it holds this very model, merged."""
    return _read(merged_folder(place)).get("merged_from") == manifest_digest(place) != ""


def base_folder(path: Path) -> tuple[Path, str | None]:
    """The folder to read weights from for a path that a recipe names, and a line for the log where that is another.

    Raises:
        ModelError: it is an adapter, not yet merged with its base.
    """
    place = handed_over(path)
    if place is None:
        return path, None
    if _kind(place) in WHOLE:
        return place, None if place == path else f"the model is what the run in {path} handed over"
    if not is_merged(place):
        raise ModelError(
            "this is an adapter, or layers for a base model, not a whole model",
            where=str(place),
            fix="name the run by its folder in a recipe, which merges the two, or train it with `merge: true`",
        )
    return merged_folder(place), f"the model is what the run in {path} handed over, merged with its base"


def written_as(path: Path) -> tuple[str, str] | None:
    """How the run of a language model wrote prompts and answers: the form of its rows, and what stood between the two
    (`types.Schema`); None where a path means no such run."""
    place = handed_over(path)
    if place is None or not is_language_model(place) or not (schema := _schema(place)):
        return None
    return str(schema.get("form")), str(schema.get("between", ""))


def is_language_model(place: Path) -> bool:
    """Whether a model folder says that the model gives the next token."""
    return _read(place).get("language") is True


def reads_images(place: Path) -> bool:
    """Whether a model folder says that its rows are images."""
    return bool(_schema(place).get("image"))


def draws_images(place: Path) -> bool:
    """Whether a model folder says that the model draws images."""
    return _schema(place).get("task") == IMAGE_GENERATION


def class_names(place: Path) -> list[str]:
    """The classes that a model folder names, in the order of their numbers."""
    labels = _schema(place).get("labels")
    return [str(label) for label in labels] if isinstance(labels, list) else []


def named_path(name: str, folder: Path) -> Path:
    """What a recipe's `model` means as a path."""
    return folder / os.path.expanduser(name)


def _schema(place: Path) -> dict[str, Any]:
    schema = _read(place).get("schema")
    return schema if isinstance(schema, dict) else {}


def _kind(place: Path) -> Any:
    return _read(place).get("kind")


def _read(place: Path) -> dict[str, Any]:
    """tunewise.json of a folder; nothing where it cannot be read: whoever loads the model says what is wrong."""
    try:
        held = json.loads((place / META).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return held if isinstance(held, dict) else {}
