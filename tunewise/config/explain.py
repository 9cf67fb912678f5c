"""Help text for options, made from the docstrings under them: the docs and `tunewise init` read it here."""

from __future__ import annotations

from typing import Any, NamedTuple, get_args

from pydantic.fields import FieldInfo

from tunewise.config.base import Config
from tunewise.config.words import field_in_words, is_config


class FieldHelp(NamedTuple):
    """One option: its dotted path, what it takes, its default (or `required`, or empty: left out) and why."""

    path: str
    type: str
    default: str
    explanation: str


def fields_of(model: type[Config], prefix: str = "") -> list[FieldHelp]:
    """Every option of a Config, those of its sections by dotted path, in the order they are declared."""
    found: list[FieldHelp] = []
    for name, field in model.model_fields.items():
        path = f"{prefix}{name}"
        if is_config(field.annotation):
            found += fields_of(field.annotation, f"{path}.")
        else:
            explanation = " ".join((field.description or "").split())
            found.append(FieldHelp(path, field_in_words(field), default_in_words(field), explanation))
            for section in filter(is_config, get_args(field.annotation)):  # one that may be left out
                found += [option for option in fields_of(section, f"{path}.") if option.explanation]
    return found


def render_reference(model: type[Config]) -> str:
    """A Markdown table of the options per section, the top level first."""
    sections: dict[str, list[FieldHelp]] = {}
    for each in fields_of(model):
        section, _, _ = each.path.rpartition(".")
        sections.setdefault(section, []).append(each)
    parts = [_table(sections.pop(""))] if "" in sections else []
    parts += [f"## `{section}`\n\n{_table(fields)}" for section, fields in sections.items()]
    return "\n\n".join(parts) + "\n"


def _table(fields: list[FieldHelp]) -> str:
    rows = ["| key | takes | default | |", "|---|---|---|---|"]
    for each in fields:
        default = each.default if each.default in ("", "required") else f"`{each.default}`"
        cells = (f"`{each.path}`", each.type, default, each.explanation)
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows)


def default_in_words(field: FieldInfo) -> str:
    """The default, `required`, or nothing where there is no value to show."""
    if field.is_required():
        return "required"
    value: Any = field.get_default(call_default_factory=True)
    if value is None or value in ([], {}):
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)
