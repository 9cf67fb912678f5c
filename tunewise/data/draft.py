"""The commented recipe that `tunewise init` writes from a look at a file."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Any

from tunewise.config.base import Config
from tunewise.data.inspect import ColumnDescription, FileDescription, describe_file, need_guesses
from tunewise.data.layouts import Layout
from tunewise.data.settings import DataConfig
from tunewise.data.table import listed, printable

_WIDTH = 110
_PLAIN = re.compile(r"[A-Za-z_/][\w./ -]*(?<! )", re.ASCII)


def draft_recipe(
    source: str | Path, model: str, options: type[Config] | None = None, folder: Path | None = None
) -> str:
    """A recipe for the data in a file, as YAML with comments: each option's own docstring, and what was guessed.

    Args:
        source: as `data.train` in a recipe.
        options: the class of the whole recipe; its other sections follow with their defaults, commented out.
        folder: what a relative path starts from; None is the current folder.

    Raises:
        DataError: the source cannot be read, or no column looks like text or like a label.
    """
    described = describe_file(source, folder)
    if described.layout is not None:
        return _for_language(described, described.layout, model, options)
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
    return _drafted(described, model, values, notes, options)


def _for_language(described: FileDescription, layout: Layout, model: str, options: type[Config] | None) -> str:
    """A recipe for texts, prompts with answers, conversations or preferences."""
    values = {"train": described.source, **described.options, "task": layout.task}
    notes = {"task": f"Guessed: {layout.name}, read from {listed([*dict.fromkeys(layout.columns)])}."}
    return _drafted(described, model, values, notes, options)


def _drafted(
    described: FileDescription,
    model: str,
    values: dict[str, Any],
    notes: dict[str, str],
    options: type[Config] | None,
) -> str:
    lines = [f"# Drafted from a look at {printable(described.source)}: {described.rows:,} rows.", ""]
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
