"""The commented recipe that `tunewise init` writes from a look at a file."""

from __future__ import annotations

import os
import re
import textwrap
from collections import Counter
from pathlib import Path
from typing import Any

from tunewise.config.base import Config
from tunewise.data.inspect import ColumnDescription, FileDescription, describe_file, need_guesses
from tunewise.data.layouts import Layout
from tunewise.data.picture_folder import LABEL, read_picture_folder, sources_in
from tunewise.data.settings import DataConfig
from tunewise.data.source import holds_pictures
from tunewise.data.table import listed, printable
from tunewise.errors import RecipeError

_WIDTH = 110
_NAMED = 8  # classes, of a folder of images
_PLAIN = re.compile(r"[A-Za-z_/][\w./ -]*(?<! )", re.ASCII)


def draft_recipe(
    source: str | Path,
    model: str | None,
    options: type[Config] | None = None,
    folder: Path | None = None,
    usual: str | None = None,
) -> str:
    """A recipe for the data in a file or folder, as YAML with comments: each option's own docstring, and what was
    guessed.

    Args:
        source: as `data.train` in a recipe; a folder of images may hold the splits.
        usual: the model for texts with labels, where `model` is None.
        options: the class of the whole recipe; its other sections follow with their defaults, commented out.
        folder: what a relative path starts from; None is the current folder.

    Raises:
        DataError: the source cannot be read, or no column looks like text or like a label.
        RecipeError: the data is not for the usual model, and no other is named.
    """
    place = (folder or Path()) / source
    if os.path.isdir(place) and holds_pictures(place):  # of a Path, is_dir raises where no name can be so
        return _of_folder(place, str(source), _named(model, "images"), options)
    described = describe_file(source, folder)
    if described.image is not None:
        return _of_images(described, described.image, _named(model, "images"), options)
    if described.layout is not None:
        return _for_language(described, described.layout, _named(model, described.layout.name), options)
    model = model or _named(usual, "texts")
    text, label = need_guesses(described)
    numbered = described.options.get("header") is False
    values: dict[str, Any] = {
        "train": described.source,
        **described.options,
        "text": [int(name) if numbered else name for name in text],
        "label": int(label) if numbered else label,
    }
    if len(text) == 1:
        (values["text"],) = values["text"]
    notes = {"text": _text_note(described, text), "label": _label_note(described, text, label)}
    return _drafted(described.source, described.rows, model, values, notes, options)


def _named(model: str | None, rows: str) -> str:
    """Raises where no model is named."""
    if model is None:
        raise RecipeError(
            f"no model is named for these rows: {rows}",
            where="--model",
            fix="give --model, a folder or a hub id",
        )
    return model


def _of_folder(place: Path, source: str, model: str, options: type[Config] | None) -> str:
    """A recipe for a folder of images; without folders of classes, to learn to draw the like."""
    values: dict[str, Any] = {**sources_in(place, source)}
    table, _ = read_picture_folder(place, None, source, "train")
    classes = Counter(table.columns.get(LABEL, ()))
    note = f"Guessed: {len(table):,} images" + (f" of {len(classes):,} classes: " * bool(classes))
    note += ", ".join(f"{printable(name)} ({count:,})" for name, count in classes.most_common(_NAMED))
    note += " and others" * (len(classes) > _NAMED)
    notes = {"train": f"{note}."}
    if not classes:
        values["task"], notes["task"] = "image_generation", "Guessed: the images lie in no folders of classes."
    return _drafted(source, len(table), model, values, notes, options)


def _of_images(described: FileDescription, image: str, model: str, options: type[Config] | None) -> str:
    """A recipe for a table with a column of images."""
    numbered = described.options.get("header") is False
    values: dict[str, Any] = {
        "train": described.source,
        **described.options,
        "image": int(image) if numbered else image,
    }
    notes = {"image": "Guessed: bytes of images, or paths to some."}
    if described.label is not None:
        values["label"] = int(described.label) if numbered else described.label
        notes["label"] = _label_note(described, (image,), described.label)
    else:
        values["task"], notes["task"] = "image_generation", "Guessed: there is no column of labels."
    return _drafted(described.source, described.rows, model, values, notes, options)


