"""The table of labels that are likely wrong, to look through in a spreadsheet and give back to `data.clean.labels`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tunewise.audit.audit import Audit
from tunewise.audit.settings import CheckConfig
from tunewise.cleaning.label_list import COLUMNS, text_digest
from tunewise.cli.predicting import csv_line
from tunewise.commit import export_file
from tunewise.data.settings import DataConfig
from tunewise.errors import RecipeError
from tunewise.types import DataBundle, Split


def refuse_skipped(config: CheckConfig) -> None:
    """Raises where the recipe does not look for what is to be written.

    Raises:
        RecipeError
    """
    if "label_errors" in config.skip:
        raise RecipeError(
            "the recipe does not look for labels that are likely wrong",
            where="check.skip",
            fix="take label_errors out of the list, or leave out --suspects",
        )


def write_suspects(found: Audit, data: DataBundle, config: DataConfig, out: Path) -> int:
    """Writes a line for each suspect, the likeliest first, `action` empty; gives their number.

    Raises:
        RecipeError: they were not looked for.
        StoreError: it cannot be written.
    """
    if reason := found.left_out.get("label_errors"):
        raise RecipeError(
            f"labels that are likely wrong were not looked for: this check {reason}",
            where="--suspects",
            fix="leave it out",
        )
    lines = []
    for finding in found.of(("label_errors",)):
        split = data.splits[finding.split]
        texts = dict(zip(split.rows.tolist(), split.texts, strict=True))
        for suspect in finding.details["suspects"]:
            lines.append(_line(source_key(split, config), texts[suspect["row"]], suspect))
    lines.sort(key=lambda line: line[COLUMNS.index("quality")])
    export_file(out, "".join(csv_line(line) for line in [list(COLUMNS), *lines]))
    return len(lines)


def source_key(split: Split, config: DataConfig) -> str:
    """Under which key of the data section a split's file is named: that of train, for splits that are cut off."""
    tests = config.test if isinstance(config.test, dict) else {"test": config.test}
    given = {"validation": config.validation, **tests}
    return split.name if given.get(split.name) else "train"


def _line(source: str, texts: tuple[str, ...], suspect: dict[str, Any]) -> list[Any]:
    labels = [_cell(suspect[name]) for name in ("given", "suggested")]
    return [source, suspect["row"], text_digest(texts), " | ".join(texts), *labels, suspect["score"], ""]


def _cell(label: str | list[str] | float) -> str | float:
    return json.dumps(label, ensure_ascii=False) if isinstance(label, list) else label
