from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.rows import Files, write_rows
from tunewise.types import DataBundle


@pytest.fixture
def files(toy_data: Callable[..., DataBundle], tmp_path: Path) -> Files:
    """The toy rows as the CSV files that all sides read."""
    data = toy_data()
    found = {}
    for name in ("train", "validation", "test"):
        split = data.splits[name]
        labels = [data.schema.labels[target] for target in split.targets]
        rows = [(text, label) for (text,), label in zip(split.texts, labels, strict=True)]
        found[name] = write_rows(tmp_path / f"{name}.csv", rows)
    return Files("toy", **found)