def _for_language(described: FileDescription, layout: Layout, model: str, options: type[Config] | None) -> str:
    """A recipe for texts, prompts with answers, conversations or preferences."""
    values = {"train": described.source, **described.options, "task": layout.task}
    notes = {"task": f"Guessed: {layout.name}, read from {listed([*dict.fromkeys(layout.columns)])}."}
    return _drafted(described.source, described.rows, model, values, notes, options)


def _drafted(
    source: str,
    rows: int,
    model: str,
    values: dict[str, Any],
    notes: dict[str, str],
    options: type[Config] | None,
) -> str:
    lines = [f"# Drafted from a look at {printable(source)}: {rows:,} rows.", ""]
    lines += [f"model: {scalar(model)}", "", "data:"]
    for key, value in values.items():
        lines += _comment(f"{DataConfig.model_fields[key].description}", "  ")
        lines += _comment(notes[key], "  ") if key in notes else []
        lines += [f"  {key}: {scalar(value)}", ""]
    return "\n".join(lines + (_defaults(options) if options else []))


def _text_note(described: FileDescription, text: tuple[str, ...]) -> str:
    others = [column.name for column in described.columns if column.kind == "text" and column.name not in text]
    if any(column.kind == "lists" for column in described.columns if column.name in text):
        return "Guessed: lists of words, with a tag for each."
    return "Guessed: cells that read as text." + (f" So do those of {listed(others)}." if others else "")


def _label_note(described: FileDescription, text: tuple[str, ...], label: str) -> str:
    usable = [column for column in described.columns if column.kind in ("names", "numbers", "lists")]
    others = [column.name for column in usable if column.distinct > 1 and column.name not in (*text, label)]
    chosen = next(_described(column) for column in usable if column.name == label)
    return f"Guessed: {chosen}." + (f" Other columns that could be it: {listed(others)}." if others else "")


def _described(column: ColumnDescription) -> str:
    missing = f", {column.missing:,} empty" if column.missing else ""
    examples = ", ".join(printable(example[:30]) for example in column.examples)
    return f"'{printable(column.name)}' ({column.distinct:,} distinct {column.kind}{missing}, such as {examples})"


def _defaults(options: type[Config]) -> list[str]:
    """All other sections, one option a line, commented out: taking away `# ` leaves valid YAML."""
    lines = ["# Everything below may be left out; shown are the defaults.", ""]
    for key, field in options.model_fields.items():
        default = field.get_default(call_default_factory=True)
        if key in ("model", "models", "data", "method"):
            continue
        if isinstance(default, Config):
            lines.append(f"# {key}:")
            for name, inner in type(default).model_fields.items():
                lines += _comment(f"{inner.description}", "#   ")
                lines.append(f"#   {name}: {scalar(getattr(default, name))}")
        else:
            lines += _comment(f"{field.description}", "# ")
            lines.append(f"# {key}: {scalar(default)}")
        lines.append("")
    return lines


def _comment(text: str, indent: str) -> list[str]:
    start = f"{indent}# "
    return textwrap.wrap(
        text, _WIDTH, initial_indent=start, subsequent_indent=start, break_long_words=False, break_on_hyphens=False
    )


def scalar(value: Any) -> str:
    """A value as YAML on one line, which reads back as the same value by the rules of YAML 1.1 and of 1.2."""
    import yaml

    if isinstance(value, str):
        value = value.replace("${", "$${")
        if _PLAIN.fullmatch(value) and yaml.safe_load(value) == value:
            return value
        return yaml.safe_dump(value, default_style='"', allow_unicode=True, width=2**31).strip()
    if isinstance(value, list):
        return f"[{', '.join(scalar(item) for item in value)}]"
    if isinstance(value, Config):
        inside = ", ".join(f"{name}: {scalar(getattr(value, name))}" for name in type(value).model_fields)
        return f"{{{inside}}}"
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)
