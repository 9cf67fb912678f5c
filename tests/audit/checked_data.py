"""Data for checks, and what a check finds in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tunewise.audit.audit import audit
from tunewise.audit.finding import Finding
from tunewise.audit.settings import CheckConfig, Kind
from tunewise.models.located import LocatedModel
from tunewise.types import DataBundle, Schema, Split, Task

NO_MODEL = LocatedModel("none", Path("none"), {}, "")


def split(
    texts: Sequence[str | tuple[str, ...]],
    targets: Sequence | None = None,
    name: str = "train",
    columns: Mapping[str, Sequence[str]] | None = None,
    dtype: type = np.int64,
) -> Split:
    return Split(
        name=name,
        texts=tuple((text,) if isinstance(text, str) else text for text in texts),
        targets=np.array([0] * len(texts) if targets is None else targets, dtype=dtype),
        rows=np.arange(1, len(texts) + 1),
        source=f"{name}.csv",
        columns={column: tuple(cells) for column, cells in (columns or {}).items()},
    )


def found(
    kind: Kind, *splits: Split, task: Task = "classification", labels: Sequence[str] = ("a", "b"), **options
) -> tuple[Finding, ...]:
    """What one check finds in these splits."""
    text = ("text",) if len(splits[0].texts[0]) == 1 else ("first", "second")
    schema = Schema(task, text, "label", () if task == "regression" else tuple(labels))
    data = DataBundle({one.name: one for one in splits}, schema, (), "made")
    result = audit(data, NO_MODEL, CheckConfig(**options), [kind])
    assert not result.left_out
    return result.findings
