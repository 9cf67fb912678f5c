"""tunewise.json of a model folder: what tunewise must know to predict with it, checked before anything is loaded."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from tunewise.cleaning.texts import TEXT_STEPS
from tunewise.commit import verify
from tunewise.config.reading import Chunks, Pooling, Reading
from tunewise.errors import CorruptError, StoreError
from tunewise.models.from_runs import META
from tunewise.types import CARD, IMAGE_GENERATION, LANGUAGE_TASKS, Form, Handover, Kept, Plan, Schema, Task

FORMAT = 6
"""What programs of an older format would do otherwise decides: 6 for models that draw images, 5 for
models of images, 4 for language models, 3 for models that clean texts before they read them, or read long ones in
windows, 2 for those that read the ends of long texts, else 1."""
_KEYS = ("kind", "schema", "max_length", "base", "plan", "threshold", "positive")


def read_meta(folder: Path) -> dict[str, Any]:
    """The content of tunewise.json, after every file of the folder was compared with the manifest.

    Raises:
        StoreError: not a model of tunewise, or of a newer one.
        CorruptError: a file is not what was written (only the model card may be edited), or tunewise.json says what no
            tunewise would.
    """
    file = folder / META
    if not file.is_file():
        raise StoreError(
            f"this is not the folder of a model that tunewise made: it has no {META}",
            where=str(folder),
            fix="name the run's folder, or its `model` folder",
        )
    verify(folder, editable=(CARD,))
    try:
        meta = json.loads(file.read_text(encoding="utf-8"))
        if type(meta["format"]) is int and meta["format"] > FORMAT:
            raise StoreError(
                f"the model was made by a newer tunewise (format {meta['format']}, this one reads {FORMAT})",
                where=str(file),
                fix="update tunewise",
            )
        return _checked(meta)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as problem:
        raise CorruptError(
            f"{META} does not describe a model: {type(problem).__name__}: {problem}",
            where=str(file),
            fix="train the model again, or restore the folder",
        ) from None


def format_of(
    kept: Reading, clean: Sequence[str], language: bool = False, images: bool = False, draws: bool = False
) -> int:
    """The least format whose programs do right by a model."""
    if draws:
        return 6
    if images:
        return 5
    if language:
        return 4
    return 3 if clean or isinstance(kept, Chunks) else 2 if kept != "head" else 1


def schema_from(stored: dict[str, Any]) -> Schema:
    """The schema that `asdict` gave."""
    labels, form, between = tuple(stored["labels"]), stored.get("form"), stored.get("between", "")
    image = stored.get("image", "")
    return Schema(stored["task"], tuple(stored["text"]), stored["label"], labels, form, between, image)


def plan_of(meta: dict[str, Any]) -> Plan:
    """The stored plan; one that trains nothing where there is none."""
    return Plan.from_dict(meta["plan"]) if meta["plan"] else Plan(rules=(), learning_rate=0.0)


def _checked(stored: dict[str, Any]) -> dict[str, Any]:
    # Models made before do not say what is kept; those that clean nothing, or have labels, do not say so.
    later = {"kept": stored.get("kept"), "clean": stored.get("clean", []), "language": stored.get("language", False)}
    meta = {**{key: stored[key] for key in _KEYS}, **later}
    schema, base = meta["schema"], meta["base"]
    _expect(meta["kind"] in get_args(Handover), "kind")
    _expect(schema["task"] in get_args(Task) and isinstance(schema["label"], str), "schema")
    _expect(_are_texts(schema["text"]) and _are_texts(schema["labels"]), "schema")
    unlabelled = schema["task"] in ("regression", IMAGE_GENERATION, *LANGUAGE_TASKS)
    _expect(unlabelled or bool(schema["labels"]), "schema")
    _expect(schema.get("form") in ((*get_args(Form),) if schema["task"] in LANGUAGE_TASKS else (None,)), "schema")
    _expect(isinstance(schema.get("between", ""), str), "schema")
    _expect(isinstance(schema.get("image", ""), str) and not (schema.get("image") and schema["text"]), "schema")
    _expect(type(meta["language"]) is bool and (not meta["language"] or schema["task"] in LANGUAGE_TASKS), "language")
    _expect(type(meta["max_length"]) is int and meta["max_length"] > 0, "max_length")
    meta["kept"] = reading_from(meta["kept"])
    _expect(not isinstance(meta["kept"], Chunks) or schema["task"] != "token_classification", "kept")
    clean = meta["clean"]
    _expect(_are_texts(clean) and clean == [step for step in TEXT_STEPS if step in clean], "clean")
    _expect(_are_texts([base["name"], base["path"], base["fingerprint"], base.get("weights", "")]), "base")
    _expect(meta["threshold"] is None or _is_number(meta["threshold"]), "threshold")
    _expect(meta["positive"] is None or meta["positive"] in schema["labels"], "positive")
    plan = plan_of(meta)
    _expect(_is_number(plan.learning_rate) and type(plan.virtual_tokens) is int, "plan")
    return meta


def reading_from(stored: Any) -> Reading | None:
    """What is read of long texts: stored is a word, or the fields of `Chunks`; models made before say nothing."""
    if isinstance(stored, dict):
        stride, most, pooling = stored["stride"], stored["most"], stored["pooling"]
        _expect(type(stride) is int and type(most) is int and stride >= 0 and most >= 1, "kept")
        _expect(pooling in get_args(Pooling), "kept")
        return Chunks(stride, most, pooling)
    _expect(stored is None or stored in get_args(Kept), "kept")
    return stored


def _are_texts(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and not math.isnan(value)


def _expect(holds: bool, key: str) -> None:
    if not holds:
        raise ValueError(f"its '{key}' is not what tunewise writes")
